"""Contracts out of what other catalogs say of columns. Tags mean what their owners say, so the author maps them: nothing is guessed."""

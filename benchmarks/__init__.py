"""Figures of the package, measured. ``python -m benchmarks [GROUP …]`` prints a line each: ``bench NAME VALUE``.

A group is a module here whose name has no underscore in front. Its ``figures()`` yields names and plain numbers.
"""

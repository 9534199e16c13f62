"""Throw-away real servers on 127.0.0.1 for the demo and the tests; not part of the wheel."""

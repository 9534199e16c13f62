"""Keys as an author names them."""

from __future__ import annotations

from collections.abc import Sequence


def as_list(keys: str | Sequence[str] | None) -> list[str]:
    """One key or several."""
    return [keys] if isinstance(keys, str) else list(keys or ())

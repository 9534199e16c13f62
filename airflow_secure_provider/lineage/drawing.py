"""Hops as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterable

from .graph import Hop

_STYLES = (
    "  classDef protected stroke:#2e7d32",
    "  classDef partial stroke:#f9a825",
    "  classDef exposed stroke:#c62828,stroke-width:3px",
    "  classDef unknown stroke:#757575,stroke-dasharray:4",
)
_KNOWN = ("protected", "partial", "exposed", "unknown")


def mermaid(hops: Iterable[Hop]) -> str:
    """Datasets that are exposed or unknown are marked."""
    numbers: dict[str, str] = {}
    lines = ["flowchart LR"]
    edges = []
    for hop in hops:
        for end in (hop.source, hop.target):
            if end.uri not in numbers:
                numbers[end.uri] = f"d{len(numbers)}"
                status = end.status if end.status in _KNOWN else "unknown"
                lines.append(f'  {numbers[end.uri]}["{_plain(end.uri)}<br/>{status}"]:::{status}')
        edges.append(f'  {numbers[hop.source.uri]} -->|"{_plain(hop.job)}"| {numbers[hop.target.uri]}')
    return "\n".join([*lines, *edges, *_STYLES])


def _plain(text: str) -> str:
    """Mermaid decodes ``#…;`` to HTML, so ``#`` goes first."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")

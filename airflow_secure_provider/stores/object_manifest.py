"""Manifest files: JSON that lists objects, as Amazon Redshift's UNLOAD writes and its COPY reads them."""

from __future__ import annotations

import json
from typing import Any

from ..errors import FormatError

_EXPECTED = '{"entries": [{"url": "s3://bucket/key"}, …]}'


def parse(content: bytes, where: str) -> list[tuple[str, int | None]]:
    """The objects' URIs in the manifest's order, each with its size in bytes where the manifest states it.

    :raises FormatError: unless it is a manifest.
    """
    try:
        return [_entry(each) for each in json.loads(content)["entries"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise FormatError(f"{where} is not a manifest of objects, expected {_EXPECTED}")


def _entry(entry: Any) -> tuple[str, int | None]:
    uri, size = entry["url"], entry.get("meta", {}).get("content_length")
    if not isinstance(uri, str) or not (size is None or type(size) is int):
        raise TypeError
    return uri, size

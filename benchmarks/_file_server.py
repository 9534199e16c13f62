"""Serves files over TLS as S3 would, as fast as TLS allows: what ends in .csv is the message, but for ``plain.csv``."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from benchmarks._serving import Served, serve
from benchmarks._stock import PLAIN_KEY

_PIECE_BYTES = 1 << 20


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    message, plain = _file(settings["object"]), _file(settings["plain"])
    serve(settings, lambda key: plain if key == PLAIN_KEY else message)


def _file(path: str) -> Served:
    content = memoryview(Path(path).read_bytes())

    def pieces(first: int, end: int) -> list[memoryview]:
        return [content[at : min(at + _PIECE_BYTES, end)] for at in range(first, end, _PIECE_BYTES)]

    return Served(len(content), hashlib.sha256(content).hexdigest()[:32], pieces)


if __name__ == "__main__":
    main(sys.argv[1])

"""Serves one file over TLS as S3 would, as fast as TLS allows."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from benchmarks._serving import serve

_PIECE_BYTES = 1 << 20


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    content = memoryview(Path(settings["object"]).read_bytes())
    starts = range(0, len(content), _PIECE_BYTES)
    etag = hashlib.sha256(content).hexdigest()[:32]
    serve(settings, len(content), etag, lambda: (content[start : start + _PIECE_BYTES] for start in starts))


if __name__ == "__main__":
    main(sys.argv[1])

"""Serves one file over TLS as S3 would, as fast as TLS allows."""

from __future__ import annotations

import json
import os
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks._object import BUCKET, KEY

_PIECE_BYTES = 1 << 20


def main(settings_file: str) -> None:
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    content = memoryview(Path(settings["object"]).read_bytes())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._begin()

        def do_GET(self) -> None:
            if self._begin():
                for start in range(0, len(content), _PIECE_BYTES):
                    self.wfile.write(content[start : start + _PIECE_BYTES])

        def _begin(self) -> bool:
            found = self.path.partition("?")[0] == f"/{BUCKET}/{KEY}"
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(content) if found else 0))
            if found:
                self.send_header("ETag", '"0123456789abcdef0123456789abcdef"')
                self.send_header("x-amz-server-side-encryption", "AES256")
            self.end_headers()
            return found

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["certificate"], settings["private_key"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    unfinished = Path(settings["port_file"] + ".part")
    unfinished.write_text(str(server.server_address[1]), encoding="ascii")
    os.replace(unfinished, settings["port_file"])
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])

"""As much of Azure's Blob REST API as its own SDK needs for block blobs: whole or in blocks, ranges, properties and lists."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Azure(BaseHTTPRequestHandler):
    """Keeps blobs in its class, with their headers; :func:`azure` makes a class for each server.

    Encrypts, as it says, all but what lies under ``old/``; with the customer's key what is sent with one.
    """

    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one write an answer, or it waits for the acknowledgement of its head
    kept: dict[str, tuple[dict[str, str], bytes]]
    blocks: dict[tuple[str, str], bytes]

    def do_PUT(self) -> None:
        path, query = self._asked()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = {
            name: value
            for name in ("x-ms-encryption-key-sha256", "x-ms-encryption-scope")
            if (value := self.headers.get(name))
        }
        encrypted = "false" if "/old/" in path else "true"
        if query.get("comp") == "block":
            self.blocks[path, query["blockid"]] = body
        elif query.get("comp") == "blocklist":
            ids = re.findall(r"<Latest>(.*?)</Latest>", body.decode())
            self.kept[path] = (
                {"x-ms-server-encrypted": encrypted, **how},
                b"".join(self.blocks.pop((path, each)) for each in ids),
            )
        else:
            self.kept[path] = {"x-ms-server-encrypted": encrypted, **how}, body
        self._send(201, b"", {"x-ms-request-server-encrypted": encrypted, **how, "ETag": '"1"'})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, query = self._asked()
        if query.get("comp") == "list":
            self._list(path, query.get("prefix", ""))
            return
        if path not in self.kept:
            self._send(404, b"", {"x-ms-error-code": "BlobNotFound"})
            return
        headers, content = self.kept[path]
        told = {**headers, "x-ms-blob-type": "BlockBlob", "ETag": '"1"', "Last-Modified": _THEN}
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("x-ms-range") or "")
        if wanted:
            begin, end = int(wanted[1]), min(int(wanted[2] or len(content) - 1), len(content) - 1)
            told["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
            self._send(206, content[begin : end + 1], told)
        else:
            self._send(200, content, told)

    def _list(self, container: str, prefix: str) -> None:
        names = [path.removeprefix(container + "/") for path in self.kept]
        blobs = "".join(
            f"<Blob><Name>{name}</Name><Properties><Content-Length>1</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name in names
            if name.startswith(prefix)
        )
        body = f'<?xml version="1.0"?><EnumerationResults ContainerName="c"><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>'
        self._send(200, body.encode(), {"Content-Type": "application/xml"})

    def _asked(self) -> tuple[str, dict[str, str]]:
        url = urlsplit(self.path)
        return unquote(url.path), {name: values[0] for name, values in parse_qs(url.query).items()}

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"x-ms-version": "2021-12-02", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


_THEN = "Sat, 21 Nov 2026 12:00:00 GMT"


def azure() -> type[Azure]:
    return type("Azure", (Azure,), {"kept": {}, "blocks": {}})

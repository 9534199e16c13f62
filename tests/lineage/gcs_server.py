"""As much of Cloud Storage's JSON API as its own client needs for objects: uploads, descriptions, downloads, lists and copies."""

from __future__ import annotations

import base64
import json
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c


class Gcs(BaseHTTPRequestHandler):
    """Keeps objects in its class; :func:`gcs` makes a class for each server."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one write an answer, or it waits for the acknowledgement of its head
    kept: dict[tuple[str, str], tuple[dict[str, Any], bytes]]
    begun: dict[str, tuple[str, dict[str, Any]]]

    def do_GET(self) -> None:
        bucket, name, _action, query = self._asked()
        if name is None:
            prefix = query.get("prefix", "")
            found = [
                resource for (where, each), (resource, _) in self.kept.items() if each.startswith(prefix)
            ]
            self._tell({"kind": "storage#objects", "items": found})
        elif (bucket, name) not in self.kept:
            self._tell({"error": {"code": 404, "message": "none"}}, 404)
        else:
            resource, content = self.kept[bucket, name]
            if query.get("alt") == "media":
                customer = resource.get("customerEncryption")
                headers = {"x-goog-hash": f"crc32c={resource['crc32c']}"}
                if customer:
                    headers["x-goog-encryption-algorithm"] = customer["encryptionAlgorithm"]
                    headers["x-goog-encryption-key-sha256"] = customer["keySha256"]
                self._send(200, "application/octet-stream", content, headers)
            elif "fields" in query:
                self._tell({each: resource[each] for each in query["fields"].split(",") if each in resource})
            else:
                self._tell(resource)

    def do_POST(self) -> None:
        bucket, name, action, query = self._asked()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if action and action[0] in ("rewriteTo", "copyTo"):
            content = self.kept[bucket, name or ""][1]
            key = query.get("destinationKmsKeyName")
            resource = self._keep(action[1], action[2], content, key)
            rewritten = {"kind": "storage#rewriteResponse", "done": True, "resource": resource}
            size = str(len(content))
            rewritten |= {"totalBytesRewritten": size, "objectSize": size}
            self._tell(rewritten if action[0] == "rewriteTo" else resource)
        elif query["uploadType"] == "multipart":
            kind = self.headers["Content-Type"].encode()
            described, content = message_from_bytes(
                b"Content-Type: " + kind + b"\r\n\r\n" + body
            ).get_payload()
            wanted = json.loads(described.get_payload(decode=True))
            given = content.get_payload(decode=True)
            self._tell(self._keep(bucket, wanted["name"], given, query.get("kmsKeyName")))
        else:
            upload = str(len(self.begun))
            self.begun[upload] = bucket, {**json.loads(body), "key": query.get("kmsKeyName")}
            place = (
                f"{self.server_url()}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={upload}"
            )
            self._send(200, "text/plain", b"", {"Location": place})

    def do_PUT(self) -> None:
        upload = self._asked()[3]["upload_id"]
        bucket, wanted = self.begun[upload]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content = wanted.setdefault("content", b"") + body
        wanted["content"] = content
        if self.headers["Content-Range"].endswith(f"/{len(content)}"):
            self._tell(self._keep(bucket, wanted["name"], content, wanted["key"]))
        else:
            self._send(308, "text/plain", b"", {"Range": f"bytes=0-{len(content) - 1}"})

    def server_url(self) -> str:
        return f"{self.kept_scheme}://{self.headers['Host']}"

    kept_scheme = "https"

    def _keep(self, bucket: str, name: str, content: bytes, key: str | None) -> dict[str, Any]:
        crc = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        resource: dict[str, Any] = {"kind": "storage#object", "bucket": bucket, "name": name, "crc32c": crc}
        resource |= {"size": str(len(content)), "generation": "1", "metageneration": "1"}
        if key:
            resource["kmsKeyName"] = f"{key}/cryptoKeyVersions/1"
        customer = self.headers.get("x-goog-encryption-key-sha256")
        if customer:
            resource["customerEncryption"] = {"encryptionAlgorithm": "AES256", "keySha256": customer}
        self.kept[bucket, name] = resource, content
        return resource

    def _asked(self) -> tuple[str, str | None, list[str], dict[str, str]]:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.partition("/storage/v1/b/")[2].split("/")]
        bucket, rest = parts[0], parts[2:]
        action = [rest[1], *([rest[3], rest[5]] if len(rest) > 5 else [])] if len(rest) > 1 else []
        return bucket, rest[0] if rest else None, action, query

    def _tell(self, answer: dict[str, Any], status: int = 200) -> None:
        self._send(status, "application/json; charset=UTF-8", json.dumps(answer).encode())

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def gcs(scheme: str) -> type[Gcs]:
    return type("Gcs", (Gcs,), {"kept": {}, "begun": {}, "kept_scheme": scheme})

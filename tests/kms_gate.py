"""KMS, but for the first requests, which are answered as KMS answers when it has had enough, or does not allow."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from sandbox.aws import Aws
from sandbox.ca import Authority
from tests.tls_server import TlsServer


class KmsGate(TlsServer):
    """
    :param answers: the error codes of the first ``Decrypt`` requests; all other requests go on to KMS.
    :ivar asked: how many ``Decrypt`` requests there were.
    """

    def __init__(self, aws: Aws, authority: Authority, answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.target = urlsplit(aws.endpoint_url)
        self.client_context = ssl.create_default_context(cafile=str(aws.ca_pem))
        super().__init__(_Handler, "gate", authority)


class _Handler(BaseHTTPRequestHandler):
    gate: KmsGate
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["X-Amz-Target"].endswith(".Decrypt"):
            self.gate.asked += 1
            if self.gate.answers:
                code = self.gate.answers.pop(0)
                self._answer(400, json.dumps({"__type": code, "message": "no"}).encode())
                return
        target = self.gate.target
        connection = HTTPSConnection(
            target.hostname or "", target.port, context=self.gate.client_context, timeout=10
        )
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request("POST", "/", body, headers | {"Host": "kms.eu-central-1.amazonaws.com"})
        answer = connection.getresponse()
        self._answer(answer.status, answer.read())
        connection.close()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

"""A lineage server on loopback: it takes events, or answers as it is told."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.tls_server import TlsServer


class LineageServer(TlsServer):
    """
    :ivar events: what it has taken, in order.
    :ivar answers: status codes for the next requests; 201 after them.
    :ivar delay: seconds before each answer.
    :ivar fails_at: ids of runs whose events it answers with 500.
    """

    def __init__(self, port: int = 0) -> None:
        self.events: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.delay = 0.0
        self.fails_at: set[str] = set()
        super().__init__(Handler, "owner", None, port=port)
        self.port = int(self.url.rpartition(":")[2])


class Handler(BaseHTTPRequestHandler):
    owner: LineageServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(self.owner.delay)
        refused = event["run"]["runId"] in self.owner.fails_at if "run" in event else False
        status = 500 if refused else self.owner.answers.pop(0) if self.owner.answers else 201
        if status < 300:
            self.owner.events.append(event)
        self.send_response(status)
        if status in (301, 302):
            self.send_header("Location", "/login")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        """A login page."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass

"""The Vault stand-in's server: the part of Vault's HTTP API that this repository uses, over TLS.

It is not Vault. It keeps everything in memory, listens on 127.0.0.1 only, and is for tests and the demo.
Started by :class:`sandbox.vault.VaultStandIn`; a request is a path, a verb, a token
and a JSON body; :class:`Core` admits it, and hands it to the backend that is mounted at the path's start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .auth import Tokens
from .core import Core
from .kv import Versioned
from .protocol import JSON, SERVER_NAME, Refused, Request
from .system import System


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = SERVER_NAME
    sys_version = ""
    wbufsize = -1  # headers and body in one segment
    timeout = 60  # of an idle connection
    core: Core  # set on a subclass
    connection: ssl.SSLSocket

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(10)
        self.request.do_handshake()
        super().setup()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        path = re.sub("/+", "/", urllib.parse.unquote(url.path)).lstrip("/")
        query = dict(urllib.parse.parse_qsl(url.query))
        verb = "LIST" if self.command == "GET" and query.get("list") == "true" else self.command
        try:
            request = Request(verb, path, _parsed(body), query, self.headers)
            request.certificate = self.connection.getpeercert(binary_form=True)
            status, envelope = self._dispatch(request)
        except Refused as refused:
            status, envelope = refused.status, {"errors": refused.errors}
            if refused.data is not None:
                envelope["data"] = refused.data
        except Exception as error:  # noqa: BLE001 - any other fault is the stand-in's own
            self.log_error("%s %s: %r", verb, path, error)
            status, envelope = 500, {"errors": [f"the stand-in failed: {type(error).__name__}"]}
        if self.core.broken.is_set() and not path.startswith("stand-in/"):
            self.core.broken.clear()  # as a restarting server does: no answer, and the connection is gone
            self.close_connection = True
            return
        with self.core.lock:
            self.core.requests[f"{verb} {path.removeprefix('v1/')} {status}"] += 1
        self._send(status, envelope)

    def _dispatch(self, request: Request) -> tuple[int, JSON | None]:
        if request.path.startswith("v1/"):
            request.path = request.path.removeprefix("v1/")
            return self.core.handle(request).rendered()
        if not request.path.startswith("stand-in/"):
            raise Refused(404)
        with self.core.lock:
            token = self.core.tokens.get(request.headers.get("X-Vault-Token", ""))
            if token is None or "root" not in token.policies:
                raise Refused(403, "permission denied")
            return 200, _stand_in(self.core, request)

    def _send(self, status: int, envelope: JSON | None) -> None:
        content = b"" if envelope is None else json.dumps(envelope).encode()
        self.send_response(status)
        self.send_header("Cache-Control", "no-store")
        if envelope is not None:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_HEAD = do_LIST = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """A line per answer would bury the errors."""

    def log_error(self, format: str, *args: Any) -> None:
        print("stand-in:", format % args, flush=True)


def _parsed(body: bytes) -> JSON:
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise Refused(400, "failed to parse JSON input")
    return parsed


def _stand_in(core: Core, request: Request) -> JSON:
    """What tests may ask and Vault has no path for."""
    match (request.verb, request.path.removeprefix("stand-in/")):
        case ("GET", "requests"):
            return {"requests": dict(core.requests)}
        case ("GET", "leases"):
            names = ("lease_id", "state", "ttl_seconds", "renewals", "issued_at")
            listed = [*core.ended, *core.leases.values()]
            return {"leases": [{name: getattr(lease, name) for name in names} for lease in listed]}
        case ("GET", "audit"):
            return {"audit": list(core.audit)}
        case ("POST" | "PUT", "break"):
            core.broken.set()
            return {}
        case ("POST" | "PUT", "faults"):
            core.faults = list(request.body.get("faults") or [])
            return {}
    raise Refused(404)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[Handler], context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        # The handshake is the handler thread's: a silent client must not hold up the others.
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that does not trust us, or has left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--client-ca", help="file with the CA of client certificates")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, required=True, help="written once the server listens")
    options = parser.parse_args()
    core = Core(os.environ.pop("STAND_IN_ROOT_TOKEN"), os.environ.pop("STAND_IN_UNSEAL_KEY"))
    core.mounts |= {
        "sys/": System(core, "sys/"),
        "auth/token/": Tokens(core, "auth/token/"),
        "secret/": Versioned(core, "secret/"),
    }
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.certificate, options.key)
    if options.client_ca:  # asked for, and not required: only the certificate login needs one
        context.load_verify_locations(options.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    server = Server(("127.0.0.1", options.port), type("BoundHandler", (Handler,), {"core": core}), context)
    threading.Thread(target=core.sweep, daemon=True).start()
    unfinished = options.port_file.with_suffix(".part")
    unfinished.write_text(str(server.server_port), encoding="utf-8")
    unfinished.rename(options.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()

"""A small HTTP server on loopback, over TLS, for as long as a block lasts."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from sandbox.ca import Authority


class TlsServer:
    """
    :param authority: issues its certificate; None for a server without TLS.
    :param handler: answers requests; knows this server as its attribute *known_as*.
    """

    def __init__(
        self,
        handler: type[BaseHTTPRequestHandler],
        known_as: str,
        authority: Authority | None,
        *,
        port: int = 0,
    ) -> None:
        bound: type[BaseHTTPRequestHandler] = type("_Handler", (handler,), {known_as: self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), bound)
        self._server.daemon_threads = True
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*authority.server(known_as))
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if authority is not None else 'http'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()

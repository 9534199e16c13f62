"""S3, KMS, STS and Secrets Manager of moto behind a WSGI server that speaks TLS; see :mod:`sandbox.aws`."""

from __future__ import annotations

import logging
import os
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server
from moto.server import DomainDispatcherApplication, create_backend_app

_THREADS = 16
# cheroot copies what is left of a piece after every 16 KiB TLS record, so a whole object at once
# would take quadratic time.
_RESPONSE_PIECE_BYTES = 1 << 18

_Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def main(certificate: str, key: str, port_file: str) -> None:
    """Serve on a free port of 127.0.0.1, which is written to ``port_file`` once connections are accepted."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    application = _in_pieces(_with_customer_keys(DomainDispatcherApplication(create_backend_app)))
    server = Server(("127.0.0.1", 0), application, numthreads=_THREADS, server_name="sandbox")
    server.ssl_adapter = BuiltinSSLAdapter(certificate, key)
    server.ssl_adapter.context.minimum_version = ssl.TLSVersion.TLSv1_2
    server.nodelay = True
    server.prepare()
    unfinished = Path(f"{port_file}.part")
    unfinished.write_text(str(server.bind_addr[1]), encoding="ascii")
    os.replace(unfinished, port_file)
    server.serve()


def _with_customer_keys(application: _Application) -> _Application:
    """SSE-C as far as its callers see it, which moto leaves out: who asks must show the key's digest, and is told so.

    moto keeps the object as it came; nothing is encrypted here.
    """
    digests: dict[str, str] = {}  # by path: that of the key under which it was put
    prefix = "HTTP_X_AMZ_SERVER_SIDE_ENCRYPTION_CUSTOMER_"

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        shown = environ.get(prefix + "KEY_MD5")
        if method == "PUT":
            digests.pop(path, None)
            if shown:
                digests[path] = shown
        wanted = digests.get(path)
        if wanted is None or method not in ("GET", "HEAD"):
            return application(environ, start_response)
        if shown != wanted:
            start_response("400 Bad Request", [("Content-Length", "0")])
            return [b""]

        def told(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            mark = "x-amz-server-side-encryption-customer-"
            echo = [(mark + "algorithm", "AES256"), (mark + "key-MD5", wanted)]
            return start_response(status, [*headers, *echo], *more)

        return application(environ, told)

    return respond


def _in_pieces(application: _Application) -> _Application:
    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        body = application(environ, start_response)
        try:
            for part in body:
                for start in range(0, len(part), _RESPONSE_PIECE_BYTES):
                    yield part[start : start + _RESPONSE_PIECE_BYTES]
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    return respond


if __name__ == "__main__":
    main(*sys.argv[1:])

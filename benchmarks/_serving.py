"""One object over TLS as S3 would serve it, in a process of its own, and what that process is told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from airflow_secure_provider.crypto import keyset
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring
from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, Process, clean_environment
from sandbox.postgres import Postgres

BUCKET, KEY = "lake", "customers.csv"


@contextlib.contextmanager
def serving(
    directory: Path, authority: Authority, postgres: Postgres, aws: Aws, module: str, key: str, **more: Any
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Run *module* as the object's server.

    :return: the file of settings, for it and for those that load the object, and their environment.
    """
    certificate, private_key = authority.server("object")
    port_file = directory / "object.port"
    settings = {
        "kms_endpoint": aws.endpoint_url,
        "ca": str(aws.ca_pem),
        "region": aws.region,
        "access_key": aws.access_key,
        "secret_key": aws.secret_key,
        "kms_key": key,
        "certificate": str(certificate),
        "private_key": str(private_key),
        "port_file": str(port_file),
        "conninfo": postgres.conninfo(),
        "namespace": f"postgres://{postgres.host}:{postgres.port}",
        "keyset": keyset.create("customers", AwsKmsKeyring(key, aws.client("kms"))).to_json(),
        **more,
    }
    settings_file = directory / "settings.json"
    settings_file.touch(mode=0o600)
    settings_file.write_text(json.dumps(settings), encoding="utf-8")
    environment = clean_environment(directory / "home")
    server = Process(
        "the object's server",
        [sys.executable, "-m", module, settings_file],
        log=directory / "object.log",
        environment=environment,
        directory=REPOSITORY,
        grace_seconds=1.0,
    )
    with server:
        server.wait_until_ready(port_file.exists)
        yield settings_file, environment


@dataclass(frozen=True)
class Served:
    """
    :param pieces: gives the object's bytes, from a first one to before a last one, anew for each request.
    """

    length: int
    etag: str
    pieces: Callable[[int, int], Iterable[Any]]


def serve(settings: dict[str, Any], find: Callable[[str], Served | None]) -> None:
    """Serve for good, on a free port that is written to a file.

    :param find: the object of a key.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._begin()

        def do_GET(self) -> None:
            found = self._begin()
            if found is not None:
                for piece in found:
                    self.wfile.write(piece)

        def _begin(self) -> Iterable[Any] | None:
            path = self.path.partition("?")[0]
            found = find(path.removeprefix(f"/{BUCKET}/"))
            if found is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first = int(asked[1]) if asked else 0
            end = min(int(asked[2]) + 1, found.length) if asked and asked[2] else found.length
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{end - 1}/{found.length}")
            self.send_header("Content-Length", str(end - first))
            self.send_header("ETag", f'"{found.etag}"')
            self.send_header("x-amz-server-side-encryption", "AES256")
            self.end_headers()
            return found.pieces(first, end)

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

"""How a connection is protected is seen on its socket, also where the server closes it after its answer."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest
import urllib3

from airflow_secure_provider.model import Evidence
from airflow_secure_provider.stores.tls import transport_of
from sandbox.ca import Authority
from tests.tls_server import TlsServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        if self.path == "/closed":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("path", ["/kept", "/closed"])
def test_tls(authority: Authority, path: str) -> None:
    with TlsServer(Handler, "owner", authority) as server:
        with urllib3.PoolManager(ca_certs=str(authority.ca_pem)) as pool:
            answer = pool.request("GET", server.url + path, preload_content=False)
            seen = transport_of(answer.connection, answer)
            assert answer.read() == b"hello"
            answer.release_conn()
    assert (seen.protocol, seen.verified, seen.evidence) == ("TLSv1.3", True, Evidence.OBSERVED)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("path", ["/kept", "/closed"])
def test_an_unverified_peer_is_seen(authority: Authority, path: str) -> None:
    with TlsServer(Handler, "owner", authority) as server:
        with urllib3.PoolManager(cert_reqs="CERT_NONE") as pool:
            answer = pool.request("GET", server.url + path, preload_content=False)
            seen = transport_of(answer.connection, answer)
            answer.read()
            answer.release_conn()
    assert seen.encrypted
    assert not seen.verified


@pytest.mark.parametrize("path", ["/kept", "/closed"])
def test_plaintext(path: str) -> None:
    with TlsServer(Handler, "owner", None) as server, urllib3.PoolManager() as pool:
        answer = pool.request("GET", server.url + path, preload_content=False)
        seen = transport_of(answer.connection, answer)
        answer.read()
        answer.release_conn()
    assert (seen.protocol, seen.evidence) == ("none", Evidence.OBSERVED)


def test_what_has_no_socket_proves_nothing() -> None:
    assert transport_of(None, None).evidence is Evidence.UNKNOWN


def test_a_socket_of_another_kind_proves_neither() -> None:
    """As that of pyOpenSSL, or of TLS within TLS to a proxy."""
    assert transport_of(SimpleNamespace(sock=object())).evidence is Evidence.UNKNOWN

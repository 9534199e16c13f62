"""A TLS handshake with a server, and what its certificate says."""

from __future__ import annotations

import os
import socket
import ssl
import time
from dataclasses import dataclass

_SECONDS = 5.0
_POSTGRES_SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])  # length 8, code 80877103
SOON_DAYS = 21


@dataclass(frozen=True, slots=True)
class Handshake:
    """:ivar days_left: until the certificate expires."""

    protocol: str
    cipher: str
    days_left: float


class NoTls(Exception):
    """The server does not offer it."""


def handshake(
    host: str, port: int, ca: str | bool, *, postgres: bool = False, cert: list[str] | None = None
) -> Handshake:
    """
    :param ca: a CA file or folder; True for the system's.
    :param cert: files of the certificate and key that we show.
    :raises NoTls: if the server speaks plaintext only.
    :raises OSError: if it can't be reached, or is not trusted (then an ``ssl.SSLError``).
    """
    context = ssl.create_default_context()
    if isinstance(ca, str):
        context = ssl.create_default_context(
            cafile=None if os.path.isdir(ca) else ca, capath=ca if os.path.isdir(ca) else None
        )
    if cert:
        context.load_cert_chain(*cert)
    with socket.create_connection((host, port), timeout=_SECONDS) as plain:
        if postgres:
            plain.sendall(_POSTGRES_SSL_REQUEST)
            if plain.recv(1) != b"S":
                raise NoTls
        with context.wrap_socket(plain, server_hostname=host) as secured:
            certificate = secured.getpeercert() or {}
            ends = ssl.cert_time_to_seconds(str(certificate.get("notAfter")))
            cipher = secured.cipher()
            return Handshake(
                secured.version() or "", cipher[0] if cipher else "", (ends - time.time()) / 86400
            )


def tls_problem(error: OSError) -> str:
    """In words, without what the server sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed: {error.reason or 'no reason given'}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else type(error).__name__).lower()

"""How a connection is protected, as its very socket tells."""

from __future__ import annotations

import socket as socket_module
import ssl
from typing import Any

from ..model import Evidence, InTransit


def transport_of(connection: Any, answer: Any = None) -> InTransit:
    """TLS version, cipher and peer verification of the very socket of a urllib3 connection.

    :param answer: urllib3's, which is not read to its end yet. If its server closes the connection after it, only the answer
        still has the socket.
    """
    socket = getattr(connection, "sock", None)
    if socket is None:
        socket = _socket_of(answer)
    if socket is None:
        return InTransit()
    if not isinstance(socket, ssl.SSLSocket):
        plain = isinstance(socket, socket_module.socket)  # others, such as pyOpenSSL's, nobody here can read
        return InTransit(protocol="none", evidence=Evidence.OBSERVED) if plain else InTransit()
    cipher = socket.cipher()
    verified = socket.context.verify_mode is ssl.CERT_REQUIRED and bool(
        socket.context.check_hostname or getattr(connection, "is_verified", False)
    )
    return InTransit(
        protocol=socket.version(),
        cipher=cipher[0] if cipher else None,
        peer_verified=verified,
        mutual=bool(getattr(connection, "cert_file", None)),
        evidence=Evidence.OBSERVED,
    )


def _socket_of(answer: Any) -> Any:
    """urllib3's answer → http.client's → its buffered file → the file → the socket. None where something is in between."""
    for name in ("_fp", "fp", "raw", "_sock"):
        answer = getattr(answer, name, None)
    return answer if isinstance(answer, socket_module.socket) else None


def weaker(one: InTransit, other: InTransit) -> InTransit:
    """Of two connections the one that proves less; of equal ones the first."""
    return other if _strength(other) < _strength(one) else one


def _strength(transport: InTransit) -> int:
    return 0 if transport.protocol == "none" else 1 + transport.encrypted + transport.verified

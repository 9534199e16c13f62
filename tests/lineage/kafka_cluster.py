"""A broker of librdkafka's own, and TLS before it, which it has not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any, Self

from sandbox.ca import Authority


class Cluster:
    """One broker on loopback, for as long as this lives."""

    def __init__(self) -> None:
        from confluent_kafka import Producer

        settings: dict[str, Any] = {"test.mock.num.brokers": 1, "bootstrap.servers": "x", "log_level": 0}
        self._owner = Producer(settings)
        (broker,) = self._owner.list_topics(timeout=10).brokers.values()
        self.port: int = broker.port


class TlsGate:
    """Ends TLS, and tells clients that the broker is where the gate is: else they would go by it.

    :param hosts: that its certificate names.
    """

    def __init__(self, cluster: Cluster, authority: Authority, *hosts: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*authority.server("kafka", *hosts))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._cluster = cluster  # which lives as long as somebody has it
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        with contextlib.suppress(OSError):  # as where the client does not trust the certificate
            client = self._context.wrap_socket(raw, server_side=True)
            self._sockets.append(client)
            broker = socket.create_connection(("127.0.0.1", self._cluster.port))
            self._sockets.append(broker)
            threading.Thread(target=self._answer, args=(broker, client), daemon=True).start()
            while data := client.recv(65_536):
                broker.sendall(data)
            broker.shutdown(socket.SHUT_RDWR)

    def _answer(self, broker: socket.socket, client: socket.socket) -> None:
        there, here = (b"127.0.0.1" + port.to_bytes(4) for port in (self._cluster.port, self.port))
        with contextlib.suppress(OSError):
            stream = broker.makefile("rb")
            while head := stream.read(4):
                client.sendall(head + stream.read(int.from_bytes(head)).replace(there, here))

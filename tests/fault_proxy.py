"""A TCP proxy on loopback that does to connections what networks do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one connection.

    :param after: so many bytes have come from the server.
    :param kind: ``reset`` (RST), ``close`` (FIN), ``stall`` (nothing more comes), or ``drip`` (a little at a time).
    """

    after: int
    kind: str = "reset"


class FaultProxy:
    """
    :param faults: for the first connections that carry as much, one after the other; all others are left alone.
    """

    def __init__(self, host: str, port: int, faults: Sequence[Fault] = ()) -> None:
        self._target = (host, port)
        self._faults = list(faults)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._sockets: list[socket.socket] = []
        self.connections = 0
        self.struck = 0
        self.passed = 0  # from the server, over the longest connection
        self.on_fault: Callable[[], None] = lambda: None
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        """Take no more connections."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self.connections += 1
            self._sockets += [client, server]
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            threading.Thread(target=self._watch, args=(server, client), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """What the client says goes on as it is."""
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def _watch(self, source: socket.socket, sink: socket.socket) -> None:
        """What the server says, until a fault strikes."""
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                fault = self._due(passed + len(data))
                if fault is None:
                    sink.sendall(data)
                    passed += len(data)
                    self.passed = max(self.passed, passed)
                    continue
                keep = max(0, fault.after - passed)
                sink.sendall(data[:keep])
                self.on_fault()
                self._strike(fault, sink, source, data[keep:])
                return
            sink.shutdown(socket.SHUT_WR)

    def _due(self, reached: int) -> Fault | None:
        with self._lock:
            if self._faults and reached >= self._faults[0].after:
                self.struck += 1
                return self._faults.pop(0)
        return None

    def _strike(self, fault: Fault, sink: socket.socket, source: socket.socket, rest: bytes) -> None:
        if fault.kind == "stall":
            self._stop.wait(60)
        elif fault.kind == "drip":
            for start in range(0, len(rest), 1_000):
                sink.sendall(rest[start : start + 1_000])
                time.sleep(0.001)
            while data := source.recv(4_096):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
            return
        # A close alone waits for the other thread, which reads there.
        if fault.kind == "reset":
            sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for each, how in (
            (sink, socket.SHUT_RD if fault.kind == "reset" else socket.SHUT_RDWR),
            (source, socket.SHUT_RDWR),
        ):
            with contextlib.suppress(OSError):  # the other side may have gone already
                each.shutdown(how)
        sink.close()
        source.close()

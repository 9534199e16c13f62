"""Threads that pass batches on: one reads and decrypts, one parses, one protects, and one encodes and sends."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..objects.source import ByteStream

_AHEAD = 2
"""Batches that may wait between the threads: enough to hide jitter, little enough to bound memory."""
_POLL_SECONDS = 0.2
_JOIN_SECONDS = 10.0


class Timings:
    """Seconds spent in each step, by name. Each step is measured in one thread only."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def measure(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[step] += time.perf_counter() - began

    def as_dict(self) -> dict[str, float]:
        return dict(self._seconds)


_PIECE_BYTES = 1024 * 1024
_PIECES_AHEAD = 4


class ReadAhead:
    """A stream that is read in a thread of its own, some pieces ahead. Its errors come here."""

    def __init__(self, stream: ByteStream) -> None:
        self.busy = 0.0  # seconds that the thread has worked
        self.waited = 0.0  # seconds that it was waited for
        self._stream = stream
        self._owned = contextlib.ExitStack()
        self._pieces = self._owned.enter_context(ahead(lambda: iter(self._next, b""), _PIECES_AHEAD))

    def _next(self) -> bytes:
        began = time.perf_counter()
        piece = self._stream.read(_PIECE_BYTES)
        self.busy += time.perf_counter() - began
        return piece

    def read(self, size: int, /) -> bytes:
        """The next piece, however long it is; empty at the end."""
        began = time.perf_counter()
        piece: bytes = next(self._pieces, b"")
        self.waited += time.perf_counter() - began
        return piece

    def close(self) -> None:
        self._owned.close()


@contextlib.contextmanager
def ahead(produce: Callable[[], Iterable[Any]], most: int = _AHEAD) -> Iterator[Iterator[Any]]:
    """Run *produce* in a thread of its own and give its items here, at most *most* ahead.

    An error of the producer is raised here. When the block is left, however it is left, the producer stops.
    """
    items: queue.Queue[tuple[str, Any]] = queue.Queue(most)
    stop = threading.Event()

    def put(kind: str, item: Any) -> bool:
        while not stop.is_set():
            try:
                items.put((kind, item), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in produce():
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:  # noqa: BLE001 (handed over, and raised by the consumer)
            put("error", error)

    def consume() -> Iterator[Any]:
        while True:
            kind, item = items.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item

    thread = threading.Thread(target=run, name="secure-provider-read", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join(_JOIN_SECONDS)

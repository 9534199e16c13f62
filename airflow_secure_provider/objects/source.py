"""What every encrypted (or plain) object looks like to the layer above: bytes, and a fact about their encryption."""

from __future__ import annotations

import time
from typing import Protocol

from ..errors import FormatError
from ..model import AtRest


class ByteStream(Protocol):
    """A readable body; ``read(n)`` gives at most n bytes, and none at its end."""

    def read(self, size: int, /) -> bytes: ...


class PlainStream(Protocol):
    """Decrypted bytes. They are unverified until :meth:`finish` has returned.

    ``read(n)`` gives what is at hand, which may be more than n bytes, and nothing at the end.
    """

    @property
    def at_rest(self) -> AtRest:
        """How the object is encrypted, as seen in its own header or in the store's answer."""

    def read(self, size: int, /) -> bytes: ...

    def finish(self) -> None:
        """Verify that the object is whole. :raises DecryptionError: or FormatError, if it is not."""


class Counted:
    """A body with a stated length: gives exactly what is asked for, counts, and notices a wrong length.

    :param total: how many bytes the store said there are.
    :param where: the object, for messages.
    """

    def __init__(self, body: ByteStream, total: int, where: str) -> None:
        self._body = body
        self._ahead = b""
        self.total = total
        self.where = where
        self.position = 0
        self.seconds = 0.0  # spent in waiting for the body

    def read(self, size: int = -1) -> bytes:
        """Exactly *size* bytes, or fewer at the end of the body."""
        wanted = size if size >= 0 else self.total + 1
        pieces = [self._ahead[:wanted]] if self._ahead else []
        got = len(pieces[0]) if pieces else 0
        self._ahead = self._ahead[wanted:]
        while got < wanted:
            began = time.perf_counter()
            piece = self._body.read(wanted - got)
            self.seconds += time.perf_counter() - began
            if not piece:
                break
            pieces.append(piece)
            got += len(piece)
        self.position += got
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def peek(self, size: int) -> bytes:
        """The next bytes without taking them."""
        head = self.read(size)
        self.unread(head)
        return head

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        self._ahead = data + self._ahead
        self.position -= len(data)

    def expect_end(self) -> None:
        """:raises FormatError: unless the body ends here and has the stated length."""
        end = self.position
        if self.read(1):
            raise FormatError(
                f"{self.where}: its content ends at byte {end:,} and there is more behind it: something was appended"
            )
        if end != self.total:
            raise FormatError(f"{self.where}: got {end:,} bytes, the store stated {self.total:,}")


class Unencrypted:
    """An object whose bytes are the data: the store may encrypt it, its writer did not."""

    def __init__(self, body: Counted, at_rest: AtRest) -> None:
        self._body = body
        self._at_rest = at_rest

    @property
    def at_rest(self) -> AtRest:
        return self._at_rest

    def read(self, size: int, /) -> bytes:
        return self._body.read(size)

    def finish(self) -> None:
        self._body.expect_end()

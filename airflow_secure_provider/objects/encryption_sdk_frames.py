"""The framed body of an AWS Encryption SDK message, and the signature behind it, read at the speed of AES.

Header, data key and key commitment are the SDK's to check. What is left is a loop over frames, for which the SDK takes
about 45 microseconds each, and AES itself less than one. The format is that of the SDK's developer guide, "Message format
reference": body with framed data, body additional authenticated data, footer.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .source import Counted

UNSIGNED, SIGNED = b"\x04\x78", b"\x05\x78"  # AES-256-GCM, HKDF-SHA512, key commitment; with ECDSA P-384
_SEQUENCE, _IV, _TAG, _LENGTH = 4, 12, 16, 4
_FINAL = b"\xff\xff\xff\xff"
_MOST_FRAMES = 2**32 - 1
_AT_ONCE_BYTES = 1024 * 1024
_BODY, _LAST = b"AWSKMSEncryptionClient Frame", b"AWSKMSEncryptionClient Final Frame"


class FrameError(ValueError):
    """A body that is not what its header says. Its text tells what is wrong, and goes on "the object …"."""


@dataclass(frozen=True, slots=True, repr=False)
class MessageKey:
    """What the header and the key service gave.

    :param suite: the algorithm suite's id, :data:`UNSIGNED` or :data:`SIGNED`.
    :param header: the header's bytes, its authentication tag included, which the signature covers too.
    :param verification_key: the public key that signs, in DER; ``None`` where nothing is signed.
    """

    suite: bytes
    message_id: bytes
    frame_bytes: int
    header: bytes
    data_key: bytes
    commitment: bytes
    verification_key: bytes | None


class FramedBody:
    """The plaintext, frame by frame. Each has authenticated before it is given.

    :param body: where the first frame begins.
    :raises FrameError: if the key is not the one that the header commits to.
    """

    def __init__(self, body: Counted, key: MessageKey) -> None:
        derived = _derived(key, b"DERIVEKEY")
        if not hmac.compare_digest(_derived(key, b"COMMITKEY"), key.commitment):
            raise FrameError("is committed to another key")
        self._body = body
        self._decrypt: Callable[[bytes, bytes, bytes], bytes] = AESGCM(derived).decrypt
        self._frame_bytes = key.frame_bytes
        self._whole = _SEQUENCE + _IV + key.frame_bytes + _TAG
        self._at_once = max(1, _AT_ONCE_BYTES // self._whole) * self._whole
        self._regular = key.message_id + _BODY
        self._final = key.message_id + _LAST
        self._suffix = key.frame_bytes.to_bytes(8, "big")
        self._ahead = b""
        self._next = 1
        self._ended = False
        self._signing = _Signature(key.verification_key, key.header) if key.verification_key else None

    def read(self) -> bytes:
        """Some plaintext; empty at the end.

        :raises FrameError: if a frame is altered, out of order or missing.
        """
        if self._ended:
            return b""
        data = self._ahead + self._body.read(self._at_once - len(self._ahead))
        view, whole, plain, position = memoryview(data), self._whole, [], 0
        decrypt, regular, suffix, number = self._decrypt, self._regular, self._suffix, self._next
        try:
            while True:
                sequence = data[position : position + _SEQUENCE]
                if sequence == _FINAL or len(data) - position < whole:
                    break
                if sequence != number.to_bytes(4, "big") or number >= _MOST_FRAMES:
                    raise FrameError(f"has another frame where frame {number:,} belongs")
                start = position + _SEQUENCE + _IV
                nonce = data[position + _SEQUENCE : start]
                plain.append(decrypt(nonce, view[start : position + whole], regular + sequence + suffix))  # type: ignore[arg-type]
                position += whole
                number += 1
        except InvalidTag:
            raise _altered(number) from None
        self._next = number
        if sequence == _FINAL:
            plain.append(self._last(data, position))
        else:
            self._sign(view[:position])
            self._ahead = data[position:]
            if not position:
                raise FrameError("ends in the middle: it is truncated")
        return b"".join(plain)

    def finish(self) -> None:
        """Leave the body behind the message's last byte.

        :raises FrameError: unless everything was read and the signature, where there is one, is right.
        """
        if not self._ended:
            raise FrameError("was not read to its end")
        if self._signing is not None:
            length = int.from_bytes(self._take(2), "big")
            self._signing.verify(self._take(length))
        self._body.unread(self._ahead)  # what should not be there is the caller's to find
        self._ahead = b""

    def _last(self, data: bytes, position: int) -> bytes:
        """The final frame, whose number and length stand in it. What follows it stays for :meth:`finish`."""
        self._ahead = data[position:]
        head = self._take(2 * _SEQUENCE + _IV + _LENGTH)
        sequence, nonce, length = head[4:8], head[8:20], head[20:24]
        if sequence != self._next.to_bytes(4, "big"):
            raise FrameError(f"ends with another frame where frame {self._next:,} belongs")
        count = int.from_bytes(length, "big")
        if count > self._frame_bytes:
            raise FrameError("has a final frame that is longer than the others")
        sealed = self._take(count + _TAG)
        try:
            plain = self._decrypt(nonce, sealed, self._final + sequence + count.to_bytes(8, "big"))
        except InvalidTag:
            raise _altered(self._next) from None
        self._ended = True
        self._sign(data[:position] + head + sealed)
        return plain

    def _take(self, size: int) -> bytes:
        if len(self._ahead) < size:
            self._ahead += self._body.read(size - len(self._ahead))
        if len(self._ahead) < size:
            raise FrameError("ends in the middle: it is truncated")
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken

    def _sign(self, data: Any) -> None:
        if self._signing is not None:
            self._signing.update(data)


class _Signature:
    """ECDSA over P-384 with SHA-384, of everything before the footer."""

    def __init__(self, der: bytes, header: bytes) -> None:
        key = serialization.load_der_public_key(der)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise FrameError("is signed by a key of another kind")
        self._key = key
        self._hash = hashes.Hash(hashes.SHA384())
        self._hash.update(header)

    def update(self, data: Any) -> None:
        self._hash.update(data)

    def verify(self, signature: bytes) -> None:
        try:
            self._key.verify(signature, self._hash.finalize(), ec.ECDSA(Prehashed(hashes.SHA384())))
        except InvalidSignature:
            raise FrameError("does not authenticate: its signature is not its writer's") from None


def _derived(key: MessageKey, label: bytes) -> bytes:
    info = key.suite + label if label == b"DERIVEKEY" else label
    return HKDF(hashes.SHA512(), 32, salt=key.message_id, info=info).derive(key.data_key)


def _altered(number: int) -> FrameError:
    return FrameError(f"does not authenticate in frame {number:,}: it was altered, or is damaged")

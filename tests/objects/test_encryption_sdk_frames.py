"""The framed body against messages that the real library wrote: the same plaintext, and every damage is noticed."""

from __future__ import annotations

import io
import random
from typing import Any

import aws_encryption_sdk
import pytest
from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy, EncryptionKeyType, WrappingAlgorithm
from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider

from airflow_secure_provider.errors import DecryptionError, FormatError, SecureProviderError
from airflow_secure_provider.objects import encryption_sdk
from airflow_secure_provider.objects.encryption_sdk import EncryptionSdkStream
from airflow_secure_provider.objects.source import Counted

UNSIGNED = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY
SIGNED = Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384


FRAME = 128  # the smallest that the SDK writes


class Raw(RawMasterKeyProvider):  # type: ignore[misc]
    """A wrapping key in memory, in KMS's place."""

    provider_id = "raw"
    opened_by = "raw"
    opened_with = "raw-aes"
    refusal = None
    accepted_in_words = "raw"

    def _get_raw_key(self, key_id: bytes) -> Any:
        return WrappingKey(
            WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING, bytes(32), EncryptionKeyType.SYMMETRIC
        )


def provider() -> Raw:
    made = Raw()
    made.add_master_key("key")
    return made


CLIENT = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
)


def encrypt(plain: bytes, frame: int, suite: Algorithm = UNSIGNED) -> bytes:
    message, _ = CLIENT.encrypt(
        source=plain,
        key_provider=provider(),
        frame_length=frame,
        algorithm=suite,
        encryption_context={"a": "b"},
    )
    return bytes(message)


@pytest.fixture(autouse=True)
def raw_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption_sdk, "opening_keys", lambda *_: provider())


class Slow(io.BytesIO):
    """Gives less than it is asked for, as a network does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 1_000) if size and size > 0 else size)


def decrypt(message: bytes, total: int | None = None, body: type[io.BytesIO] = io.BytesIO) -> bytes:
    stream = EncryptionSdkStream(
        Counted(body(message), len(message) if total is None else total, "it"), lambda arn: None, {}
    )
    pieces = []
    while piece := stream.read(4096):
        pieces.append(piece)
    stream.finish()
    return b"".join(pieces)


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("frame", [FRAME, 1024, 4096, 1 << 20])
def test_it_gives_what_the_library_took(frame: int, suite: Algorithm) -> None:
    rng = random.Random(frame)
    for length in sorted({0, 1, frame - 1, frame, frame + 1, 3 * frame, 833_333}):
        plain = rng.randbytes(length)
        message = encrypt(plain, frame, suite)
        assert decrypt(message) == plain
        assert decrypt(message, body=Slow) == plain


def test_without_frames_the_library_reads() -> None:
    plain = random.Random(7).randbytes(50_000)
    assert decrypt(encrypt(plain, 0)) == plain
    with pytest.raises(DecryptionError):
        decrypt(encrypt(plain, 0)[:-1])


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
@pytest.mark.parametrize("length", [0, 5, 256, 300])
def test_every_flipped_bit_is_noticed(length: int, suite: Algorithm) -> None:
    """Each byte of the message, one bit of it."""
    message = encrypt(random.Random(length).randbytes(length), FRAME, suite)
    for position in range(len(message)):
        changed = bytearray(message)
        changed[position] ^= 1 << position % 8
        with pytest.raises(SecureProviderError):
            decrypt(bytes(changed))


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_every_truncation_is_noticed(suite: Algorithm) -> None:
    message = encrypt(random.Random(1).randbytes(300), FRAME, suite)
    for length in range(len(message)):
        with pytest.raises(SecureProviderError):
            decrypt(message[:length])
        with pytest.raises(SecureProviderError):  # and the store knows how long it was
            decrypt(message[:length], len(message))


@pytest.mark.parametrize("suite", [UNSIGNED, SIGNED], ids=["unsigned", "signed"])
def test_what_is_behind_it_is_noticed(suite: Algorithm) -> None:
    message = encrypt(random.Random(1).randbytes(300), FRAME, suite)
    for more in (b"\0", b"x" * 3_000, message):
        with pytest.raises(FormatError, match="something was appended"):
            decrypt(message + more)


def body_at(message: bytes, plain_length: int, frame: int) -> int:
    whole, last = divmod(plain_length, frame)
    whole, last = (whole - 1, frame) if not last and whole else (whole, last)
    return len(message) - whole * (4 + 12 + frame + 16) - (4 + 4 + 12 + 4 + last + 16)


def test_frames_that_were_moved_repeated_or_left_out_are_noticed() -> None:
    message = encrypt(random.Random(2).randbytes(FRAME * 5 + 3), FRAME)
    start, size = body_at(message, FRAME * 5 + 3, FRAME), FRAME + 32
    head, end = message[:start], message[start + 5 * size :]
    frames = [message[start + at * size : start + (at + 1) * size] for at in range(5)]
    assert decrypt(head + b"".join(frames) + end) is not None
    for order in ([1, 0, 2, 3, 4], [0, 1, 1, 2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 3], [], [0, 1, 2, 3, 4, 4]):
        with pytest.raises(DecryptionError):
            decrypt(head + b"".join(frames[at] for at in order) + end)


def test_frames_of_another_message_are_noticed() -> None:
    one, other = (encrypt(bytes(500), FRAME) for _ in range(2))
    start = body_at(one, 500, FRAME)
    with pytest.raises(DecryptionError, match="does not authenticate in frame 1"):
        decrypt(one[:start] + other[start:])


def test_a_final_frame_may_not_be_longer_than_the_others() -> None:
    message = encrypt(random.Random(3).randbytes(FRAME + 4), FRAME)
    start = body_at(message, FRAME + 4, FRAME) + FRAME + 32
    changed = bytearray(message)
    changed[start + 20 : start + 24] = (FRAME + 1).to_bytes(4, "big")
    with pytest.raises(DecryptionError, match="a final frame that is longer than the others"):
        decrypt(bytes(changed))


def test_after_a_failure_nothing_more_comes() -> None:
    message = bytearray(encrypt(random.Random(4).randbytes(3_000_000), 4096))
    message[1_500_000] ^= 1
    stream = EncryptionSdkStream(Counted(io.BytesIO(message), len(message), "it"), lambda arn: None, {})
    pieces = iter(lambda: stream.read(4096), b"")
    with pytest.raises(DecryptionError, match="does not authenticate in frame"):
        list(pieces)
    for call in (lambda: stream.read(1), stream.finish):
        with pytest.raises(DecryptionError, match="does not authenticate in frame"):
            call()


def test_a_message_that_was_not_read_to_its_end_is_not_whole() -> None:
    message = encrypt(bytes(3_000_000), 4096)
    stream = EncryptionSdkStream(Counted(io.BytesIO(message), len(message), "it"), lambda arn: None, {})
    stream.read(1)
    with pytest.raises(DecryptionError, match="was not read to its end"):
        stream.finish()

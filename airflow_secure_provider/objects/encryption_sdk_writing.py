"""AWS Encryption SDK messages, written as a stream: key commitment and signature, under a KMS key."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ..errors import KeyringError, SecureProviderError
from ..keyrings.aws_kms import kms_failure
from .source import ByteStream

FRAME_BYTES = 1024 * 1024
"""The SDK's own default of 4 KiB would make reading slow, and every message longer by 1 %."""


def encrypted(
    source: ByteStream, keys: Any, key_name: str, context: Mapping[str, str], where: str
) -> ByteStream:
    """The message whose plaintext is *source*, encrypted as it is read.

    :param keys: of :func:`.encryption_sdk_keys.writing_keys`.
    :param key_name: the first of them, for messages.
    :param context: goes into the header in clear, into the key service's log, and is authenticated.
    :param where: the object, for messages.
    :raises KeyringError: if the key service refuses, at the first read.
    """
    return _Message(source, keys, key_name, context, where)


class _Message(io.RawIOBase):
    def __init__(
        self, source: ByteStream, keys: Any, key_name: str, context: Mapping[str, str], where: str
    ) -> None:
        super().__init__()
        self._source = _Remembering(source)
        self._keys = keys
        self._key_name = key_name
        self._context = context
        self._where = where
        self._stream: Any = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
        from botocore.exceptions import BotoCoreError, ClientError

        failure: SecureProviderError
        try:
            if self._stream is None:
                self._stream = self._open()
            piece: bytes = self._stream.read(size)
            return piece
        except AWSEncryptionSDKClientError as error:
            if self._source.failure is not None:
                raise self._source.failure from None
            cause = error.__cause__ or error.__context__
            if isinstance(cause, (BotoCoreError, ClientError)):
                failure = kms_failure(
                    cause, getattr(cause, "operation_name", "GenerateDataKey"), self._key_name
                )
            else:
                failure = KeyringError(
                    f"{self._where}: no data key under {self._key_name} ({type(error).__name__}); "
                    "allow kms:GenerateDataKey (kms:Encrypt for further keys) to the principal of the AWS connection"
                )
        raise failure from None

    def _open(self) -> Any:
        import aws_encryption_sdk
        from aws_encryption_sdk.identifiers import CommitmentPolicy

        client = aws_encryption_sdk.EncryptionSDKClient(
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
        )
        return client.stream(
            mode="e",
            source=self._source,
            key_provider=self._keys,
            encryption_context=dict(self._context),
            frame_length=FRAME_BYTES,
        )


class _Remembering:
    """A source whose own failure is not taken for the SDK's."""

    def __init__(self, source: ByteStream) -> None:
        self._source = source
        self.failure: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._source.read(size)
        except BaseException as error:
            self.failure = error
            raise

    def close(self) -> None:
        """Called by the SDK at the end. The source is not its to close."""

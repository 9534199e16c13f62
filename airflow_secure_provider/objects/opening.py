"""What kind of object this is, and the stream that reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..errors import ConfigurationError, ContractError, FormatError
from ..model import AtRest
from .encryption_sdk import EncryptionSdkStream, looks_like_message
from .encryption_sdk_keys import RawAesKey
from .fernet import FernetStream
from .parquet_encryption import MAGIC
from .s3_encryption_client import S3EncryptionClientStream, is_marked
from .source import Counted, PlainStream, Unencrypted

_FERNET = b"gAAAAA"


def open_object(
    body: Counted,
    metadata: Mapping[str, str],
    at_rest: AtRest,
    *,
    kms_client: Callable[[str], Any],
    context: Mapping[str, str],
    key_arns: Collection[str] | None,
    raw_key: RawAesKey | None = None,
    fernet_keys: Sequence[str] = (),
    allow_unauthenticated: bool = False,
    instruction: Callable[[], bytes | None] = lambda: None,
) -> PlainStream:
    """Recognise the object by its first bytes and open it.

    :param metadata: the store's user metadata of the object.
    :param at_rest: what the store itself says of its encryption.
    :param context: if given, the object must be a message with this encryption context.
    :param raw_key: a key in no key service; if given, the object must be a message.
    :param fernet_keys: if given, the object must be a Fernet file under one of them.
    :param allow_unauthenticated: take an object of the S3 Encryption Client in which nothing notices an alteration.
    :param instruction: reads the S3 Encryption Client's instruction file beside the object; ``None`` if there is none.
    :raises FormatError: for an encrypted format that can't be read.
    :raises ContractError: if an encrypted message is expected and this is none.
    """

    head = body.peek(len(_FERNET))
    if fernet_keys:
        if context or key_arns is not None or raw_key is not None:
            raise ConfigurationError(
                f"{body.where}: fernet_key_conn_id= and encryption_context=, kms_key_arns= or a raw AES key expect "
                "different objects; give one of them"
            )
        if head != _FERNET:
            raise ContractError(f"{body.where} is not a Fernet file, and fernet_key_conn_id= expects one")
        return FernetStream(body, fernet_keys)

    def of_s3_encryption_client(content: bytes | None) -> PlainStream:
        return S3EncryptionClientStream(
            body,
            metadata,
            content,
            kms_client=kms_client,
            context=context,
            key_arns=key_arns,
            allow_unauthenticated=allow_unauthenticated,
        )

    if is_marked(metadata):
        return of_s3_encryption_client(instruction())
    if looks_like_message(head):
        return EncryptionSdkStream(body, kms_client, context, key_arns, raw_key)
    if head[:2] == b"\x01\x80":
        raise FormatError(
            f"{body.where} is an AWS Encryption SDK message of version 1, without key commitment; "
            "write it again with the commitment policy REQUIRE_ENCRYPT_REQUIRE_DECRYPT"
        )
    if head == _FERNET:
        raise FormatError(f"{body.where} looks like a Fernet file; name its key in fernet_key_conn_id=")
    if head[: len(MAGIC)] == MAGIC and not context:
        return Unencrypted(body, at_rest)  # as bytes; its columns are decrypted where they are parsed
    if context or key_arns is not None or raw_key is not None:
        content = instruction()
        if content is not None:
            return of_s3_encryption_client(content)
        raise ContractError(
            f"{body.where} is not an AWS Encryption SDK message or an object of the S3 Encryption Client, and encryption_context=, kms_key_arns= or a raw AES key expects one"
        )
    return Unencrypted(body, at_rest)

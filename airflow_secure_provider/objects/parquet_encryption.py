"""Parquet Modular Encryption: files whose footer and columns are encrypted, each under keys of its own.

pyarrow decrypts. What this adds: data keys are unwrapped by AWS KMS through our own client, and only under accepted keys;
and which columns are encrypted is looked up in the file, since the format leaves each of them open.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from typing import Any

from ..errors import ContractError, DecryptionError, FormatError, KeyringError, SecureProviderError
from ..keyrings.aws_kms import kms_failure
from ..model import AtRest, Evidence
from .spool import EncryptedSpool

MAGIC = b"PARE"
"""Begins and ends a file with an encrypted footer. One with a plaintext footer looks like any Parquet file."""
_TAIL = 8  # length of the footer, and the magic
_ALGORITHMS = {b"\x1c\x1c": "AES_GCM_V1", b"\x1c\x2c": "AES_GCM_CTR_V1"}  # FileCryptoMetaData's first field


class EncryptedParquet:
    """A file that has been opened with its keys.

    :param spool: the whole file.
    :param at_rest: how the store has it; what counts where a column is not encrypted.
    :param key_arns: the accepted master keys, under which all columns must be encrypted; ``None`` for any that KMS lets the
        caller use, and then columns may be plain.
    :param allow_unauthenticated: take AES_GCM_CTR_V1.
    :ivar file: the ``pyarrow.parquet.ParquetFile``.
    :ivar at_rest: client-side if all of its columns are encrypted.
    :raises KeyringError: if KMS refuses.
    :raises DecryptionError: if the file does not authenticate.
    """

    def __init__(
        self,
        spool: EncryptedSpool,
        where: str,
        at_rest: AtRest,
        *,
        kms_client: Callable[[str], Any],
        key_arns: Collection[str] | None,
        allow_unauthenticated: bool = False,
    ) -> None:
        self._spool = spool
        self._where = where
        self._keys = _Keys(kms_client, key_arns, where)
        algorithm = self._algorithm()
        if algorithm == "AES_GCM_CTR_V1" and not allow_unauthenticated:
            raise DecryptionError(
                f"{where} is encrypted by {algorithm}, in whose pages nothing notices an alteration: write it with AES_GCM_V1, "
                "or set allow_unauthenticated=True"
            )
        self.file = self.guard(self._open)
        plain = self.guard(self._plain_columns)
        if plain and key_arns is not None:
            raise ContractError(
                f"{where}: column {', '.join(map(repr, plain))} is not encrypted in it, and kms_key_arns= expects that all is"
            )
        self.at_rest = at_rest
        if not plain:
            self.at_rest = AtRest(
                "client-side",
                f"Parquet Modular Encryption {algorithm}",
                "aws-kms",
                self._keys.footer_key,
                Evidence.OBSERVED,
                note="alteration of pages would not be noticed" if "CTR" in algorithm else None,
            )

    def guard(self, step: Callable[[], Any]) -> Any:
        """Run one step of pyarrow and turn its errors, which may quote, into ours."""
        import pyarrow as pa

        failure: SecureProviderError
        try:
            return step()
        except (pa.ArrowException, OSError, ValueError):
            failure = self._keys.refusal or DecryptionError(
                f"{self._where} does not authenticate as encrypted Parquet: it was altered, or is damaged"
            )
        raise failure

    def close(self) -> None:
        self._spool.close()

    def _algorithm(self) -> str:
        end = self._spool.seek(0, 2)
        self._spool.seek(max(0, end - _TAIL))
        tail = self._spool.read(_TAIL)
        if tail[4:] != MAGIC:
            raise FormatError(
                f"{self._where} begins as encrypted Parquet and does not end as such: truncated?"
            )
        self._spool.seek(max(0, end - _TAIL - int.from_bytes(tail[:4], "little")))
        algorithm = _ALGORITHMS.get(self._spool.read(2))
        self._spool.seek(0)
        if algorithm is None:
            raise FormatError(f"{self._where} is Parquet encrypted by an algorithm that is not known here")
        return algorithm

    def _open(self) -> Any:
        from datetime import timedelta

        from pyarrow import parquet
        from pyarrow.parquet import encryption

        self._factory = encryption.CryptoFactory(lambda _: self._keys.client())
        properties = self._factory.file_decryption_properties(
            encryption.KmsConnectionConfig(),
            encryption.DecryptionConfiguration(cache_lifetime=timedelta(minutes=5)),
        )
        return parquet.ParquetFile(self._spool, decryption_properties=properties)

    def _plain_columns(self) -> list[str]:
        """Columns of which a part is not encrypted.

        An encrypted page header begins with its length in four bytes, a plain one with the Thrift fields of its type and
        size (Parquet, format/Encryption.md, section 5.1; 0x15 is the head of an integer field).
        """
        plain = set()
        metadata = self.file.metadata
        for group in range(metadata.num_row_groups):
            for number in range(metadata.num_columns):
                column = metadata.row_group(group).column(number)
                self._spool.seek(column.dictionary_page_offset or column.data_page_offset)
                head = self._spool.read(4)
                if head[2:4] != b"\0\0":
                    plain.add(column.path_in_schema)
        return sorted(plain)


class _Keys:
    """Unwraps the file's keys, and remembers what KMS said."""

    def __init__(
        self, kms_client: Callable[[str], Any], accepted: Collection[str] | None, where: str
    ) -> None:
        self._kms_client = kms_client
        self._accepted = accepted
        self._where = where
        self._unwrapped: dict[tuple[str, str], bytes] = {}
        self.footer_key: str | None = None
        self.refusal: KeyringError | None = None

    def client(self) -> Any:
        from pyarrow.parquet import encryption

        keys = self

        class Client(encryption.KmsClient):  # type: ignore[misc]
            def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
                raise ValueError("this client only unwraps")

            def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
                return keys.unwrap(wrapped_key, master_key_identifier)

        return Client()

    def unwrap(self, wrapped: str, named: str) -> bytes:
        if (wrapped, named) not in self._unwrapped:
            self._unwrapped[wrapped, named] = self._ask(wrapped, named)
        return self._unwrapped[wrapped, named]

    def _ask(self, wrapped: str, named: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        key = named
        if self._accepted is not None:
            key = next((arn for arn in self._accepted if _names(named, arn)), "")
        if not key:
            accepted = ", ".join(sorted(self._accepted or ()))
            self.refusal = KeyringError(f"{self._where} wants the key {named!r}, accepted: {accepted}")
            raise ValueError
        try:
            blob = base64.b64decode(wrapped, validate=True)
            answer = self._kms_client(key).decrypt(KeyId=key, CiphertextBlob=blob)
        except (BotoCoreError, ClientError) as error:
            refused = kms_failure(error, "Decrypt", key)
            self.refusal = type(refused)(f"{self._where}: {refused}")
            raise ValueError from None
        self.footer_key = self.footer_key or answer.get("KeyId", key)
        return bytes(answer["Plaintext"])


def _names(named: str, arn: str) -> bool:
    """A file names its key by ARN, id or alias; pyarrow writes no ARN for a column, because of the colons in it."""
    return bool(named) and (named == arn or arn.endswith((f":key/{named}", f":{named}")))

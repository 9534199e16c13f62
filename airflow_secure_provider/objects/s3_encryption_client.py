"""Objects of the Amazon S3 Encryption Client (formats V2 and V3), decrypted as they stream.

What decrypts is the maintained client's own pipeline. What this adds: the bytes come from our reader, which goes on where a
connection broke; the encryption context may hold more pairs than are expected, as for the Encryption SDK; several keys may
be accepted, although the format does not name the one that it needs; and nothing counts before the last byte has
authenticated.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import ConfigurationError, DecryptionError, FormatError, KeyringError, SecureProviderError
from ..keyrings.aws_kms import kms_failure
from ..model import AtRest, Evidence
from .source import Counted

log = logging.getLogger(__name__)
_MARKS = ("x-amz-key-v2", "x-amz-key", "x-amz-c", "x-amz-3")
_RESERVED = ("aws:x-amz-cek-alg", "kms_cmk_id")
_CBC = "ALG_AES_256_CBC_IV16_NO_KDF"


def is_marked(metadata: Mapping[str, str]) -> bool:
    """Whether an object's own metadata says that the client wrote it. With an instruction file it may say nothing."""
    return any(key in metadata for key in _MARKS)


class S3EncryptionClientStream:
    """The plaintext of one object.

    :param metadata: the store's user metadata of the object.
    :param instruction: the content of the instruction file beside it, if there is one.
    :param key_arns: the keys that may have encrypted it; the format does not name its key.
    :param allow_unauthenticated: also take AES-CBC, which notices no alteration, and key wrapping without a context.
    :raises DecryptionError: or KeyringError, here already if the object's metadata is not acceptable.
    """

    def __init__(
        self,
        body: Counted,
        metadata: Mapping[str, str],
        instruction: bytes | None,
        *,
        kms_client: Callable[[str], Any],
        context: Mapping[str, str],
        key_arns: Collection[str] | None,
        allow_unauthenticated: bool = False,
    ) -> None:
        try:
            import s3_encryption  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                f"{body.where} was written by the Amazon S3 Encryption Client, which is not installed: "
                "pip install 'airflow-secure-provider[s3-encryption-client]'"
            ) from None
        if not key_arns:
            raise ConfigurationError(
                f"{body.where} was written by the Amazon S3 Encryption Client, whose objects do not name their key: "
                "name it in kms_key_arns="
            )
        self._body = body
        self._failed: str | None = None
        opening = _Opening(body.where, kms_client, context, list(key_arns), allow_unauthenticated)
        self._stream = self._guard(lambda: opening.open(body, metadata, instruction))
        if opening.suite == _CBC:
            log.warning(
                "%s is encrypted by AES-CBC, in which nothing notices an alteration; write it again with a newer client",
                body.where,
            )
        self._at_rest = AtRest(
            scheme="client-side",
            algorithm=f"Amazon S3 Encryption Client {opening.suite}",
            key_provider="aws-kms",
            key_id=opening.opened_by,
            evidence=Evidence.OBSERVED,
            note="its alteration would not be noticed" if opening.suite == _CBC else None,
        )

    @property
    def at_rest(self) -> AtRest:
        return self._at_rest

    def read(self, size: int, /) -> bytes:
        return bytes(self._guard(lambda: self._stream.read(size)))

    def finish(self) -> None:
        """The tag behind the last byte verified. Reading to the end has done it; this makes sure that it was."""
        if self._stream.readable() and self.read(1):
            raise FormatError(f"{self._body.where} was not read to its end")
        if self._failed:
            raise DecryptionError(self._failed)
        self._body.expect_end()

    def _guard(self, step: Callable[[], Any]) -> Any:
        """Run one step of the client and turn its errors into ours; after the first one every step fails."""
        from botocore.exceptions import BotoCoreError
        from s3_encryption.exceptions import S3EncryptionClientError, S3EncryptionClientSecurityError

        if self._failed:
            raise DecryptionError(self._failed)
        failure: SecureProviderError
        try:
            return step()
        except SecureProviderError as error:
            failure = error
        except S3EncryptionClientSecurityError:
            failure = DecryptionError(
                f"{self._body.where} does not authenticate: it was altered, truncated, or is damaged"
            )
        except S3EncryptionClientError as error:
            failure = DecryptionError(f"{self._body.where}: {error}")
        except (BotoCoreError, ValueError, KeyError, TypeError) as error:
            failure = DecryptionError(f"{self._body.where} is malformed ({type(error).__name__})")
        self._failed = str(failure)
        raise failure from None


class _Opening:
    """The way of one object through the client's pipeline, and what was seen on it."""

    def __init__(
        self,
        where: str,
        kms_client: Callable[[str], Any],
        context: Mapping[str, str],
        key_arns: list[str],
        allow_unauthenticated: bool,
    ) -> None:
        self._where = where
        self._kms_client = kms_client
        self._context = context
        self._key_arns = key_arns
        self._legacy = allow_unauthenticated
        self._materials: Any = None
        self.opened_by: str | None = None

    @property
    def suite(self) -> str:
        return str(self._materials.algorithm_suite.name)

    def open(self, body: Counted, metadata: Mapping[str, str], instruction: bytes | None) -> Any:
        from s3_encryption.materials.materials import CommitmentPolicy
        from s3_encryption.pipelines import GetEncryptedObjectPipeline

        pipeline = GetEncryptedObjectPipeline(
            self,
            commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT,
            s3_client=_InstructionFile(instruction),
            enable_legacy_unauthenticated_modes=self._legacy,
        )
        response = {"Body": body, "ContentLength": body.total, "Metadata": dict(metadata)}
        return pipeline.decrypt(
            response,
            instruction_suffix=".instruction",
            enable_delayed_authentication=True,  # nothing is committed before finish()
            bucket="",
            key=self._where,
        )

    def decrypt_materials(self, materials: Any) -> Any:
        """Called by the pipeline for the data key, as the client's own materials manager would be."""
        self._materials = materials
        stored = {k: v for k, v in materials.encryption_context_stored.items() if k not in _RESERVED}
        wrapping = materials.encrypted_data_keys[0].key_provider_info
        if wrapping not in ("kms+context", "kms"):
            raise DecryptionError(
                f"{self._where}: its data key is wrapped by {wrapping}, expected a KMS key (kms+context)"
            )
        with_context = wrapping == "kms+context"
        for key, value in self._context.items():
            if not with_context or stored.get(key) != value:
                found = f"{key}={stored[key]!r}" if with_context and key in stored else f"no {key!r}"
                raise DecryptionError(
                    f"{self._where}: its encryption context has {found}, expected {key}={value!r}; "
                    "it was written for something else"
                )
        if with_context:
            materials.encryption_context_from_request = stored
        return self._unwrap(materials)

    def _unwrap(self, materials: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError
        from s3_encryption.exceptions import S3EncryptionClientError
        from s3_encryption.materials.kms_keyring import KmsKeyring

        refusal: KeyringError | None = None
        for arn in self._key_arns:
            keyring = KmsKeyring(self._kms_client(arn), arn, enable_legacy_wrapping_algorithms=self._legacy)
            try:
                opened = keyring.on_decrypt(materials, materials.encrypted_data_keys)
            except S3EncryptionClientError:
                raise
            except (BotoCoreError, ClientError) as error:
                refusal = kms_failure(error, "Decrypt", arn)
                continue
            self.opened_by = arn
            return opened
        assert refusal is not None  # noqa: S101 (there is at least one key)
        raise type(refusal)(f"{self._where}: {refusal}") from None


class _InstructionFile:
    """Gives the pipeline what was read of the instruction file, in the place of a client that would go and read it."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content
        self._s3ec_plugin_context = type("_Context", (), {})()

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        from s3_encryption.exceptions import S3EncryptionClientError
        from s3_encryption.instruction_file import parse_instruction_file

        if self._content is None:
            raise S3EncryptionClientError(f"there is no instruction file {Key}")
        return {"Metadata": parse_instruction_file(self._content, Key), "Body": io.BytesIO()}

"""AWS KMS as a keyring: the key never leaves the service, and its log shows every unwrap with its context."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..errors import KeyringError, KeyringUnavailable

_TRANSIENT_CODES = frozenset(
    {
        "ThrottlingException",
        "LimitExceededException",
        "KMSInternalException",
        "DependencyTimeoutException",
        "InternalFailure",
        "ServiceUnavailable",
        "RequestTimeout",
        "ExpiredTokenException",  # the next try takes new credentials from the connection
        "RequestExpired",
    }
)


@dataclass(frozen=True, slots=True)
class AwsKmsKeyring:
    """Wraps with ``kms:Encrypt``, unwraps with ``kms:Decrypt``; the context is the KMS encryption context.

    :param key_id: the full key ARN.
    :param client: a boto3 KMS client: endpoint, CA, region, retries and credentials are its.
    """

    key_id: str
    client: Any = field(repr=False)
    provider: str = "aws-kms"

    def wrap(self, plaintext: bytes, context: dict[str, str]) -> bytes:
        answer = self._call("Encrypt", self.client.encrypt, Plaintext=plaintext, EncryptionContext=context)
        wrapped: bytes = answer["CiphertextBlob"]
        return wrapped

    def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
        answer = self._call("Decrypt", self.client.decrypt, CiphertextBlob=wrapped, EncryptionContext=context)
        plaintext: bytes = answer["Plaintext"]
        return plaintext

    def _call(self, action: str, call: Any, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call(KeyId=self.key_id, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise kms_failure(error, action, self.key_id) from None


def kms_failure(error: Exception, action: str, key_id: str) -> KeyringError:
    """Our error for a ``BotoCoreError`` or ``ClientError`` of a KMS call.

    :param action: the KMS operation, such as ``Decrypt``.
    """
    from botocore.exceptions import (
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    if isinstance(error, (NoCredentialsError, PartialCredentialsError, ParamValidationError)):
        return KeyringError(
            f"KMS {action} with key {key_id}: {type(error).__name__}; check key id and credentials of the AWS connection"
        )
    if not isinstance(error, ClientError):
        return KeyringUnavailable(
            f"KMS {action} with key {key_id}: {type(error).__name__}; "
            "check the endpoint, CA and credentials of the AWS connection"
        )
    code = error.response.get("Error", {}).get("Code", "unknown")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _TRANSIENT_CODES or status >= 500:
        return KeyringUnavailable(f"KMS {action} with key {key_id}: {code}; it may work later")
    return KeyringError(f"KMS {action} with key {key_id} refused: {code}; {_remedy(code, action)}")


def _remedy(code: str, action: str) -> str:
    if code in ("AccessDeniedException", "AccessDenied"):
        return f"allow kms:{action} on this key to the principal of the AWS connection"
    if code in ("InvalidCiphertextException", "IncorrectKeyException"):
        return (
            "the data key was wrapped under another key or encryption context; check what it was written for"
        )
    if code in ("NotFoundException", "NotFound"):
        return "there is no such key in this account and region"
    if code in ("DisabledException", "KMSInvalidStateException"):
        return "the key is disabled or about to be deleted"
    return "see the KMS documentation of this code"

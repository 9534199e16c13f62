"""The Encryption SDK's key provider for reading: KMS through our own client, with its refusals remembered."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from ..errors import KeyringError
from ..keyrings.aws_kms import kms_failure


class KmsKeys(Protocol):
    """A master key provider of the SDK, and what it saw."""

    opened_by: str | None
    refusal: KeyringError | None

    @property
    def accepted_in_words(self) -> str: ...


def kms_keys(kms_client: Callable[[str], Any], accepted: Collection[str] | None) -> Any:
    """A provider that opens a message's data key with the KMS key that the message names.

    The SDK's own provider makes its own clients, which would go to the public endpoint with other credentials.

    :param accepted: key ARNs; ``None`` for any that KMS lets the caller use.
    """
    from aws_encryption_sdk.exceptions import DecryptKeyError, EncryptKeyError, InvalidKeyIdError
    from aws_encryption_sdk.key_providers.base import MasterKeyProvider, MasterKeyProviderConfig
    from aws_encryption_sdk.key_providers.kms import KMSMasterKey
    from botocore.exceptions import BotoCoreError, ClientError

    class Provider(MasterKeyProvider):  # type: ignore[misc]
        provider_id = "aws-kms"
        _config_class = MasterKeyProviderConfig
        vend_masterkey_on_decrypt = True

        def __init__(self, **_: Any) -> None:
            self.opened_by: str | None = None
            self.refusal: KeyringError | None = None

        @property
        def accepted_in_words(self) -> str:
            return (
                ", ".join(sorted(accepted))
                if accepted is not None
                else "any KMS key that the connection may use"
            )

        def _new_master_key(self, key_id: str | bytes) -> Any:
            arn = key_id.decode() if isinstance(key_id, bytes) else key_id
            if accepted is not None and arn not in accepted:
                raise InvalidKeyIdError(arn)
            provider = self

            class Key(KMSMasterKey):  # type: ignore[misc]
                def _decrypt_data_key(
                    self, encrypted_data_key: Any, algorithm: Any, encryption_context: Any = None
                ) -> Any:
                    # The SDK's own method hides why KMS refused; ask KMS with the same request and remember.
                    client = self.config.client
                    request = self._build_decrypt_request(encrypted_data_key, encryption_context)
                    try:
                        answer = client.decrypt(**request)
                    except (BotoCoreError, ClientError) as error:
                        provider.refusal = kms_failure(error, "Decrypt", arn)
                        raise DecryptKeyError(arn) from None
                    self.config.client = _Answered(answer)
                    try:
                        opened = super()._decrypt_data_key(encrypted_data_key, algorithm, encryption_context)
                    finally:
                        self.config.client = client
                    provider.opened_by = arn
                    return opened

            return Key(key_id=arn, client=kms_client(arn))

        def master_keys_for_encryption(self, *_: Any, **__: Any) -> Any:
            raise EncryptKeyError("this provider only decrypts")

    return Provider()


class _Answered:
    """Stands in for the KMS client while the SDK's own checks look at the answer that KMS has given."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def decrypt(self, **_: Any) -> Any:
        return self._answer

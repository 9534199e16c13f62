"""The Encryption SDK's key providers: KMS through our own clients, and raw AES keys.

The SDK's own KMS providers make their own clients, which would go to the public endpoint with other credentials, and hide
why KMS refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import ConfigurationError, KeyringError
from ..keyrings.aws_kms import kms_failure

MAX_DATA_KEYS = 10


@dataclass(frozen=True, slots=True)
class RawAesKey:
    """A wrapping key that is in no key service: the SDK's raw AES keyring.

    :param namespace: with *name* written into each message in clear; both must be as its writer had them.
    :param key: 16, 24 or 32 bytes.
    """

    namespace: str
    name: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) not in (16, 24, 32) or not self.name or not self.namespace:
            raise ConfigurationError("a raw AES key is 16, 24 or 32 bytes, and has a namespace and a name")
        if self.namespace.startswith("aws-kms"):
            raise ConfigurationError("the namespace of a raw AES key must not begin with aws-kms")

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class OpeningKeys(Protocol):
    """A master key provider of the SDK, and what it saw."""

    opened_by: str | None
    opened_with: str
    refusal: KeyringError | None

    @property
    def accepted_in_words(self) -> str: ...


def opening_keys(
    kms_client: Callable[[str], Any], accepted: Collection[str] | None, raw: RawAesKey | None = None
) -> Any:
    """A provider that opens a message's data key with whichever of its keys is accepted; see :class:`OpeningKeys`.

    A multi-Region key opens what a related one has wrapped, in its own Region.

    :param accepted: key ARNs; ``None`` for any that KMS lets the caller use, if there is no raw key.
    """
    from aws_encryption_sdk.exceptions import DecryptKeyError, EncryptKeyError, InvalidKeyIdError
    from aws_encryption_sdk.key_providers.base import MasterKeyProvider, MasterKeyProviderConfig
    from aws_encryption_sdk.key_providers.kms import MRKAwareKMSMasterKey
    from botocore.exceptions import BotoCoreError, ClientError

    if accepted is None and raw is not None:
        accepted = ()

    class Provider(MasterKeyProvider):  # type: ignore[misc]
        provider_id = "aws-kms"
        _config_class = MasterKeyProviderConfig
        vend_masterkey_on_decrypt = True

        def __init__(self, **_: Any) -> None:
            self.opened_by: str | None = None
            self.opened_with = "aws-kms"
            self.refusal: KeyringError | None = None

        @property
        def accepted_in_words(self) -> str:
            if accepted is None:
                return "any KMS key that the connection may use"
            return ", ".join([*sorted(accepted), *([f"the raw AES key {raw}"] if raw else [])])

        def _new_master_key(self, key_id: str | bytes) -> Any:
            named = key_id.decode() if isinstance(key_id, bytes) else key_id
            arn = named
            if accepted is not None and named not in accepted:
                arn = next((each for each in accepted if _related(each, named)), "")
            if not arn:
                raise InvalidKeyIdError(named)
            provider = self

            class Key(MRKAwareKMSMasterKey):  # type: ignore[misc]
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

    provider = Provider()
    if raw is not None:
        provider.add_master_key_provider(_raw_master_key(raw, provider))
    return provider


def writing_keys(kms_client: Callable[[str], Any], arns: Sequence[str], raw: RawAesKey | None = None) -> Any:
    """A provider that wraps a message's data key under each of the keys, of which any opens it.

    :param arns: of KMS keys, in any Regions; the first one generates the data key.
    :raises ConfigurationError: for no key, or more than a message is read with.
    """
    from aws_encryption_sdk.key_providers.base import MasterKeyProvider, MasterKeyProviderConfig
    from aws_encryption_sdk.key_providers.kms import KMSMasterKey

    if not 1 <= len(arns) + (raw is not None) <= MAX_DATA_KEYS:
        raise ConfigurationError(f"an object is encrypted under 1 to {MAX_DATA_KEYS} keys, got {len(arns)}")

    class Recipients(MasterKeyProvider):  # type: ignore[misc]
        provider_id = "recipients"
        _config_class = MasterKeyProviderConfig

        def _new_master_key(self, key_id: bytes) -> Any:
            arn = key_id.decode()
            return KMSMasterKey(key_id=arn, client=kms_client(arn))

    recipients = Recipients()
    recipients.add_master_keys_from_list(arns)
    if raw is not None:
        recipients.add_master_key_provider(_raw_master_key(raw))
    return recipients


def _raw_master_key(raw: RawAesKey, opening: Any = None) -> Any:
    from aws_encryption_sdk.exceptions import DecryptKeyError
    from aws_encryption_sdk.identifiers import EncryptionKeyType, WrappingAlgorithm
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey
    from aws_encryption_sdk.key_providers.raw import RawMasterKey, RawMasterKeyConfig
    from cryptography.exceptions import InvalidTag

    class Key(RawMasterKey):  # type: ignore[misc]
        def _decrypt_data_key(
            self, encrypted_data_key: Any, algorithm: Any, encryption_context: Any = None
        ) -> Any:
            try:
                opened = super()._decrypt_data_key(encrypted_data_key, algorithm, encryption_context)
            except InvalidTag:
                raise DecryptKeyError(str(raw)) from None
            opening.opened_by, opening.opened_with = str(raw), "raw-aes"
            return opened

    wrapping = {
        16: WrappingAlgorithm.AES_128_GCM_IV12_TAG16_NO_PADDING,
        24: WrappingAlgorithm.AES_192_GCM_IV12_TAG16_NO_PADDING,
        32: WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
    }[len(raw.key)]
    key = WrappingKey(wrapping, raw.key, EncryptionKeyType.SYMMETRIC)
    return Key(config=RawMasterKeyConfig(key_id=raw.name, provider_id=raw.namespace, wrapping_key=key))


def _related(one: str, other: str) -> bool:
    """Whether two ARNs are of one multi-Region key: the same but for the Region, and its id begins with ``mrk-``."""
    a, b = one.split(":"), other.split(":")
    return len(a) == len(b) == 6 and a[5].startswith("key/mrk-") and a[:3] + a[4:] == b[:3] + b[4:]


class _Answered:
    """Stands in for the KMS client while the SDK's own checks look at the answer that KMS has given."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def decrypt(self, **_: Any) -> Any:
        return self._answer

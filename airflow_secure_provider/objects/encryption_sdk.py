"""AWS Encryption SDK messages, read as a stream (message format version 2, key commitment required).

The header, its data key and the key commitment go through the SDK itself. So does the body of a message without frames;
one with frames is read by :mod:`.encryption_sdk_frames`. What this adds is everything around it that the SDK leaves open:
the header's encryption context is checked before any plaintext, bytes behind the message are refused, one failure poisons
the stream (the SDK would skip a bad frame when read on), and the key service's own error reaches the message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag

from ..errors import ConfigurationError, DecryptionError, SecureProviderError
from ..model import AtRest, Evidence
from .encryption_sdk_frames import FramedBody, FrameError, MessageKey
from .encryption_sdk_keys import MAX_DATA_KEYS, OpeningKeys, RawAesKey, opening_keys
from .source import Counted

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""A frame is held in memory whole; the SDK's own default when writing is 4 KiB."""
_MAGIC = b"\x02"  # message format version 2
_SUITES = (b"\x04\x78", b"\x05\x78")  # the committing suites: unsigned, signed
_RESERVED = "aws-crypto-"


def looks_like_message(head: bytes) -> bool:
    """Whether these first three bytes begin a committing Encryption SDK message."""
    return head[:1] == _MAGIC and head[1:3] in _SUITES


class EncryptionSdkStream:
    """The plaintext of one message.

    :param body: the object.
    :param kms_client: gives a boto3 KMS client for a key ARN.
    :param context: pairs that the message's encryption context must hold.
    :param key_arns: the wrapping keys that are accepted; ``None`` for any that KMS lets the caller use.
    :param raw_key: a key that is in no key service and accepted too.
    :raises DecryptionError: or KeyringError, here already if the header is not acceptable.
    """

    def __init__(
        self,
        body: Counted,
        kms_client: Callable[[str], Any],
        context: Mapping[str, str],
        key_arns: Collection[str] | None = None,
        raw_key: RawAesKey | None = None,
    ) -> None:
        reserved = [key for key in context if key.startswith(_RESERVED)]
        if reserved:
            raise ConfigurationError(
                f"encryption_context key {reserved[0]!r}: {_RESERVED!r} belongs to the SDK"
            )
        self._body = body
        self._keys: OpeningKeys = opening_keys(kms_client, key_arns, raw_key)
        self._failed: str | None = None
        opening = _Opening(body)
        self._stream = self._guard(lambda: _open_stream(opening, self._keys, context))
        header = self._guard(lambda: self._stream.header)
        self._context: dict[str, str] = dict(header.encryption_context)
        self._frame_bytes = header.frame_length or MAX_FRAME_BYTES
        self._frames: FramedBody | None = None
        if header.frame_length:
            self._frames = self._guard(lambda: FramedBody(body, opening.key(header)))
        self._at_rest = AtRest(
            scheme="client-side",
            algorithm=f"AWS Encryption SDK {header.algorithm.name}",
            key_provider=self._keys.opened_with,
            key_id=self._keys.opened_by,
            evidence=Evidence.OBSERVED,
        )

    @property
    def context(self) -> Mapping[str, str]:
        """The encryption context of the header, which is authenticated."""
        return self._context

    @property
    def at_rest(self) -> AtRest:
        return self._at_rest

    def read(self, size: int, /) -> bytes:
        """Some plaintext: about 1 MiB, or a frame if that is more, whatever *size* is."""
        if self._frames is not None:
            return bytes(self._guard(self._frames.read))
        plain: bytes = self._guard(lambda: self._stream.read(min(size, self._frame_bytes)))
        return plain

    def finish(self) -> None:
        """Last frame and signature footer verified, and nothing behind them."""
        self._guard(self._stream.close if self._frames is None else self._frames.finish)
        self._body.expect_end()

    def _guard(self, step: Callable[[], Any]) -> Any:
        """Run one step of the SDK and turn its errors into ours; after the first one every step fails."""
        if self._failed:
            raise DecryptionError(self._failed)
        began = self._body.position
        failure: SecureProviderError
        try:
            return step()
        except SecureProviderError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 (raised again below, as ours or as it is)
            self._failed = f"{self._body.where} failed before ({type(error).__name__})"
            failure = self._explain(error, began)
        self._failed = str(failure)
        raise failure from None

    def _explain(self, error: Exception, began: int) -> SecureProviderError:
        from aws_encryption_sdk import exceptions as sdk

        body = self._body
        if isinstance(error, sdk.DecryptKeyError) and self._keys.refusal is not None:
            return type(self._keys.refusal)(f"{body.where}: {self._keys.refusal}")
        if isinstance(error, FrameError):
            what = str(error)
        elif isinstance(error, (InvalidTag, InvalidSignature)):
            what = "does not authenticate: it was altered, or is damaged"
        elif isinstance(error, sdk.DecryptKeyError):
            what = f"has no data key that an accepted key opens; accepted: {self._keys.accepted_in_words}"
        elif isinstance(error, sdk.CustomMaximumValueExceeded):
            what = f"has frames over {MAX_FRAME_BYTES:,} bytes; write it with smaller ones"
        elif isinstance(error, sdk.MaxEncryptedDataKeysExceeded):
            what = f"has more than {MAX_DATA_KEYS} encrypted data keys"
        elif not isinstance(error, (sdk.AWSEncryptionSDKClientError, ValueError, AssertionError, TypeError)):
            raise error
        elif body.position >= body.total:
            what = "ends in the middle: it is truncated"
        else:
            what = f"is malformed ({type(error).__name__})"
        return DecryptionError(
            f"{body.where} {what}; seen between bytes {began:,} and {body.position:,} of {body.total:,}"
        )


class _Opening:
    """The object while the SDK reads its header, which the signature covers, and what the SDK was given for it."""

    def __init__(self, body: Counted) -> None:
        self.body = body
        self.materials: Any = None
        self._header: list[bytes] = []

    def read(self, size: int = -1) -> bytes:
        piece = self.body.read(size)
        self._header.append(piece)
        return piece

    def key(self, header: Any) -> MessageKey:
        return MessageKey(
            suite=bytes(header.algorithm.id_as_bytes()),
            message_id=header.message_id,
            frame_bytes=header.frame_length,
            header=b"".join(self._header),
            data_key=self.materials.data_key.data_key,
            commitment=header.commitment_key,
            verification_key=self.materials.verification_key,
        )


def _open_stream(opening: _Opening, keys: Any, context: Mapping[str, str]) -> Any:
    import aws_encryption_sdk
    from aws_encryption_sdk.identifiers import CommitmentPolicy
    from aws_encryption_sdk.materials_managers.default import DefaultCryptoMaterialsManager

    class CheckingManager(DefaultCryptoMaterialsManager):  # type: ignore[misc]
        """Holds the header's encryption context to the expected one, before KMS and before any plaintext."""

        def decrypt_materials(self, request: Any) -> Any:
            got = request.encryption_context or {}
            for key, value in context.items():
                if got.get(key) != value:
                    found = f"{key}={got[key]!r}" if key in got else f"no {key!r}"
                    raise DecryptionError(
                        f"{opening.body.where}: its encryption context has {found}, expected {key}={value!r}; "
                        "it was written for something else"
                    )
            opening.materials = super().decrypt_materials(request)
            return opening.materials

    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT,
        max_encrypted_data_keys=MAX_DATA_KEYS,
    )
    return client.stream(
        mode="d",
        source=opening,
        source_length=opening.body.total,
        materials_manager=CheckingManager(keys),
        max_body_length=MAX_FRAME_BYTES,
    )

"""Keysets: the versioned, wrapped data keys that columns are protected under.

A keyset document is JSON, safe to store anywhere: its data keys are wrapped by a keyring (AWS KMS, Vault Transit, a local key file).
It is authenticated as a whole under its newest data key, so that a changed, reordered or shortened document is
refused; against an *older whole* document a reader pins ``min_version``. ``docs/formats/keyset.md`` specifies it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..errors import ConfigurationError, DecryptionError, FormatError

FORMAT = "airflow-secure-provider/keyset/1"
LABEL = "airflow-secure-provider/1"
_MOST_VERSIONS = 2**32 - 1  # a cell has four bytes for it
DATA_KEY_BYTES = 64
DERIVED_KEY_BYTES = 64


class Wrapper(Protocol):
    """What a keyset needs of a keyring."""

    @property
    def provider(self) -> str:
        """The kind of key service: aws-kms, vault-transit, local."""

    @property
    def key_id(self) -> str:
        """The wrapping key, safe to log."""

    def wrap(self, plaintext: bytes, context: dict[str, str]) -> bytes: ...

    def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes: ...


@runtime_checkable
class Generator(Protocol):
    """A keyring whose service makes data keys itself."""

    def generate(self, context: dict[str, str]) -> tuple[bytes, bytes]:
        """:return: a new data key, and it wrapped."""


@runtime_checkable
class Rewrapper(Protocol):
    """A keyring whose service wraps anew what it has wrapped."""

    def rewrap(self, wraps: Sequence[tuple[bytes, dict[str, str]]]) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """One version of a keyset as stored."""

    version: int
    created: str
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeysetDocument:
    """A keyset as stored; nothing in it is secret, and nothing is verified yet.

    :param id: the name chosen at creation; part of what every wrap is bound to.
    :param provider: the kind of keyring that wraps it.
    :param key_id: the wrapping key.
    :param mac: HMAC-SHA256 over the rest, under a key derived from the newest version's data key.
    """

    id: str
    provider: str
    key_id: str
    keys: tuple[WrappedKey, ...]
    mac: bytes = field(default=b"", repr=False)

    @property
    def newest(self) -> int:
        return self.keys[-1].version

    def to_json(self) -> str:
        return json.dumps({**self._body(), "mac": base64.b64encode(self.mac).decode()}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> KeysetDocument:
        """:raises FormatError: naming *where* and what is wrong."""
        try:
            body = json.loads(text)
            found = body["format"]
            keys = tuple(
                WrappedKey(
                    _version(key["version"]),
                    str(key["created"]),
                    base64.b64decode(key["wrapped"], validate=True),
                )
                for key in body["keys"]
            )
            mac = base64.b64decode(body["mac"], validate=True)
            document = cls(_name(str(body["id"])), str(body["provider"]), str(body["keyId"]), keys, mac)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, binascii.Error) as error:
            raise FormatError(f"keyset {where} is not a keyset document ({type(error).__name__})") from None
        if found != FORMAT:
            raise FormatError(f"keyset {where}: format {found!r}, expected {FORMAT!r}")
        versions = [key.version for key in keys]
        if not keys or versions != sorted(set(versions)):
            raise FormatError(f"keyset {where}: versions must ascend, and there must be one at least")
        return document

    def authenticated_bytes(self) -> bytes:
        """What ``mac`` covers: the document without it, as canonical JSON."""
        return json.dumps(self._body(), sort_keys=True, separators=(",", ":")).encode()

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "provider": self.provider,
            "keyId": self.key_id,
            "keys": [
                {
                    "version": key.version,
                    "created": key.created,
                    "wrapped": base64.b64encode(key.wrapped).decode(),
                }
                for key in self.keys
            ],
        }


@dataclass(frozen=True, slots=True)
class Keyset:
    """An unwrapped keyset. Its data keys do not print."""

    id: str
    provider: str
    key_id: str
    newest: int
    _keys: dict[int, bytes] = field(repr=False)

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(self._keys)

    def derive(self, version: int, domain: str, purpose: str) -> bytes:
        """The 64-byte key of one domain and purpose.

        :raises DecryptionError: if the keyset has no such version.
        """
        return derive(self.data_key(version), domain, purpose)

    def data_key(self, version: int) -> bytes:
        """:raises DecryptionError: if the keyset has no such version."""
        data_key = self._keys.get(version)
        if data_key is None:
            known = ", ".join(map(str, self._keys))
            raise DecryptionError(
                f"keyset {self.id!r} has no key version {version} (it has {known}); is it the right one?"
            )
        return data_key


def derive(data_key: bytes, domain: str, purpose: str) -> bytes:
    """HKDF-SHA256 (RFC 5869), no salt, info = length-prefixed (label, domain, purpose); 64 bytes."""
    info = length_prefixed(LABEL, domain, purpose)
    return HKDF(algorithm=hashes.SHA256(), length=DERIVED_KEY_BYTES, salt=None, info=info).derive(data_key)


def length_prefixed(*texts: str) -> bytes:
    """Each text as UTF-8 behind its length (4 bytes, big endian): no two lists give the same bytes."""
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack(">I", len(item)) + item for item in encoded)


def _version(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= _MOST_VERSIONS:
        raise ValueError("a version is a whole number from 1, in four bytes")
    return value


def _name(value: str) -> str:
    value.encode()  # half of a surrogate pair is a ValueError
    return value


def create(keyset_id: str, wrapper: Wrapper) -> KeysetDocument:
    """A new keyset with version 1."""
    if not keyset_id or any(0xD800 <= ord(character) <= 0xDFFF for character in keyset_id):
        raise ConfigurationError("a keyset needs an id, such as 'customers'")
    data_key, key = _new_version(keyset_id, 1, wrapper)
    document = KeysetDocument(keyset_id, wrapper.provider, wrapper.key_id, (key,))
    return replace(document, mac=_mac(document, data_key))


def rotate(document: KeysetDocument, wrapper: Wrapper) -> KeysetDocument:
    """The keyset with one more version, which ``encrypt`` uses from then on.

    :param wrapper: unwraps what is there, to authenticate it, and wraps the new data key.
    :raises DecryptionError: if the document was changed.
    """
    unwrap(document, wrapper)
    version = document.newest + 1
    data_key, key = _new_version(document.id, version, wrapper)
    longer = replace(document, keys=(*document.keys, key))
    return replace(longer, mac=_mac(longer, data_key))


def rewrap(document: KeysetDocument, wrapper: Wrapper, other: Wrapper | None = None) -> KeysetDocument:
    """The same data keys, wrapped anew: under the newest version of the same wrapping key, or by another keyring.

    :param other: who wraps from now on; None for the same.
    :raises DecryptionError: if the document was changed.
    """
    keys = unwrap(document, wrapper)
    contexts = [_context(document.id, key.version) for key in document.keys]
    wraps: Sequence[bytes]
    if other is None and isinstance(wrapper, Rewrapper):
        pairs = zip((key.wrapped for key in document.keys), contexts, strict=True)
        wraps = wrapper.rewrap(list(pairs))
    else:
        by = other or wrapper
        pairs_ = zip(document.keys, contexts, strict=True)
        wraps = [by.wrap(keys.data_key(key.version), context) for key, context in pairs_]
    renewed = tuple(replace(key, wrapped=wrap) for key, wrap in zip(document.keys, wraps, strict=True))
    by_whom = other or wrapper
    made = replace(document, provider=by_whom.provider, key_id=by_whom.key_id, keys=renewed)
    made = replace(made, mac=_mac(made, keys.data_key(document.newest)))
    unwrap(made, by_whom)  # nobody shall find out later that it does not
    return made


def retire(document: KeysetDocument, wrapper: Wrapper, version: int) -> KeysetDocument:
    """The keyset without a version: what was protected under it can't be revealed with the new document.

    :raises ConfigurationError: if there is no such version, or it is the newest.
    :raises DecryptionError: if the document was changed.
    """
    keys = unwrap(document, wrapper)
    if version not in keys.versions:
        known = ", ".join(map(str, keys.versions))
        raise ConfigurationError(f"keyset {document.id!r} has no version {version}; it has {known}")
    if version == document.newest:
        raise ConfigurationError(
            f"version {version} is the newest of keyset {document.id!r}; rotate first, so that another one protects"
        )
    shorter = replace(document, keys=tuple(key for key in document.keys if key.version != version))
    return replace(shorter, mac=_mac(shorter, keys.data_key(document.newest)))


def unwrap(
    document: KeysetDocument, wrapper: Wrapper, *, keyset_id: str | None = None, min_version: int = 1
) -> Keyset:
    """Unwrap every version and authenticate the document as a whole.

    :param keyset_id: the id that the reader expects; another is refused.
    :param min_version: refuse a document whose newest version is below, as a rolled-back one is.
    :raises DecryptionError: if the document was changed.
    """
    if keyset_id is not None and document.id != keyset_id:
        raise ConfigurationError(f"keyset {document.id!r} where {keyset_id!r} is expected; check keyset=")
    if document.newest < min_version:
        raise DecryptionError(
            f"keyset {document.id!r} ends at version {document.newest}, at least {min_version} is expected: "
            "an older document was put in its place; restore the newest one"
        )
    keys = {
        key.version: wrapper.unwrap(key.wrapped, _context(document.id, key.version)) for key in document.keys
    }
    short = [version for version, key in keys.items() if len(key) != DATA_KEY_BYTES]
    if short:
        raise DecryptionError(
            f"keyset {document.id!r}: version {short[0]} holds no {DATA_KEY_BYTES}-byte data key"
        )
    if not hmac.compare_digest(_mac(document, keys[document.newest]), document.mac):
        raise DecryptionError(
            f"keyset {document.id!r} does not authenticate: it was changed; restore the original"
        )
    return Keyset(document.id, document.provider, document.key_id, document.newest, keys)


def _new_version(keyset_id: str, version: int, wrapper: Wrapper) -> tuple[bytes, WrappedKey]:
    context = _context(keyset_id, version)
    if isinstance(wrapper, Generator):
        data_key, wrapped = wrapper.generate(context)
    else:
        data_key = secrets.token_bytes(DATA_KEY_BYTES)
        wrapped = wrapper.wrap(data_key, context)
    return data_key, WrappedKey(version, datetime.now(UTC).isoformat(timespec="seconds"), wrapped)


def _context(keyset_id: str, version: int) -> dict[str, str]:
    """What every wrap is bound to; the key service logs it."""
    return {"secure-provider:keyset": keyset_id, "secure-provider:version": str(version)}


def _mac(document: KeysetDocument, data_key: bytes) -> bytes:
    return hmac.digest(
        derive(data_key, document.id, "keyset-mac"), document.authenticated_bytes(), hashlib.sha256
    )

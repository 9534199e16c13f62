"""From where a keyset lies to an unwrapped keyset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ..crypto.keyset import Keyset, KeysetDocument, Wrapper, unwrap
from ..errors import ConfigurationError
from .aws_kms import AwsKmsKeyring
from .local import open_key_file
from .vault_transit import PROVIDER as TRANSIT
from .vault_transit import TransitKeyring


@dataclass(frozen=True, slots=True)
class KeysetUri:
    """Path, ``file://`` or ``s3://bucket/key`` of a keyset document, with optional pins.

    ``…?id=customers&min_version=3`` refuses another keyset and a rolled-back document, ``key=arn:…`` one that is wrapped
    under another key.
    """

    location: str
    id: str | None
    min_version: int
    key: str | None = None

    @classmethod
    def parse(cls, uri: str) -> KeysetUri:
        """:raises ConfigurationError: for another scheme or an unknown or malformed pin."""
        try:
            split = urlsplit(uri, allow_fragments=False)
        except ValueError:
            raise ConfigurationError(
                f"keyset {uri!r}: expected a path, file:///path or s3://bucket/key"
            ) from None
        if split.scheme == "file" and split.netloc not in ("", "localhost"):
            raise ConfigurationError(
                f"keyset {uri!r}: names the host {split.netloc!r}; a local file is file:///path"
            )
        if split.scheme not in ("", "file", "s3"):
            raise ConfigurationError(
                f"keyset {uri!r}: scheme {split.scheme!r}, expected a path, file:// or s3://"
            )
        pins = parse_qs(split.query, keep_blank_values=True)
        unknown = sorted(set(pins) - {"id", "min_version", "key"})
        if unknown:
            raise ConfigurationError(
                f"keyset {uri!r}: unknown option {unknown[0]!r}, expected id, min_version or key"
            )
        twice = sorted(name for name, values in pins.items() if len(values) > 1)
        if twice:
            raise ConfigurationError(f"keyset {uri!r}: {twice[0]} stands there twice")
        version = pins.get("min_version", ["1"])[-1]
        if not version.isdecimal() or int(version) < 1:
            raise ConfigurationError(f"keyset {uri!r}: min_version is {version!r}, expected a number from 1")
        location = f"s3://{split.netloc}{split.path}" if split.scheme == "s3" else split.path
        id_, key = (pins.get(name, [None])[-1] for name in ("id", "key"))
        return cls(location, id_, int(version), key)


def open_keyset(
    uri: str,
    read: Callable[[str], bytes],
    kms_client: Callable[[str], Any],
    folder: Path | None = None,
    vault_client: Callable[[], Any] | None = None,
) -> Keyset:
    """Read, unwrap and authenticate a keyset.

    :param folder: where relative paths begin; the working folder by default.
    :param read: gives the document at a location (a path or an ``s3://`` URI).
    :param kms_client: gives a boto3 KMS client for a key ARN.
    :param vault_client: gives a logged-in hvac client, for Transit.
    """
    parsed = KeysetUri.parse(uri)
    location = parsed.location
    if folder is not None and not location.startswith("s3://"):
        location = str(folder / location)
    document = KeysetDocument.from_json(read(location), location)
    if parsed.key is not None and document.key_id != parsed.key:
        raise ConfigurationError(
            f"keyset {location} is wrapped under {document.key_id!r} where {parsed.key!r} is expected; check keyset=, and who "
            "has written it"
        )
    wrapper = wrapper_for(document, location, kms_client, vault_client)
    return unwrap(document, wrapper, keyset_id=parsed.id, min_version=parsed.min_version)


def wrapper_for(
    document: KeysetDocument,
    location: str,
    kms_client: Callable[[str], Any],
    vault_client: Callable[[], Any] | None = None,
) -> Wrapper:
    """The keyring that a document names. A local key lies beside its keyset as ``NAME.key``."""
    if document.provider == TRANSIT:
        if vault_client is None:
            raise ConfigurationError(
                f"keyset {location} is wrapped by Vault ({document.key_id}), and there is no login to Vault here; configure "
                "VaultSecretsBackend, or give vault_conn_id="
            )
        return TransitKeyring(document.key_id, vault_client)
    if document.provider == "aws-kms":
        return AwsKmsKeyring(document.key_id, kms_client(document.key_id))
    if document.provider == "local":
        if location.startswith("s3://"):
            raise ConfigurationError(
                f"keyset {location} is wrapped by a local key file; keep both in one local folder"
            )
        return open_key_file(local_key_path(Path(location)))
    raise ConfigurationError(
        f"keyset {location}: provider {document.provider!r}, expected aws-kms, vault-transit or local"
    )


def local_key_path(keyset: Path) -> Path:
    """Where the local wrapping key of a keyset file lies."""
    return keyset.with_suffix(".key")

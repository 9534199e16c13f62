"""A wrapping key in a local file that only its owner can read: for laptops and tests.

The file is JSON: ``{"format": …, "id": "local:…", "key": base64 of 32 bytes}``. Whoever can read it can unwrap; there
is no log of its use. In production take a key service.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import ConfigurationError, FormatError, KeyringError

FORMAT = "airflow-secure-provider/local-key/1"
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class LocalKeyring:
    """AES-256-GCM under the key of the file; the context is authenticated."""

    key_id: str
    _key: bytes = field(repr=False)
    provider: str = "local"

    def wrap(self, plaintext: bytes, context: dict[str, str]) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self._key).encrypt(nonce, plaintext, _canonical(context))

    def unwrap(self, wrapped: bytes, context: dict[str, str]) -> bytes:
        """:raises KeyringError: if the data key was wrapped under another key or context."""
        nonce, body = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return AESGCM(self._key).decrypt(nonce, body, _canonical(context))
        except (InvalidTag, ValueError):
            raise KeyringError(
                f"local key {self.key_id!r} does not unwrap the data key of {context}: it was wrapped under another "
                "key or for another keyset; check which key file lies beside the keyset"
            ) from None


def create_key_file(path: Path) -> LocalKeyring:
    """Make a new wrapping key, readable by its owner only.

    :raises ConfigurationError: if the file exists.
    """
    key = secrets.token_bytes(32)
    key_id = f"local:{path.stem}-{secrets.token_hex(4)}"
    body = json.dumps({"format": FORMAT, "id": key_id, "key": base64.b64encode(key).decode()})
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"key file {path} exists; a key is never overwritten, choose another name"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"key file {path} can't be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(body)
    return LocalKeyring(key_id, key)


def open_key_file(path: Path) -> LocalKeyring:
    """:raises ConfigurationError: if the file is missing or others can read it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"key file {path} can't be read: {error.strerror}") from None
    if mode & 0o077:
        raise ConfigurationError(
            f"key file {path} has mode {mode:04o}, expected 0600: others can read it; chmod 600 it"
        )
    try:
        body = json.loads(text)
        key = base64.b64decode(body["key"], validate=True)
        if body["format"] != FORMAT or len(key) != 32:
            raise ValueError
        return LocalKeyring(str(body["id"]), key)
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise FormatError(f"{path} is not a key file of this package") from None


def _canonical(context: dict[str, str]) -> bytes:
    return json.dumps(context, sort_keys=True, separators=(",", ":")).encode()

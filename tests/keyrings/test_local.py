"""A wrapping key in a file of its owner's."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airflow_secure_provider.errors import ConfigurationError, FormatError, KeyringError
from airflow_secure_provider.keyrings.local import LocalKeyring, create_key_file, open_key_file

KEYRING = LocalKeyring("local:test", bytes(range(32)))
CONTEXT = {"secure-provider:version": "1", "secure-provider:keyset": "k"}
DATA_KEY = bytes(range(64))


def key_file(path: Path, **changes: object) -> Path:
    body = {
        "format": "airflow-secure-provider/local-key/1",
        "id": "local:x",
        "key": base64.b64encode(bytes(32)).decode(),
    }
    path.write_text(json.dumps({**body, **changes}))
    path.chmod(0o600)
    return path


def test_wrapped_form_is_nonce_and_aes_gcm_with_the_context_as_canonical_json() -> None:
    wrapped = KEYRING.wrap(DATA_KEY, CONTEXT)

    context = b'{"secure-provider:keyset":"k","secure-provider:version":"1"}'
    assert AESGCM(bytes(range(32))).decrypt(wrapped[:12], wrapped[12:], context) == DATA_KEY


def test_no_two_wraps_are_alike() -> None:
    assert len({KEYRING.wrap(DATA_KEY, CONTEXT)[:12] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("keyring", "context"),
    [
        (LocalKeyring("local:test", bytes(32)), CONTEXT),
        (KEYRING, {**CONTEXT, "secure-provider:version": "2"}),
        (KEYRING, {**CONTEXT, "secure-provider:keyset": "other"}),
        (KEYRING, {"secure-provider:keyset": "k"}),
        (KEYRING, {**CONTEXT, "more": "x"}),
        (KEYRING, {}),
    ],
    ids=["another-key", "version", "keyset", "less", "more", "none"],
)
def test_another_key_or_context_is_refused(keyring: LocalKeyring, context: dict[str, str]) -> None:
    wrapped = KEYRING.wrap(DATA_KEY, CONTEXT)
    assert KEYRING.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == DATA_KEY

    with pytest.raises(
        KeyringError, match=r"local key 'local:test' does not unwrap .* check which key file"
    ) as caught:
        keyring.unwrap(wrapped, context)

    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "at", [0, 11, 12, 75, 76, 91], ids=["nonce", "nonce-end", "body", "body-end", "tag", "tag-end"]
)
def test_a_changed_byte_is_refused(at: int) -> None:
    wrapped = bytearray(KEYRING.wrap(DATA_KEY, CONTEXT))
    assert len(wrapped) == 92
    wrapped[at] ^= 1

    with pytest.raises(KeyringError, match="does not unwrap"):
        KEYRING.unwrap(bytes(wrapped), CONTEXT)


@pytest.mark.parametrize("length", [0, 1, 7, 11, 12, 13, 27, 28, 91])
def test_a_shortened_wrap_is_refused(length: int) -> None:
    with pytest.raises(KeyringError, match="does not unwrap"):
        KEYRING.unwrap(KEYRING.wrap(DATA_KEY, CONTEXT)[:length], CONTEXT)


def test_created_file_opens_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "customers.key"
    earlier = os.umask(0)
    try:
        created = create_key_file(path)
    finally:
        os.umask(earlier)

    opened = open_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert opened == created
    assert opened.key_id.startswith("local:customers-")
    assert opened.unwrap(created.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "customers.key"
    create_key_file(path)
    before = path.read_bytes()

    with pytest.raises(
        ConfigurationError, match=r"customers\.key exists; a key is never overwritten, choose another"
    ):
        create_key_file(path)

    assert path.read_bytes() == before


def test_a_link_is_not_followed_to_a_new_file(tmp_path: Path) -> None:
    link = tmp_path / "k.key"
    link.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigurationError, match="exists"):
        create_key_file(link)

    assert not (tmp_path / "elsewhere").exists()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be written: No such file or directory"):
        create_key_file(tmp_path / "none" / "k.key")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"key file .*k\.key can't be read: No such file or directory"
    ):
        open_key_file(tmp_path / "k.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644, 0o666])
def test_a_file_that_others_reach_is_refused(mode: int, tmp_path: Path) -> None:
    path = key_file(tmp_path / "k.key")
    path.chmod(mode)

    with pytest.raises(
        ConfigurationError, match=f"mode 0{mode:o}, expected 0600: others can read it; chmod 600 it"
    ):
        open_key_file(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "airflow-secure-provider/local-key/2"},
        {"format": None},
        {"key": base64.b64encode(bytes(16)).decode()},
        {"key": ""},
        {"key": "%%%"},
        {"key": None},
        {"key": 5},
    ],
    ids=["format", "no-format", "short", "empty", "not-base64", "null", "number"],
)
def test_malformed_fields_are_refused(changes: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    assert open_key_file(key_file(path)).key_id == "local:x"

    with pytest.raises(FormatError, match=r"k\.key is not a key file of this package"):
        open_key_file(key_file(path, **changes))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b"{", b"\xff\xfe\x00"],
    ids=["empty", "list", "null", "no-keys", "cut", "binary"],
)
def test_another_file_is_refused_and_not_quoted(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "k.key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(FormatError, match=r"k\.key is not a key file of this package$"):
        open_key_file(path)


def test_the_key_does_not_print() -> None:
    said = f"{KEYRING!r} {KEYRING!s}"

    assert "local:test" in said
    assert repr(bytes(range(32)))[2:-1][:12] not in said

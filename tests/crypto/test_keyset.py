"""Keysets: derivation against RFC 5869 written out, and documents that notice every change."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airflow_secure_provider.crypto import keyset as keysets
from airflow_secure_provider.crypto.keyset import (
    KeysetDocument,
    WrappedKey,
    create,
    derive,
    length_prefixed,
    unwrap,
)
from airflow_secure_provider.errors import ConfigurationError, DecryptionError, FormatError, KeyringError
from airflow_secure_provider.keyrings.local import LocalKeyring

from .vectors import case_id, wycheproof

KEYRING = LocalKeyring("local:test", bytes(range(32)))
DATA_KEY = bytes(range(64))


def hkdf_sha256(secret: bytes, info: bytes, length: int, salt: bytes = b"") -> bytes:
    """RFC 5869, from HMAC alone."""
    pseudo_random_key = hmac.digest(salt or bytes(32), secret, hashlib.sha256)
    output = block = b""
    for counter in itertools.count(1):
        if len(output) >= length:
            return output[:length]
        block = hmac.digest(pseudo_random_key, block + info + bytes([counter]), hashlib.sha256)
        output += block
    raise AssertionError


def rotated(versions: int = 3) -> tuple[KeysetDocument, dict[int, bytes]]:
    """A document of several versions, authenticated under its newest."""
    keys = {number: hashlib.sha512(bytes([number])).digest() for number in range(1, versions + 1)}
    wrapped = tuple(
        WrappedKey(
            number, f"2026-01-0{number}T00:00:00+00:00", KEYRING.wrap(key, keysets._context("k", number))
        )
        for number, key in keys.items()
    )
    return authenticated(KeysetDocument("k", "local", KEYRING.key_id, wrapped), keys[versions]), keys


def authenticated(document: KeysetDocument, data_key: bytes) -> KeysetDocument:
    key = hkdf_sha256(data_key, length_prefixed("airflow-secure-provider/1", document.id, "keyset-mac"), 64)
    return replace(document, mac=hmac.digest(key, document.authenticated_bytes(), hashlib.sha256))


# derivation


def test_the_reference_is_rfc_5869() -> None:
    # Test case 3 of the RFC: neither salt nor info.
    assert hkdf_sha256(b"\x0b" * 22, b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


_HKDF = [
    case for case in wycheproof("Protocol/wycheproof/hkdf_sha256_test.json") if case["result"] == "valid"
]


@pytest.mark.parametrize("case", _HKDF, ids=case_id)
def test_the_reference_and_the_library_equal_wycheproof(case: dict[str, Any]) -> None:
    given = {name: case[name] for name in ("info", "salt")}
    assert hkdf_sha256(case["ikm"], length=case["size"], **given) == case["okm"]
    assert HKDF(SHA256(), case["size"], **given).derive(case["ikm"]) == case["okm"]


@pytest.mark.parametrize(
    ("domain", "purpose", "info"),
    [
        ("email", "tokenize", "00000019" + b"airflow-secure-provider/1".hex() + "00000005656d61696c 00000008746f6b656e697a65"),
        ("", "", "00000019" + b"airflow-secure-provider/1".hex() + "00000000 00000000"),
        ("é", "encrypt", "00000019" + b"airflow-secure-provider/1".hex() + "00000002c3a9 00000007656e6372797074"),
    ],
    ids=["ascii", "empty", "utf-8"],
)  # fmt: skip
def test_derivation_is_hkdf_over_length_prefixed_texts(domain: str, purpose: str, info: str) -> None:
    assert derive(DATA_KEY, domain, purpose) == hkdf_sha256(DATA_KEY, bytes.fromhex(info), 64)


def test_moving_a_boundary_derives_another_key() -> None:
    pairs = [("a.b", "c"), ("a", "b.c"), ("a.b.c", ""), ("", "a.b.c"), ("c", "a.b")]

    assert len({derive(DATA_KEY, domain, purpose) for domain, purpose in pairs}) == len(pairs)


def test_versions_derive_different_keys() -> None:
    document, keys = rotated()
    keyset = unwrap(document, KEYRING)

    derived = [keyset.derive(version, "email", "tokenize") for version in keyset.versions]

    assert derived == [derive(keys[version], "email", "tokenize") for version in (1, 2, 3)]
    assert len(set(derived)) == 3


def test_an_unknown_version_is_named() -> None:
    keyset = unwrap(rotated()[0], KEYRING)

    with pytest.raises(
        DecryptionError, match=r"keyset 'k' has no key version 9 \(it has 1, 2, 3\); is it the right one\?"
    ):
        keyset.derive(9, "email", "tokenize")


# documents


def test_create_store_and_unwrap() -> None:
    document = create("customers", KEYRING)

    stored = KeysetDocument.from_json(document.to_json(), "f")
    keyset = unwrap(stored, KEYRING, keyset_id="customers")

    assert stored == document
    assert (keyset.id, keyset.provider, keyset.key_id) == ("customers", "local", "local:test")
    assert (keyset.versions, keyset.newest) == ((1,), 1)
    assert unwrap(document, KEYRING).derive(1, "d", "p") == keyset.derive(1, "d", "p")


def test_two_keysets_share_no_key() -> None:
    one, other = (unwrap(create("k", KEYRING), KEYRING) for _ in range(2))

    assert one.derive(1, "d", "p") != other.derive(1, "d", "p")


def test_data_keys_have_64_bytes() -> None:
    (key,) = create("k", KEYRING).keys

    assert len(KEYRING.unwrap(key.wrapped, keysets._context("k", 1))) == 64


def test_a_keyset_needs_an_id() -> None:
    with pytest.raises(ConfigurationError, match="a keyset needs an id"):
        create("", KEYRING)


def test_document_of_several_versions() -> None:
    document, _ = rotated()

    assert unwrap(KeysetDocument.from_json(document.to_json(), "f"), KEYRING, min_version=3).versions == (
        1,
        2,
        3,
    )


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body.__setitem__(name, value)


def _set_key(at: int, name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda body: body["keys"][at].__setitem__(name, value)


def _flip(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    return base64.b64encode(raw).decode()


def _swap_wrapped(body: dict[str, Any]) -> None:
    first, second = body["keys"][:2]
    first["wrapped"], second["wrapped"] = second["wrapped"], first["wrapped"]


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "id": _set("id", "other"),
    "provider": _set("provider", "aws-kms"),
    "key-id": _set("keyId", "local:other"),
    "mac": lambda body: body.__setitem__("mac", _flip(body["mac"])),
    "mac-shortened": lambda body: body.__setitem__("mac", body["mac"][:-4]),
    "mac-empty": _set("mac", ""),
    "created": _set_key(0, "created", "2026-01-02T00:00:00+00:00"),
    "created-of-newest": _set_key(2, "created", ""),
    "version": _set_key(2, "version", 4),
    "wrapped": lambda body: body["keys"][1].__setitem__("wrapped", _flip(body["keys"][1]["wrapped"])),
    "wrapped-empty": _set_key(1, "wrapped", ""),
    "wrapped-swapped": _swap_wrapped,
    "oldest-removed": lambda body: body["keys"].pop(0),
    "middle-removed": lambda body: body["keys"].pop(1),
    "newest-removed": lambda body: body["keys"].pop(),
    "newest-repeated": lambda body: body["keys"].append({**body["keys"][-1], "version": 4}),
    "reordered": lambda body: body["keys"].reverse(),
    "renumbered": lambda body: [key.__setitem__("version", key["version"] + 1) for key in body["keys"]],
    "two-versions-alike": _set_key(1, "version", 1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    document, _ = rotated()
    body = json.loads(document.to_json())
    change(body)
    assert body != json.loads(document.to_json())

    with pytest.raises((DecryptionError, KeyringError, FormatError)):
        unwrap(KeysetDocument.from_json(json.dumps(body), "f"), KEYRING)


@pytest.mark.parametrize(
    "name", ["key-id", "mac", "mac-empty", "created", "oldest-removed", "newest-removed"]
)
def test_what_the_wraps_do_not_notice_the_mac_does(name: str) -> None:
    body = json.loads(rotated()[0].to_json())
    CHANGES[name](body)

    with pytest.raises(
        DecryptionError, match="keyset 'k' does not authenticate: it was changed; restore the original"
    ):
        unwrap(KeysetDocument.from_json(json.dumps(body), "f"), KEYRING)


def test_versions_of_two_keysets_do_not_mix() -> None:
    """An attacker who may write documents, with the same wrapping key."""
    mine, theirs = create("mine", KEYRING), create("theirs", KEYRING)

    with pytest.raises(KeyringError, match="for another keyset"):
        unwrap(replace(mine, keys=theirs.keys), KEYRING)


def test_rollback_is_noticed_with_a_pin() -> None:
    older, _ = rotated(versions=2)
    assert unwrap(older, KEYRING).newest == 2

    with pytest.raises(DecryptionError, match="ends at version 2, at least 3 is expected: an older document"):
        unwrap(older, KEYRING, min_version=3)


def test_another_keyset_is_noticed_with_a_pin() -> None:
    with pytest.raises(ConfigurationError, match="keyset 'k' where 'customers' is expected; check keyset="):
        unwrap(rotated()[0], KEYRING, keyset_id="customers")


def test_pins_are_checked_before_the_key_service_is_asked() -> None:
    class Untouched:
        provider, key_id = "local", "local:test"

        def wrap(self, plaintext: bytes, context: dict[str, str]) -> bytes:
            raise AssertionError("asked")

        unwrap = wrap

    for pins in ({"keyset_id": "other"}, {"min_version": 4}):
        with pytest.raises((ConfigurationError, DecryptionError)):
            unwrap(rotated()[0], Untouched(), **pins)


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_a_data_key_of_another_length_is_refused(length: int) -> None:
    key = bytes(length)
    wrapped = WrappedKey(1, "now", KEYRING.wrap(key, keysets._context("k", 1)))
    document = authenticated(KeysetDocument("k", "local", KEYRING.key_id, (wrapped,)), key)

    with pytest.raises(DecryptionError, match="version 1 holds no 64-byte data key"):
        unwrap(document, KEYRING)


def test_keys_do_not_print() -> None:
    document, keys = rotated()
    keyset = unwrap(document, KEYRING)

    said = f"{keyset!r} {keyset!s} {keyset} {document!r} {document.keys[0]!s}"

    for key in [*keys.values(), *(each.wrapped for each in document.keys), document.mac]:
        for form in (repr(key)[2:-1][:12], key.hex()[:12], base64.b64encode(key).decode()[:12]):
            assert form not in said


# format


@pytest.mark.parametrize(
    "text",
    [
        b"", b"not json", b"[]", b"null", b'"text"', b"3", b"\xff\xfe", b"{}",
        b'{"format": "airflow-secure-provider/keyset/1"}',
    ],
    ids=["empty", "text", "list", "null", "string", "number", "not-utf8", "no-keys", "only-format"],
)  # fmt: skip
def test_not_a_keyset_document(text: bytes) -> None:
    with pytest.raises(FormatError, match=r"^keyset s3://b/k\.json is not a keyset document \(\w+\)$"):
        KeysetDocument.from_json(text, "s3://b/k.json")


@pytest.mark.parametrize(
    "change",
    [
        _set("keys", {"1": "x"}), _set("keys", None), _set("keys", [1]), _set("mac", "not base64!"), _set("mac", 5),
        _set_key(0, "version", "1"), _set_key(0, "version", 1.0), _set_key(0, "version", True), _set_key(0, "version", 0),
        _set_key(0, "version", -1), _set_key(2, "version", 2**32), _set("id", "\ud800"),
        _set_key(0, "version", "one"), _set_key(0, "version", None), _set_key(0, "version", float("inf")),
        _set_key(0, "wrapped", "%%%"), _set_key(0, "wrapped", None),
        *(lambda body, name=name: body.pop(name) for name in ("format", "id", "provider", "keyId", "keys", "mac")),
        *(lambda body, name=name: body["keys"][0].pop(name) for name in ("version", "created", "wrapped")),
    ],
    ids=[
        "keys-mapping", "keys-null", "keys-numbers", "mac-text", "mac-number", "version-digit", "version-float",
        "version-bool", "version-0", "version-negative", "version-long", "id-surrogate", "version-text", "version-null",
        "version-infinite", "wrapped-text", "wrapped-null", "no-format", "no-id", "no-provider", "no-keyId", "no-keys",
        "no-mac", "no-version", "no-created", "no-wrapped",
    ],
)  # fmt: skip
def test_malformed_documents_are_refused(change: Callable[[dict[str, Any]], object]) -> None:
    body = json.loads(rotated()[0].to_json())
    change(body)

    with pytest.raises(FormatError, match=r"^keyset f is not a keyset document"):
        KeysetDocument.from_json(json.dumps(body), "f")


def test_another_format_is_named() -> None:
    body = {**json.loads(rotated()[0].to_json()), "format": "airflow-secure-provider/keyset/2"}
    expected = (
        "keyset f: format 'airflow-secure-provider/keyset/2', expected 'airflow-secure-provider/keyset/1'"
    )

    with pytest.raises(FormatError, match=re.escape(expected)):
        KeysetDocument.from_json(json.dumps(body), "f")


@pytest.mark.parametrize("order", [[], [2, 1], [1, 1]], ids=["none", "descending", "twice"])
def test_versions_must_ascend(order: list[int]) -> None:
    body = json.loads(rotated()[0].to_json())
    body["keys"] = [{**body["keys"][0], "version": version} for version in order]

    with pytest.raises(FormatError, match="versions must ascend, and there must be one at least"):
        KeysetDocument.from_json(json.dumps(body), "f")


def test_document_layout() -> None:
    body = json.loads(create("customers", KEYRING).to_json())

    assert list(body) == ["format", "id", "provider", "keyId", "keys", "mac"]
    assert body["format"] == "airflow-secure-provider/keyset/1"
    assert [sorted(key) for key in body["keys"]] == [["created", "version", "wrapped"]]
    assert len(base64.b64decode(body["mac"])) == 32


def test_rotation_adds_a_version_and_keeps_the_others() -> None:
    document = create("k", KEYRING)
    longer = keysets.rotate(keysets.rotate(document, KEYRING), KEYRING)
    before, after = unwrap(document, KEYRING), unwrap(longer, KEYRING, min_version=3)

    assert (after.newest, after.versions) == (3, (1, 2, 3))
    assert after.data_key(1) == before.data_key(1)
    assert len({after.data_key(version) for version in (1, 2, 3)}) == 3
    assert longer.keys[0] == document.keys[0]


@pytest.mark.parametrize(
    "change", [keysets.rotate, lambda document, wrapper: keysets.retire(document, wrapper, 1)]
)
def test_a_changed_document_is_neither_rotated_nor_shortened(change: Callable[..., Any]) -> None:
    document, _ = rotated()
    with pytest.raises(DecryptionError, match="does not authenticate"):
        change(replace(document, keys=document.keys[:1] + document.keys[2:]), KEYRING)


def test_a_retired_version_is_gone() -> None:
    document, keys = rotated()
    shorter = unwrap(keysets.retire(document, KEYRING, 2), KEYRING)

    assert (shorter.newest, shorter.versions) == (3, (1, 3))
    assert shorter.data_key(1) == keys[1]
    with pytest.raises(DecryptionError, match="no key version 2"):
        shorter.derive(2, "d", "tokenize")


@pytest.mark.parametrize(("version", "says"), [(3, "is the newest"), (7, "has no version 7; it has 1, 2, 3")])
def test_versions_that_are_not_retired(version: int, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        keysets.retire(rotated()[0], KEYRING, version)

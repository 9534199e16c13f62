"""Vault's Transit engine as a keyring, on any server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.crypto.keyset import (
    KeysetDocument,
    create,
    rewrap,
    rotate,
    unwrap,
)
from airflow_secure_provider.errors import (
    ConfigurationError,
    DecryptionError,
    KeyringError,
    KeyringUnavailable,
)
from airflow_secure_provider.keyrings.local import create_key_file
from airflow_secure_provider.keyrings.opening import open_keyset
from airflow_secure_provider.keyrings.vault_transit import TransitKeyring
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import VaultServer, unique

CONTEXT = {"secure-provider:keyset": "people", "secure-provider:version": "1"}


@pytest.fixture
def mount(root: hvac.Client) -> Iterator[str]:
    name = unique("transit")
    root.sys.enable_secrets_engine("transit", path=name)
    root.adapter.post(f"/v1/{name}/keys/crm", json={"derived": True})
    yield name
    root.sys.disable_secrets_engine(name)


@pytest.fixture
def keyring(root: hvac.Client, mount: str) -> TransitKeyring:
    return TransitKeyring(f"{mount}/keys/crm", lambda: root)


def test_round_trips(keyring: TransitKeyring) -> None:
    for data_key in (bytes(64), bytes(range(64))):
        wrapped = keyring.wrap(data_key, CONTEXT)
        assert wrapped.startswith(b"vault:v1:")
        assert keyring.unwrap(wrapped, CONTEXT) == data_key
    made, wrapped = keyring.generate(CONTEXT)
    assert len(made) == 64
    assert keyring.unwrap(wrapped, CONTEXT) == made
    assert keyring.generate(CONTEXT)[0] != made


@pytest.mark.parametrize("name", ["secure-provider:keyset", "secure-provider:version"])
def test_a_wrap_is_bound_to_its_context(keyring: TransitKeyring, name: str) -> None:
    wrapped = keyring.wrap(bytes(64), CONTEXT)
    with pytest.raises(KeyringError, match="for another keyset"):
        keyring.unwrap(wrapped, {**CONTEXT, name: "2"})
    with pytest.raises(KeyringError):
        keyring.unwrap(wrapped[:-6] + b"AAAA==", CONTEXT)


def test_a_key_that_is_not_derived_is_refused(root: hvac.Client, mount: str) -> None:
    root.adapter.post(f"/v1/{mount}/keys/plain", json={})
    keyring = TransitKeyring(f"{mount}/keys/plain", lambda: root)
    for use in (lambda: keyring.wrap(bytes(64), CONTEXT), lambda: keyring.generate(CONTEXT)):
        with pytest.raises(KeyringError, match="derived=true"):
            use()


def test_a_keyset_through_rotation_and_rewrap(root: hvac.Client, mount: str, keyring: TransitKeyring) -> None:
    document = rotate(create("people", keyring), keyring)
    keys = unwrap(document, keyring)
    assert keys.versions == (1, 2)
    root.adapter.post(f"/v1/{mount}/keys/crm/rotate")
    renewed = rewrap(document, keyring)
    assert [key.wrapped.split(b":")[1] for key in renewed.keys] == [b"v2", b"v2"]
    root.adapter.post(f"/v1/{mount}/keys/crm/config", json={"min_decryption_version": 2})
    opened = unwrap(renewed, keyring)
    assert all(opened.data_key(version) == keys.data_key(version) for version in (1, 2))
    with pytest.raises(KeyringError, match="min_decryption_version"):
        unwrap(document, keyring)
    with pytest.raises(KeyringError, match="min_decryption_version"):
        rewrap(document, keyring)


def test_wraps_that_changed_places_are_refused(keyring: TransitKeyring) -> None:
    document = rotate(create("people", keyring), keyring)
    body = json.loads(document.to_json())
    first, second = body["keys"]
    first["wrapped"], second["wrapped"] = second["wrapped"], first["wrapped"]
    with pytest.raises(KeyringError):
        unwrap(KeysetDocument.from_json(json.dumps(body), "x"), keyring)
    body = json.loads(document.to_json())
    body["keys"][0]["created"] = "2020-01-01T00:00:00+00:00"
    with pytest.raises(DecryptionError, match="was changed"):
        unwrap(KeysetDocument.from_json(json.dumps(body), "x"), keyring)


def test_from_a_local_key_to_transit(keyring: TransitKeyring, tmp_path: Path) -> None:
    local = create_key_file(tmp_path / "k.key")
    document = create("people", local)
    moved = rewrap(document, local, keyring)
    assert (moved.provider, moved.key_id) == ("vault-transit", keyring.key_id)
    assert unwrap(moved, keyring).data_key(1) == unwrap(document, local).data_key(1)


def test_without_a_login_it_is_said(keyring: TransitKeyring) -> None:
    text = create("people", keyring).to_json().encode()
    with pytest.raises(ConfigurationError, match="vault_conn_id"):
        open_keyset("people.json", lambda _: text, lambda _: None)
    opened = open_keyset(
        f"people.json?key={keyring.key_id}", lambda _: text, lambda _: None, vault_client=keyring.client
    )
    assert (opened.provider, opened.key_id) == ("vault-transit", keyring.key_id)
    with pytest.raises(ConfigurationError, match="is expected"):
        open_keyset(
            "people.json?key=other/keys/crm", lambda _: text, lambda _: None, vault_client=keyring.client
        )


@pytest.mark.parametrize(
    "key",
    [
        "crm",
        "transit/crm",
        "transit/keys/",
        "/keys/crm",
        "transit/keys/a/../b",
        "transit/keys/a?x",
        "transit/../sys/keys/x",
        "../keys/x",
    ],
)
def test_bad_key_ids(key: str) -> None:
    with pytest.raises(ConfigurationError, match="MOUNT/keys/NAME"):
        TransitKeyring(key, lambda: None)


def test_denied_and_absent(
    root: hvac.Client, vault_server: VaultServer, mount: str, keyring: TransitKeyring
) -> None:
    wrapped = keyring.wrap(bytes(64), CONTEXT)
    name = unique("policy")
    root.sys.create_or_update_acl_policy(name, f'path "{mount}/encrypt/crm" {{ capabilities = ["update"] }}')
    client = vault_server.client(root.auth.token.create(policies=[name], ttl="1h")["auth"]["client_token"])
    with pytest.raises(
        KeyringError, match=rf'path "{mount}/decrypt/crm" {{ capabilities = \["update"\]'
    ) as caught:
        TransitKeyring(keyring.key_id, lambda: client).unwrap(wrapped, CONTEXT)
    assert not isinstance(caught.value, KeyringUnavailable)
    assert caught.value.__context__ is None
    client.adapter.close()
    with pytest.raises(KeyringError, match="no such key"):
        TransitKeyring(f"{mount}/keys/other", lambda: root).unwrap(wrapped, CONTEXT)


def test_unreachable_is_transient() -> None:
    nowhere = hvac.Client(url="https://127.0.0.1:9", token="hvs.canary", timeout=1)
    with pytest.raises(KeyringUnavailable) as caught:
        TransitKeyring("transit/keys/crm", lambda: nowhere).unwrap(b"vault:v1:x", CONTEXT)
    assert "hvs." not in str(caught.value)
    nowhere.adapter.close()


def test_every_unwrap_is_a_line_of_the_audit_log(vault: VaultStandIn) -> None:
    root, mount = vault.client(), unique("transit")
    root.sys.enable_secrets_engine("transit", path=mount)
    root.adapter.post(f"/v1/{mount}/keys/crm", json={"derived": True})
    keyring = TransitKeyring(f"{mount}/keys/crm", lambda: root)
    document = rotate(create("people", keyring), keyring)
    before = len(vault.audited(f"{mount}/decrypt/crm"))
    unwrap(document, keyring)
    lines = vault.audited(f"{mount}/decrypt/crm")[before:]
    assert len(lines) == 2  # one for each version
    assert all("context" in line["keys"] for line in lines)
    root.adapter.close()


# the command line


@pytest.fixture
def command(
    root: hvac.Client, vault_server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("VAULT_ADDR", vault_server.url)
    monkeypatch.setenv("VAULT_TOKEN", vault_server.root_token)
    monkeypatch.setenv("VAULT_CACERT", str(vault_server.verify))

    def run(*arguments: Any) -> Result:
        outcome = CliRunner().invoke(cli, [str(each) for each in arguments])
        assert vault_server.root_token not in outcome.output
        return outcome

    return run


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, classification: internal}
      - {name: email, logicalType: string, classification: restricted, customProperties: [{property: protection, value: encrypt}]}
"""


def test_keys_and_files_by_the_command_line(
    root: hvac.Client, mount: str, command: Callable[..., Result], tmp_path: Path
) -> None:
    keyset, plain = tmp_path / "people.json", tmp_path / "people.csv"
    made = command("keys", "create", keyset, "--id", "people", "--transit-key", f"{mount}/keys/crm")
    assert made.exit_code == 0, made.output
    assert f"wrapped by vault-transit {mount}/keys/crm" in made.output
    assert "yes: it unwraps" in command("keys", "show", keyset, "--verify").output
    assert command("keys", "rotate", keyset).exit_code == 0

    (tmp_path / "c.yaml").write_text(CONTRACT)
    plain.write_text("id,email\n1,ada@example.com\n")
    there = command(
        "protect", plain, "--contract", tmp_path / "c.yaml", "--keyset", keyset, "-o", tmp_path / "p.csv"
    )
    assert there.exit_code == 0, there.output
    assert "ada@" not in (tmp_path / "p.csv").read_text()

    root.adapter.post(f"/v1/{mount}/keys/crm/rotate")
    assert command("keys", "rewrap", keyset).exit_code == 0
    root.adapter.post(f"/v1/{mount}/keys/crm/config", json={"min_decryption_version": 2})
    back = command(
        "reveal",
        tmp_path / "p.csv",
        "--contract",
        tmp_path / "c.yaml",
        "--keyset",
        keyset,
        "-o",
        tmp_path / "b.csv",
    )
    assert back.exit_code == 0, back.output
    assert (tmp_path / "b.csv").read_text().replace('"', "") == plain.read_text()

    root.adapter.post(f"/v1/{mount}/keys/other", json={"derived": True})
    assert command("keys", "rewrap", keyset, "--transit-key", f"{mount}/keys/other").exit_code == 0
    assert json.loads(keyset.read_text())["keyId"] == f"{mount}/keys/other"


def test_the_command_line_without_vault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    outcome = CliRunner().invoke(
        cli, ["keys", "create", str(tmp_path / "k.json"), "--id", "x", "--transit-key", "transit/keys/crm"]
    )
    assert outcome.exit_code == 1
    assert "VAULT_ADDR is not set" in outcome.output
    monkeypatch.setenv("VAULT_ADDR", "https://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    outcome = CliRunner().invoke(
        cli, ["keys", "create", str(tmp_path / "k.json"), "--id", "x", "--transit-key", "transit/keys/crm"]
    )
    assert "no token for Vault" in outcome.output
    assert not (tmp_path / "k.json").exists()


def test_the_format_is_what_its_page_says(keyring: TransitKeyring, root: hvac.Client, mount: str) -> None:
    """Anyone can unwrap with Vault alone: docs/formats/keyset.md."""
    document = create("people", keyring)
    context = base64.b64encode(b'{"secure-provider:keyset":"people","secure-provider:version":"1"}').decode()
    data = root.adapter.post(
        f"/v1/{mount}/decrypt/crm", json={"ciphertext": document.keys[0].wrapped.decode(), "context": context}
    )["data"]
    assert base64.b64decode(data["plaintext"]) == unwrap(document, keyring).data_key(1)

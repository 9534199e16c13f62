"""The check of the secrets backend, on any server, and what it says of each thing that is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from airflow_secure_provider import leases
from airflow_secure_provider.inspection.findings import Finding, Verdict
from airflow_secure_provider.inspection.vault import check_vault
from sandbox.ca import Authority
from sandbox.environment import free_port
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn
from tests.fixtures_vault import DatabaseEngine, create_role
from tests.vault.backends import POLICY, Backends, connection_fields, stand_in_backends


@pytest.fixture(autouse=True)
def _logins() -> Iterator[None]:
    leases.LOGINS.clear()
    yield
    leases.LOGINS.clear()


def look(backends: Backends, *, issue: bool = False, **kwargs: Any) -> dict[str, Finding]:
    found = {each.subject: each for each in check_vault(backends(**kwargs).for_inspection(), issue=issue)}
    printed = json.dumps([each.as_dict() for each in found.values()])
    assert backends.login["secret_id"] not in printed
    assert "hvs." not in printed
    return found


def test_all_is_well(backends: Backends, engine: DatabaseEngine, root: hvac.Client) -> None:
    backends.allow(
        POLICY.format(mount=engine.mount) + f'path "{engine.mount}/roles/*" {{ capabilities = ["read"] }}'
    )
    found = look(backends, issue=True)
    assert {each.verdict for each in found.values()} == {Verdict.OK}, found
    assert "TLSv1.3" in next(iter(found.values())).detail
    assert "unsealed" in found["health"].detail
    assert "lives 1h" in found["login (approle)"].detail or "lives 59m" in found["login (approle)"].detail
    assert found["role of 'crm'"].detail == "TTL 1h, at most 2h"
    assert found["credential of 'crm'"].detail == "issued for 1h, given back"
    assert f"policy for {engine.mount}/creds/loader" in found
    assert "policy for secret/data/connections/*" in found
    with engine.postgres.connect() as live:
        assert live.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-approle%'").fetchone() == (
            0,
        )


def test_what_the_policy_lacks_is_named(backends: Backends, engine: DatabaseEngine) -> None:
    backends.allow('path "secret/data/variables/*" { capabilities = ["read"] }')
    found = look(backends)
    assert found["policy for secret/data/connections/*"].verdict == Verdict.WARNING
    missing = found[f"policy for {engine.mount}/creds/loader"]
    assert (missing.verdict, missing.detail) == (
        Verdict.FAILED,
        f'missing: path "{engine.mount}/creds/loader" {{ capabilities = ["read"] }}',
    )
    assert found["policy for sys/leases/revoke"].verdict == Verdict.WARNING
    assert found["policy for secret/data/variables/*"].verdict == Verdict.OK
    assert found["role of 'crm'"].verdict == Verdict.UNKNOWN


def test_a_role_that_is_not_there(backends: Backends, engine: DatabaseEngine) -> None:
    backends.allow(
        POLICY.format(mount=engine.mount) + f'path "{engine.mount}/roles/*" {{ capabilities = ["read"] }}'
    )
    entry = {"role": "nobody", "mount": engine.mount, "connection": connection_fields(engine.postgres)}
    found = look(backends, dynamic={"crm": entry, "p_*": {**entry, "role": "{conn_id}"}}, issue=True)
    assert found["role of 'crm'"].detail == f"{engine.mount}/roles/nobody does not exist in Vault"
    assert found["credential of 'crm'"].verdict == Verdict.FAILED
    assert found["role of 'p_*'"].verdict == Verdict.UNKNOWN


def test_a_long_life_is_warned_of(backends: Backends, engine: DatabaseEngine, root: hvac.Client) -> None:
    create_role(root, engine.mount, "loader", ttl="72h", max_ttl="96h")
    backends.allow(
        POLICY.format(mount=engine.mount) + f'path "{engine.mount}/roles/*" {{ capabilities = ["read"] }}'
    )
    role = look(backends)["role of 'crm'"]
    assert role.verdict == Verdict.WARNING
    assert "TTL 3d, at most 4d" in role.detail


def test_a_root_token_is_told(backends: Backends) -> None:
    token = {"auth_type": "token", "role_id": None, "secret_id": None, "auth_mount_point": None}
    given = {**token, "token": backends.server.root_token}
    assert "token is refused" in look(backends, **given)["login (token)"].detail
    leases.LOGINS.clear()
    assert look(backends, **given, allow_tokens=["root"])["login (token)"].verdict == Verdict.WARNING


def test_a_refused_login(backends: Backends) -> None:
    found = look(backends, secret_id="wrong")
    assert found["login (approle)"].verdict == Verdict.FAILED
    assert not any(subject.startswith("policy") for subject in found)


def test_a_ca_that_did_not_issue_it(backends: Backends, tmp_path: Path) -> None:
    found = look(backends, ca_cert=str(Authority(tmp_path).ca_pem))
    first = next(iter(found.values()))
    assert first.verdict == Verdict.FAILED
    assert "not trusted" in first.detail


@pytest.mark.parametrize(
    ("url", "says"),
    [("https://127.0.0.1:{port}", "connection refused"), ("http://127.0.0.1:{port}", "plaintext http")],
)
def test_unreachable(backends: Backends, url: str, says: str) -> None:
    found = look(backends, url=url.format(port=free_port()))
    first, rest = found.values()
    assert (first.verdict, says in first.detail) == (Verdict.FAILED, True)
    assert (rest.verdict, rest.subject) == (Verdict.UNKNOWN, "login, policies, roles")


def test_unchecked_tls_is_a_failure(backends: Backends) -> None:
    first = next(iter(look(backends, ca_cert=None, verify=False).values()))
    assert first.verdict == Verdict.FAILED
    assert "verify is false" in first.detail


def test_sealed(vault: VaultStandIn, postgres: Postgres) -> None:
    with stand_in_backends(vault, postgres) as backends:
        backends.root.sys.seal()
        try:
            assert "sealed" in look(backends)["health"].detail
        finally:
            backends.root.sys.submit_unseal_key(vault.unseal_key)

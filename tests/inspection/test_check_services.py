"""The checks of what is not Vault."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from airflow_secure_provider.crypto.keyset import create, unwrap
from airflow_secure_provider.errors import KeyringError
from airflow_secure_provider.inspection.findings import Verdict
from airflow_secure_provider.inspection.lineage import check_lineage
from airflow_secure_provider.inspection.services import (
    check_bucket,
    check_keyset,
    check_postgres,
    check_transit_audit,
)
from airflow_secure_provider.keyrings.local import create_key_file
from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.environment import free_port
from sandbox.postgres import Postgres
from tests.fixtures_vault import VaultServer, unique


def extra(postgres: Postgres, **changes: Any) -> dict[str, Any]:
    return {"sslmode": "verify-full", "sslrootcert": str(postgres.ca_pem), **changes}


def test_postgres(postgres: Postgres) -> None:
    found = check_postgres("crm", postgres.host, postgres.port, extra(postgres))
    assert found.verdict == Verdict.OK, found
    assert "TLSv1.3" in found.detail
    assert "expires in" in found.detail
    assert "unless sqlalchemy_query" in found.detail
    twice = extra(postgres, sqlalchemy_query=extra(postgres))
    assert "sqlalchemy" not in check_postgres("crm", postgres.host, postgres.port, twice).detail


@pytest.mark.parametrize("mode", [None, "require", "verify-ca", "prefer"])
def test_postgres_that_is_not_verified(postgres: Postgres, mode: str | None) -> None:
    found = check_postgres("crm", postgres.host, postgres.port, extra(postgres, sslmode=mode))
    assert found.verdict == Verdict.FAILED
    assert "set verify-full" in found.detail


def test_postgres_of_another_ca(postgres: Postgres, tmp_path: Path) -> None:
    other = str(Authority(tmp_path).ca_pem)
    found = check_postgres("crm", postgres.host, postgres.port, extra(postgres, sslrootcert=other))
    assert found.verdict == Verdict.FAILED
    assert "not trusted" in found.detail


@pytest.fixture
def plain_server() -> Iterator[int]:
    """Answers PostgreSQL's request for TLS with "no"."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                peer.recv(8)
                peer.sendall(b"N")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_postgres_without_tls(postgres: Postgres, plain_server: int) -> None:
    found = check_postgres("crm", "127.0.0.1", plain_server, extra(postgres))
    assert (found.verdict, "offers no TLS" in found.detail) == (Verdict.FAILED, True)


def test_postgres_that_is_not_there(postgres: Postgres) -> None:
    assert "connection refused" in check_postgres("crm", "127.0.0.1", free_port(), extra(postgres)).detail
    assert "no host" in check_postgres("crm", None, None, extra(postgres)).detail
    assert "local socket" in check_postgres("crm", "/var/run", None, extra(postgres)).detail


def test_a_keyset(tmp_path: Path) -> None:
    wrapper = create_key_file(tmp_path / "k.key")
    document = create("people", wrapper)
    found = check_keyset("k.json?min_version=1", lambda _: unwrap(document, wrapper))
    assert (found.subject, found.verdict) == ("k.json", Verdict.WARNING)
    assert "local key file" in found.detail

    def refused(_: str) -> Any:
        raise KeyringError("KMS Decrypt refused")

    assert check_keyset("k.json", refused).verdict == Verdict.FAILED


def test_a_bucket(aws: Aws) -> None:
    client = aws.client("s3")
    name = unique("checked")
    client.create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": client.meta.region_name}
    )
    assert "SSE-S3" in check_bucket(name, client).detail or "no default" in check_bucket(name, client).detail
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    found = check_bucket(name, client)
    assert (found.verdict, found.detail) == (
        Verdict.OK,
        "reachable over TLS; encrypts by default with SSE-KMS",
    )
    assert check_bucket(unique("nowhere"), client).detail == "there is no such bucket"


@pytest.mark.parametrize(
    ("transport", "verdict", "says"),
    [
        (None, Verdict.WARNING, "no transport"),
        ({"type": "console"}, Verdict.OK, "transport console"),
        ({"type": "file"}, Verdict.OK, "it took an event (job 'airflow-secure check' in namespace 'prod')"),
        ({"type": "async_http", "url": "https://x"}, Verdict.WARNING, "loses events"),
        ({"type": "http", "url": "http://127.0.0.1:{closed}"}, Verdict.FAILED, "connection refused"),
        ({"type": "http", "url": "http://127.0.0.1:{open}"}, Verdict.WARNING, "plaintext"),
        ({"type": "http", "url": "https://127.0.0.1:{open}"}, Verdict.OK, "took an event"),
        ({"type": "http", "url": "https://127.0.0.1:x"}, Verdict.FAILED, "no valid port"),
    ],
)
def test_lineage(transport: dict[str, str] | None, verdict: Verdict, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ports = {"closed": free_port(), "open": listening.getsockname()[1]}
        given = {name: text.format(**ports) for name, text in transport.items()} if transport else None
        sent: list[Any] = []
        found = check_lineage(given, sent.append, "prod")
    assert bool(sent) == ("took an event" in found.detail)
    assert found.verdict == verdict
    assert says in found.detail


def test_what_the_audit_log_of_transit_shows(root: hvac.Client, vault_server: VaultServer) -> None:
    if vault_server.description == "the stand-in":
        found = check_transit_audit(root, "transit/keys/crm")  # it has no tune, and no audit log of Vault's
        assert found.verdict == Verdict.UNKNOWN
        return
    mount = unique("transit")
    root.sys.enable_secrets_engine("transit", path=mount)
    assert "no audit device" in check_transit_audit(root, f"{mount}/keys/crm").detail
    policy = f'path "sys/mounts/{mount}/tune" {{ capabilities = ["read"] }}'
    root.sys.create_or_update_acl_policy(mount, policy)
    root = vault_server.client(root.auth.token.create(policies=[mount], ttl="5m")["auth"]["client_token"])
    assert "for the keyset in the clear" in check_transit_audit(root, f"{mount}/keys/crm").detail
    admin = vault_server.client()
    admin.sys.tune_mount_configuration(mount, audit_non_hmac_request_keys=["context"])
    assert "which names the keyset" in check_transit_audit(root, f"{mount}/keys/crm").detail
    admin.sys.disable_secrets_engine(mount)
    admin.adapter.close()
    root.adapter.close()

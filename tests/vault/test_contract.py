"""What this package relies on in Vault's HTTP API: true of the stand-in and of a real server alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import hvac
import psycopg
import pytest
import requests
from hvac import exceptions

from tests.fixtures_vault import (
    DatabaseEngine,
    VaultServer,
    create_role,
    database_config,
    unique,
)
from tests.waiting import eventually


@pytest.fixture
def as_token(vault_server: VaultServer) -> Iterator[Callable[[str], hvac.Client]]:
    made: list[hvac.Client] = []

    def client(token: str) -> hvac.Client:
        made.append(vault_server.client(token))
        return made[-1]

    yield client
    for each in made:
        each.adapter.close()


@pytest.fixture
def kv1(root: hvac.Client) -> Iterator[str]:
    mount = unique("kv1")
    root.sys.enable_secrets_engine("kv", path=mount, options={"version": "1"})
    yield mount
    root.sys.disable_secrets_engine(mount)


@pytest.fixture
def kv2(root: hvac.Client) -> Iterator[str]:
    mount = unique("kv2")
    root.sys.enable_secrets_engine("kv", path=mount, options={"version": "2"})
    for _ in range(50):  # a real server upgrades the new mount in the background and refuses writes meanwhile
        try:
            root.secrets.kv.v2.create_or_update_secret("ready", {"a": "b"}, mount_point=mount)
            break
        except exceptions.InvalidRequest:
            time.sleep(0.1)
    yield mount
    root.sys.disable_secrets_engine(mount)


@pytest.fixture
def approle(root: hvac.Client) -> Iterator[str]:
    mount = unique("approle")
    root.sys.enable_auth_method("approle", path=mount)
    yield mount
    root.sys.disable_auth_method(mount)


@pytest.fixture
def policy(root: hvac.Client) -> Iterator[Callable[[str], str]]:
    names: list[str] = []

    def create(text: str) -> str:
        names.append(unique("policy"))
        root.sys.create_or_update_acl_policy(names[-1], text)
        return names[-1]

    yield create
    for name in names:
        root.sys.delete_acl_policy(name)


def token_with(root: hvac.Client, *policies: str, **arguments: object) -> str:
    token: str = root.auth.token.create(policies=list(policies), **arguments)["auth"]["client_token"]
    return token


# sys


def test_health_and_seal_status(root: hvac.Client) -> None:
    assert root.sys.read_health_status(method="GET")["sealed"] is False
    assert root.sys.read_seal_status()["sealed"] is False


def test_errors_are_a_json_list(vault_server: VaultServer) -> None:
    answer = requests.get(f"{vault_server.url}/v1/secret/data/x", verify=vault_server.verify, timeout=10)
    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["errors"]


def test_an_unknown_mount_is_404(root: hvac.Client) -> None:
    with pytest.raises(exceptions.InvalidPath):
        root.adapter.get(f"/v1/{unique('nowhere')}/x")


def test_a_mount_is_taken_once(root: hvac.Client, kv1: str) -> None:
    assert f"{kv1}/" in root.sys.list_mounted_secrets_engines()["data"]
    with pytest.raises(exceptions.InvalidRequest):
        root.sys.enable_secrets_engine("kv", path=kv1)


# tokens


def test_token_lookup_renewal_and_revocation(
    root: hvac.Client, as_token: Callable[[str], hvac.Client]
) -> None:
    client = as_token(token_with(root, "default", ttl="1h", meta={"who": "test"}))
    looked_up = client.auth.token.lookup_self()["data"]
    assert looked_up["policies"] == ["default"]
    assert 3590 <= looked_up["ttl"] <= 3600
    assert looked_up["meta"] == {"who": "test"}
    assert client.auth.token.renew_self(increment="30m")["auth"]["lease_duration"] == 1800
    client.auth.token.revoke_self()
    with pytest.raises(exceptions.Forbidden):
        client.auth.token.lookup_self()


def test_a_token_expires(root: hvac.Client, as_token: Callable[[str], hvac.Client]) -> None:
    client = as_token(token_with(root, "default", ttl="1s"))
    time.sleep(1.5)
    with pytest.raises(exceptions.Forbidden):
        client.auth.token.lookup_self()


def test_a_revoked_token_takes_its_children_along(
    root: hvac.Client, as_token: Callable[[str], hvac.Client]
) -> None:
    parent = token_with(root, "root", ttl="1h")
    child = as_token(token_with(as_token(parent), "default"))
    root.auth.token.revoke(parent)
    with pytest.raises(exceptions.Forbidden):
        child.auth.token.lookup_self()


def test_a_token_of_one_use(root: hvac.Client, as_token: Callable[[str], hvac.Client]) -> None:
    client = as_token(token_with(root, "default", num_uses=1))
    client.auth.token.lookup_self()
    with pytest.raises(exceptions.Forbidden):
        client.auth.token.lookup_self()


# AppRole


def test_approle_login(root: hvac.Client, approle: str, policy: Callable[[str], str]) -> None:
    allowed = policy('path "secret/data/x" { capabilities = ["read"] }')
    root.auth.approle.create_or_update_approle(
        "airflow", token_policies=[allowed], token_ttl="20m", token_max_ttl="1h", mount_point=approle
    )
    role_id = root.auth.approle.read_role_id("airflow", mount_point=approle)["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id("airflow", mount_point=approle)["data"]["secret_id"]
    auth = root.auth.approle.login(role_id, secret_id, use_token=False, mount_point=approle)["auth"]
    assert set(auth["policies"]) == {"default", allowed}
    assert auth["lease_duration"] == 1200
    assert auth["renewable"] is True


@pytest.mark.parametrize("wrong", ["role_id", "secret_id", "destroyed", "used up"])
def test_approle_refuses(root: hvac.Client, approle: str, wrong: str) -> None:
    uses = 1 if wrong == "used up" else 0
    root.auth.approle.create_or_update_approle("airflow", secret_id_num_uses=uses, mount_point=approle)
    role_id = root.auth.approle.read_role_id("airflow", mount_point=approle)["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id("airflow", mount_point=approle)["data"]["secret_id"]
    if wrong == "destroyed":
        root.auth.approle.destroy_secret_id("airflow", secret_id, mount_point=approle)
    if wrong == "used up":
        root.auth.approle.login(role_id, secret_id, use_token=False, mount_point=approle)
    with pytest.raises(exceptions.InvalidRequest, match="invalid role"):
        root.auth.approle.login(
            "wrong" if wrong == "role_id" else role_id,
            "wrong" if wrong == "secret_id" else secret_id,
            use_token=False,
            mount_point=approle,
        )


# policies


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ('path "a/b" { capabilities = ["read"] }', "a/b", {"read"}),
        ('path "a/b" { capabilities = ["read"] }', "a/bc", {"deny"}),
        ('path "a/*" { capabilities = ["read"] }', "a/b/c", {"read"}),
        ('path "a/b*" { capabilities = ["read"] }', "a/bcd", {"read"}),
        ('path "a/+/c" { capabilities = ["list", "read"] }', "a/b/c", {"list", "read"}),
        ('path "a/+/c" { capabilities = ["read"] }', "a/b/b/c", {"deny"}),
        ('path "a/+/c*" { capabilities = ["read"] }', "a/b/cd/e", {"read"}),
        ('path "a/*" { capabilities = ["read"] }\npath "a/b" { capabilities = ["deny"] }', "a/b", {"deny"}),
        (
            'path "a/*" { capabilities = ["read"] }\npath "a/b*" { capabilities = ["update"] }',
            "a/bc",
            {"update"},
        ),
        (
            'path "a/+/c" { capabilities = ["read"] }\npath "a/b/*" { capabilities = ["update"] }',
            "a/b/c",
            {"update"},
        ),
        ('# a comment\npath "a/b" { # another\n  capabilities = [ "read", ]\n}', "a/b", {"read"}),
    ],
)
def test_capabilities(
    root: hvac.Client,
    as_token: Callable[[str], hvac.Client],
    policy: Callable[[str], str],
    rules: str,
    path: str,
    expected: set[str],
) -> None:
    client = as_token(token_with(root, policy(rules)))
    assert set(client.sys.get_capabilities([path])["data"][path]) == expected


def test_capabilities_of_several_policies_add_up(
    root: hvac.Client, as_token: Callable[[str], hvac.Client], policy: Callable[[str], str]
) -> None:
    names = [policy(f'path "a/b" {{ capabilities = ["{each}"] }}') for each in ("read", "update")]
    client = as_token(token_with(root, *names))
    assert set(client.sys.get_capabilities(["a/b"])["data"]["a/b"]) == {"read", "update"}


def test_policies_are_enforced(
    root: hvac.Client, as_token: Callable[[str], hvac.Client], policy: Callable[[str], str], kv2: str
) -> None:
    for path in ("team/one", "other/one"):
        root.secrets.kv.v2.create_or_update_secret(path, {"a": "b"}, mount_point=kv2)
    client = as_token(token_with(root, policy(f'path "{kv2}/data/team/*" {{ capabilities = ["read"] }}')))
    read = client.secrets.kv.v2.read_secret_version
    assert read("team/one", mount_point=kv2, raise_on_deleted_version=True)["data"]["data"] == {"a": "b"}
    with pytest.raises(exceptions.Forbidden):
        read("other/one", mount_point=kv2, raise_on_deleted_version=True)
    with pytest.raises(exceptions.Forbidden):
        client.secrets.kv.v2.create_or_update_secret("team/one", {"a": "c"}, mount_point=kv2)
    with pytest.raises(exceptions.Forbidden):
        client.secrets.kv.v2.list_secrets("team", mount_point=kv2)


def test_a_policy_that_does_not_parse_is_refused(root: hvac.Client) -> None:
    with pytest.raises(exceptions.InvalidRequest):
        root.sys.create_or_update_acl_policy(unique("policy"), 'path "a" { capabilities = ["fly"] }')


# KV


def test_kv1(root: hvac.Client, kv1: str) -> None:
    kv = root.secrets.kv.v1
    kv.create_or_update_secret("a/b", {"x": "1"}, mount_point=kv1)
    assert kv.read_secret("a/b", mount_point=kv1)["data"] == {"x": "1"}
    assert kv.list_secrets("a", mount_point=kv1)["data"]["keys"] == ["b"]
    assert kv.list_secrets("", mount_point=kv1)["data"]["keys"] == ["a/"]
    kv.delete_secret("a/b", mount_point=kv1)
    with pytest.raises(exceptions.InvalidPath):
        kv.read_secret("a/b", mount_point=kv1)


def test_kv2_versions(root: hvac.Client, kv2: str) -> None:
    kv = root.secrets.kv.v2

    def read(version: int | None = None) -> dict[str, str]:
        found = kv.read_secret_version("a/b", version=version, mount_point=kv2, raise_on_deleted_version=True)
        data: dict[str, str] = found["data"]["data"]
        return data

    assert kv.create_or_update_secret("a/b", {"x": "1"}, cas=0, mount_point=kv2)["data"]["version"] == 1
    assert kv.create_or_update_secret("a/b", {"x": "2"}, mount_point=kv2)["data"]["version"] == 2
    with pytest.raises(exceptions.InvalidRequest):
        kv.create_or_update_secret("a/b", {"x": "3"}, cas=1, mount_point=kv2)
    assert (read(), read(1)) == ({"x": "2"}, {"x": "1"})
    assert kv.read_secret_metadata("a/b", mount_point=kv2)["data"]["current_version"] == 2

    kv.delete_latest_version_of_secret("a/b", mount_point=kv2)
    with pytest.raises(exceptions.InvalidPath) as deleted:
        read()
    assert deleted.value.json["data"]["metadata"]["deletion_time"]
    kv.undelete_secret_versions("a/b", [2], mount_point=kv2)
    assert read() == {"x": "2"}
    kv.destroy_secret_versions("a/b", [2], mount_point=kv2)
    with pytest.raises(exceptions.InvalidPath) as destroyed:
        read()
    assert destroyed.value.json["data"]["metadata"]["destroyed"] is True

    kv.delete_metadata_and_all_versions("a/b", mount_point=kv2)
    with pytest.raises(exceptions.InvalidPath):
        read(1)


def test_kv2_absent(root: hvac.Client, kv2: str) -> None:
    with pytest.raises(exceptions.InvalidPath):
        root.secrets.kv.v2.read_secret_version("no", mount_point=kv2, raise_on_deleted_version=True)


# database and leases


def test_a_credential_is_a_role_until_it_is_revoked(root: hvac.Client, engine: DatabaseEngine) -> None:
    made = root.secrets.database.generate_credentials("loader", mount_point=engine.mount)
    username, password = made["data"]["username"], made["data"]["password"]
    assert made["lease_id"].startswith(f"{engine.mount}/creds/loader/")
    assert made["lease_duration"] == 3600
    assert made["renewable"] is True
    with engine.postgres.connect(username, password) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (username,)
    assert 3500 <= root.sys.read_lease(made["lease_id"])["data"]["ttl"] <= 3600

    root.adapter.put("/v1/sys/leases/revoke", json={"lease_id": made["lease_id"], "sync": True})

    assert not engine.role_exists(username)
    with pytest.raises(psycopg.OperationalError):
        engine.postgres.connect(username, password)
    with pytest.raises(exceptions.InvalidRequest):
        root.sys.read_lease(made["lease_id"])


def test_revocation_without_sync_happens_soon(root: hvac.Client, engine: DatabaseEngine) -> None:
    made = root.secrets.database.generate_credentials("loader", mount_point=engine.mount)
    root.sys.revoke_lease(made["lease_id"])
    assert eventually(lambda: not engine.role_exists(made["data"]["username"]))


def test_a_lease_expires(root: hvac.Client, engine: DatabaseEngine) -> None:
    create_role(root, engine.mount, "loader", ttl="2s", max_ttl="10s")
    username = root.secrets.database.generate_credentials("loader", mount_point=engine.mount)["data"][
        "username"
    ]
    assert engine.role_exists(username)
    time.sleep(2.0)
    assert eventually(lambda: not engine.role_exists(username))


def test_a_lease_is_renewed_up_to_its_longest_life(root: hvac.Client, engine: DatabaseEngine) -> None:
    create_role(root, engine.mount, "loader", ttl="20s", max_ttl="60s")
    lease_id = root.secrets.database.generate_credentials("loader", mount_point=engine.mount)["lease_id"]
    assert root.sys.renew_lease(lease_id, increment=40)["lease_duration"] == 40
    assert 50 <= root.sys.renew_lease(lease_id, increment=3600)["lease_duration"] <= 60


def test_revoking_a_token_ends_its_leases(
    root: hvac.Client,
    as_token: Callable[[str], hvac.Client],
    policy: Callable[[str], str],
    engine: DatabaseEngine,
) -> None:
    allowed = policy(f'path "{engine.mount}/creds/loader" {{ capabilities = ["read"] }}')
    client = as_token(token_with(root, allowed))
    username = client.secrets.database.generate_credentials("loader", mount_point=engine.mount)["data"][
        "username"
    ]
    client.auth.token.revoke_self()
    assert eventually(lambda: not engine.role_exists(username))


def test_revoking_a_lease_takes_a_policy(
    root: hvac.Client,
    as_token: Callable[[str], hvac.Client],
    policy: Callable[[str], str],
    engine: DatabaseEngine,
) -> None:
    allowed = policy(f'path "{engine.mount}/creds/loader" {{ capabilities = ["read"] }}')
    client = as_token(token_with(root, allowed))
    lease_id = client.secrets.database.generate_credentials("loader", mount_point=engine.mount)["lease_id"]
    with pytest.raises(exceptions.Forbidden):
        client.adapter.put("/v1/sys/leases/revoke", json={"lease_id": lease_id, "sync": True})


def test_leases_are_revoked_by_prefix(root: hvac.Client, engine: DatabaseEngine) -> None:
    names = [
        root.secrets.database.generate_credentials("loader", mount_point=engine.mount)["data"]["username"]
        for _ in range(3)
    ]
    assert len(root.sys.list_leases(f"{engine.mount}/creds/loader")["data"]["keys"]) == 3
    root.sys.revoke_prefix(f"{engine.mount}/creds/loader")
    assert eventually(lambda: not any(map(engine.role_exists, names)))


def test_an_unknown_database_role_is_400(root: hvac.Client, engine: DatabaseEngine) -> None:
    with pytest.raises(exceptions.InvalidRequest, match="unknown role"):
        root.secrets.database.generate_credentials("nobody", mount_point=engine.mount)


def test_a_role_that_the_connection_does_not_allow_is_500(root: hvac.Client, engine: DatabaseEngine) -> None:
    create_role(root, engine.mount, "other", ttl="1h", max_ttl="1h")
    with pytest.raises(exceptions.InternalServerError, match="not an allowed role"):
        root.secrets.database.generate_credentials("other", mount_point=engine.mount)


def test_a_connection_is_verified(root: hvac.Client, engine: DatabaseEngine) -> None:
    config = {**database_config(engine.postgres), "password": "wrong"}
    with pytest.raises(exceptions.InvalidRequest):
        root.secrets.database.configure(mount_point=engine.mount, **config)

"""What an independent reading and a newcomer's trial have found, so that it stays found."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hvac
import pytest

from airflow_secure_provider import leases
from airflow_secure_provider.errors import ConfigurationError, KeyringError
from airflow_secure_provider.inspection.sweep import sweep
from airflow_secure_provider.keyrings.vault_transit import TransitKeyring
from airflow_secure_provider.secrets.vault import VaultSecretsBackend
from airflow_secure_provider.vault.book import LeaseBook
from airflow_secure_provider.vault.failures import capability_of
from airflow_secure_provider.vault.journal import FORMAT, left_behind, tidy
from airflow_secure_provider.vault.session_names import role_session_name
from tests.fixtures_vault import DatabaseEngine, VaultServer, create_role, unique
from tests.vault.backends import Backends, connection_fields, denied
from tests.vault.test_leases import Recorder, start
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def _logins() -> Iterator[None]:
    yield
    leases.LOGINS.clear()


def three(backends: Backends) -> VaultSecretsBackend:
    entry = {
        "role": "loader",
        "mount": backends.engine.mount,
        "connection": connection_fields(backends.engine.postgres),
    }
    return backends(dynamic=dict.fromkeys(("one", "two", "three"), entry))


# revocation


@pytest.mark.usefixtures("task")
def test_without_the_right_to_revoke_several_leases_end_with_the_login(
    backends: Backends, engine: DatabaseEngine, caplog: pytest.LogCaptureFixture
) -> None:
    backends.allow(f'path "{engine.mount}/creds/loader" {{ capabilities = ["read"] }}')
    made = three(backends)
    users = [made.get_connection(name).login for name in ("one", "two", "three")]
    leases.revoke_task_leases()
    assert eventually(lambda: not any(map(engine.role_exists, users)))
    assert "not revoked" not in caplog.text
    assert "not ended" not in caplog.text
    assert all(record.revoked_at for record in leases.credential_records())


def test_who_comes_while_another_revokes_waits_for_it() -> None:
    class Slow(Recorder):
        def revoke(self, lease: Any, seconds: float) -> None:
            time.sleep(0.5)
            super().revoke(lease, seconds)

    noted: list[int] = []
    book, lender = LeaseBook(lambda living: noted.append(len(living))), Slow()
    book.claim()
    key, lease = some_lease()
    book.obtain(key, lambda: lease, lender)
    first = threading.Thread(target=book.revoke_all)
    first.start()
    time.sleep(0.1)
    assert book.revoke_all(deadline_seconds=0.1) is None  # and has touched nothing
    assert noted == [1]
    assert book.revoke_all(deadline_seconds=5) == []
    first.join()
    assert len(lender.ended) == 1
    assert noted[-1] == 0


def some_lease() -> Any:
    from datetime import UTC, datetime

    from airflow_secure_provider.vault.lease import Lease, LeaseKey

    key = LeaseKey("https://v", "", "me", "database", "creds/r", "", "crm")
    secrets = {"login": "u", "password": "p"}
    return key, Lease(
        "database", "r", "database", "id", secrets, datetime.now(UTC), 60, False, time.monotonic()
    )


@pytest.mark.usefixtures("task")
def test_one_that_could_not_be_revoked_stays_in_the_journal(
    root: hvac.Client, backends: Backends, tmp_path: Path
) -> None:
    """In `dags test` the next task takes leases in the same process."""
    leases.JOURNAL.folder = tmp_path
    backends.allow(f'path "{backends.engine.mount}/creds/loader" {{ capabilities = ["read"] }}')
    token = root.auth.token.create(policies=[backends.mount], ttl="1h")["auth"]["client_token"]
    given = {
        "auth_type": "token",
        "token": token,
        "role_id": None,
        "secret_id": None,
        "auth_mount_point": None,
    }
    made = backends(**given)
    made.get_connection("crm")
    leases.revoke_task_leases()
    leases.enter_task_process("dag.other.run")
    made.get_connection("crm")
    (file,) = tmp_path.glob("*.json")
    ours = [each for each in json.loads(file.read_text())["leases"] if each["mount"] == backends.engine.mount]
    assert len(ours) == 2
    leases.JOURNAL.folder = None
    root.auth.token.revoke(token)


def test_a_black_hole_does_not_hold_up_the_end(
    backends: Backends, task: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = backends()
    made.get_connection("crm")
    monkeypatch.setattr(made.vault_client, "url", "https://192.0.2.1:8200")  # TEST-NET-1: nobody answers
    started = time.monotonic()
    leases.revoke_task_leases(deadline_seconds=1.0)
    assert time.monotonic() - started < 2.5


def test_sigterm_does_not_wait_for_a_look_up(backends: Backends, tmp_path: Path) -> None:
    """A thread waits for Vault with the book's lock; on_kill comes at once, and what comes of the look-up is not kept."""
    before = """
        import threading
        def on_term(number, frame):
            print("v-on_kill", flush=True)
        signal.signal(signal.SIGTERM, on_term)
        leases.revoke_on_sigterm()
        from airflow_secure_provider.secrets import _lender
        issue = _lender.BackendLender.issue
        def slowly(self, *arguments):
            print("v-asking", flush=True)
            time.sleep(2)
            return issue(self, *arguments)
        _lender.BackendLender.issue = slowly
        def look_up():
            try:
                backend.get_connection("crm")
            except Exception as error:
                print("v-denied", "being stopped" in str(error), flush=True)
        threading.Thread(target=look_up).start()
        time.sleep(60)
    """
    before_it = users(backends)
    process, line = start(backends, tmp_path / "j", before=before)
    with process:
        assert line() == "v-asking"
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert line() == "v-on_kill"
        assert time.monotonic() - started < 1
        assert line() == "v-denied True"
        process.kill()
    assert users(backends) == before_it


def users(backends: Backends) -> list[Any]:
    with backends.engine.postgres.connect() as live:
        return live.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-approle%' ORDER BY 1"
        ).fetchall()


# logins


@pytest.mark.usefixtures("task")
def test_credentials_of_a_dead_login_are_not_handed_out(root: hvac.Client, backends: Backends) -> None:
    made = backends()
    first = made.get_connection("crm")
    root.auth.token.revoke(made.vault_client.client.token)
    assert made.get_variable("nowhere") is None  # here it is noticed
    assert made.get_connection("crm").login != first.login


def test_a_refused_token_does_not_live_on(
    root: hvac.Client, backends: Backends, vault_server: VaultServer
) -> None:
    backends.allow('path "*" { capabilities = ["read"] }')
    seen: list[str] = []
    made = backends()
    refuse = type(made.vault_client)._refuse_unfit

    def spy(self: Any, login: Any, client: Any) -> None:
        seen.append(login.token)
        refuse(self, login, client)

    type(made.vault_client)._refuse_unfit = spy  # type: ignore[method-assign]
    try:
        assert "over-broad" in denied(lambda: made.get_variable("x"))
    finally:
        type(made.vault_client)._refuse_unfit = refuse  # type: ignore[method-assign]
    client = vault_server.client(seen[0])
    with pytest.raises(hvac.exceptions.Forbidden):
        client.auth.token.lookup_self()
    client.adapter.close()


@pytest.mark.parametrize("path", ["sys/policy/*", "auth/approle/role/*", "identity/*"])
def test_what_else_is_too_broad(backends: Backends, path: str) -> None:
    backends.allow(f'path "{path}" {{ capabilities = ["create", "update"] }}')
    assert "over-broad" in denied(lambda: backends().get_variable("x"))


def test_a_mount_that_is_not_there_is_not_an_absent_secret(root: hvac.Client, backends: Backends) -> None:
    backends.allow('path "nowhere/*" { capabilities = ["read"] }')
    assert "status 404" in denied(lambda: backends(mount_point="nowhere").get_variable("x"))


def test_a_ca_file_that_is_not_there_is_named(backends: Backends) -> None:
    assert "'/nowhere/ca.pem' does not exist" in denied(
        lambda: backends(ca_cert="/nowhere/ca.pem").get_variable("x")
    )


@pytest.mark.parametrize("text", ["", "hello", '{"wrap_info": null}', '{"wrap_in'])
def test_no_wrapping_token_is_no_theft(backends: Backends, tmp_path: Path, text: str) -> None:
    (tmp_path / "wrapped").write_text(text)
    paths = {
        "secret_id_wrapping_token_path": str(tmp_path / "wrapped"),
        "secret_id_path": str(tmp_path / "deep" / "id"),
    }
    message = denied(lambda: backends(secret_id=None, **paths).get_variable("x"))
    assert "holds no wrapping token (yet)" in message
    assert "stolen" not in message


def test_arguments_by_their_place() -> None:
    by_place = [None, None, None, True, None, "https://vault", "approle"]
    assert (
        VaultSecretsBackend(*by_place, role_id="r", secret_id_path="/x").vault_client.auth_type == "approle"
    )
    with pytest.raises(ConfigurationError, match="client_cert"):
        VaultSecretsBackend(*by_place[:-1], "cert")


@pytest.mark.parametrize(
    "entry",
    [{"role": "a?b"}, {"role": "../x"}, {"role": "r", "mount": "a/../sys"}, {"role": "r", "mount": "m?x"}],
)
def test_paths_of_a_secret_stay_paths(backends: Backends, entry: dict[str, str]) -> None:
    name = unique("declared")
    backends.put(f"connections/{name}", conn_type="postgres", dynamic=entry)
    leases.enter_task_process()
    assert "can't stand in a path" in denied(lambda: backends().get_conn_value(name))
    leases.revoke_task_leases()


def test_teams_are_the_tasks(backends: Backends, engine: DatabaseEngine) -> None:
    """Airflow gives a team to no backend that a task asks."""
    entry = {
        "role": "loader",
        "mount": engine.mount,
        "connection": connection_fields(engine.postgres),
        "teams": ["sales"],
    }
    made = backends(dynamic={"crm": entry})
    for team, allowed in (("sales", True), ("web", False), (None, False)):
        leases.enter_task_process("dag.task.run", team)
        if allowed:
            assert made.get_connection("crm").login
        else:
            assert "is for tasks of sales" in denied(lambda: made.get_conn_value("crm"))
        leases.revoke_task_leases()


# the sweep


def test_a_renewed_lease_is_swept_though_the_journal_thinks_it_ended(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine, tmp_path: Path
) -> None:
    create_role(root, engine.mount, "loader", ttl="3s", max_ttl="5m")
    process, login = start(backends, tmp_path)
    with process:
        user = login()
        time.sleep(4)
        assert engine.role_exists(user)
        process.kill()
    access = backends().for_inspection()
    assert dict(sweep(tmp_path, access).counts) == {"revoked": 1}
    assert not engine.role_exists(user)
    access.close()


def test_files_that_are_none_of_ours(backends: Backends, tmp_path: Path) -> None:
    process, login = start(backends, tmp_path)
    with process:
        login()
        process.kill()
    (file,) = [left.file for left in left_behind(tmp_path)]
    place, _, start_ = file.stem.split(",")
    (tmp_path / f"{place},99999998,{start_}.json").mkdir()
    (tmp_path / f"{place},99999999,{start_}.json").write_text(
        json.dumps({"format": FORMAT + "x", "leases": []})
    )
    (tmp_path / "elsewhere-1,1,1.json").write_text("{}")
    access = backends().for_inspection()
    report = sweep(tmp_path, access)
    assert dict(report.counts) == {"revoked": 1, "failed": 2}
    assert (tmp_path / f"{place},99999999,{start_}.json").exists()  # of a newer version, perhaps
    access.close()


def test_what_nobody_will_sweep_is_tidied(tmp_path: Path) -> None:
    import os

    entry = dict.fromkeys(("lease_id", "url", "namespace", "engine", "mount", "role"), "x") | {"expires": 1.0}
    old, fresh = tmp_path / "gone-1,1,1.json", tmp_path / "gone-1,2,1.json"
    for file in (old, fresh):
        file.write_text(json.dumps({"format": FORMAT, "leases": [entry]}))
    (tmp_path / ".new-x").write_text("")
    for file in (old, tmp_path / ".new-x"):
        os.utime(file, (1, 1))
    tidy(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == [fresh.name]


# the rest


def test_a_keyring_that_may_not_decrypt_knows_nothing_of_its_key(
    root: hvac.Client, vault_server: VaultServer
) -> None:
    mount = unique("transit")
    root.sys.enable_secrets_engine("transit", path=mount)
    root.adapter.post(f"/v1/{mount}/keys/plain", json={})
    root.sys.create_or_update_acl_policy(
        mount, f'path "{mount}/encrypt/plain" {{ capabilities = ["update"] }}'
    )
    client = vault_server.client(root.auth.token.create(policies=[mount], ttl="5m")["auth"]["client_token"])
    with pytest.raises(KeyringError, match=f"{mount}/decrypt/plain"):
        TransitKeyring(f"{mount}/keys/plain", lambda: client).wrap(bytes(64), {"a": "b"})
    client.adapter.close()
    root.sys.disable_secrets_engine(mount)


def test_session_names_fit() -> None:
    name = role_session_name("customers.load.scheduled__2026-11-21T00:00:00+00:00")
    assert name == "customers.load.scheduled__2026-11-21T00-00-00+00-00"
    long = [
        role_session_name(f"a_dag_of_some_length.a_task_of_some_length.scheduled__2026-11-21T00:00:00_{n}")
        for n in (1, 2)
    ]
    assert [len(each) for each in long] == [64, 64]
    assert long[0] != long[1]


@pytest.mark.parametrize(
    ("path", "capability"),
    [
        ("database/creds/r", "read"),
        ("secret/data/x", "read"),
        ("sys/leases/revoke", "update"),
        ("auth/token/renew-self", "update"),
        ("transit/decrypt/crm", "update"),
        ("transit/datakey/plaintext/crm", "update"),
        ("aws/sts/r", "update"),
        ("auth/token/lookup-self", "read"),
        ("secret/data/encrypt/x", "read"),
    ],
)
def test_the_remedy_names_the_right_capability(path: str, capability: str) -> None:
    assert capability_of(path) == capability

"""How long leases live: shared, renewed, replaced, revoked, and swept if nobody could."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hvac
import psycopg
import pytest
from click.testing import CliRunner

from airflow_secure_provider import leases
from airflow_secure_provider.cli import _backend as cli_backend
from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.connections import LeasedPostgres, connect_postgres, get_connection
from airflow_secure_provider.inspection.sweep import sweep
from airflow_secure_provider.vault.book import LeaseBook
from airflow_secure_provider.vault.engines import issue_database_lease
from airflow_secure_provider.vault.journal import left_behind
from airflow_secure_provider.vault.lease import Lease, LeaseDenied, LeaseKey
from tests.fixtures_vault import DatabaseEngine, create_role
from tests.vault.backends import Backends, connection_fields
from tests.waiting import eventually


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    leases.JOURNAL.folder = tmp_path / "journal"
    yield tmp_path / "journal"
    leases.JOURNAL.folder = None


@pytest.fixture
def hooked(backends: Backends, monkeypatch: pytest.MonkeyPatch) -> Backends:
    """Airflow's hooks look their connections up in a backend of these."""
    made = backends()
    monkeypatch.setattr("airflow.sdk.bases.hook.BaseHook.get_connection", staticmethod(made.get_connection))
    return backends


# the book


class Recorder:
    def __init__(self, fails: int = 0) -> None:
        self.ended: list[Lease] = []
        self.fails = fails

    login = None

    def renew(self, lease: Lease, seconds: float | None = None) -> int:
        return lease.ttl_seconds

    def revoke(self, lease: Lease, seconds: float) -> None:
        self.ended.append(lease)
        if len(self.ended) <= self.fails:
            raise OSError("gone")

    def seconds_left(self) -> float:
        return float("inf")

    def is_ending(self) -> bool:
        return False


def test_the_book(root: hvac.Client, engine: DatabaseEngine) -> None:
    book, lender = LeaseBook(), Recorder()
    key = LeaseKey("url", "", "me", engine.mount, "loader", "", "crm")

    def issue() -> Lease:
        return issue_database_lease(root, engine.mount, "loader")

    with pytest.raises(LeaseDenied):
        book.obtain(key, issue, lender)
    book.claim()
    one = book.obtain(key, issue, lender)
    two = book.obtain(replace(key, team="b"), issue, lender)
    assert book.obtain(key, issue, lender) is one
    assert one.lease_id != two.lease_id
    assert one.hashed_id not in one.lease_id
    assert one.lease_id not in repr(one)
    assert one.password not in repr(one)
    assert book.revoke_all() == []
    assert {each.lease_id for each in lender.ended} == {one.lease_id, two.lease_id}
    assert book.revoke_all() == []
    root.sys.revoke_prefix(engine.mount)


def test_one_failure_does_not_keep_the_rest_from_being_revoked(
    root: hvac.Client, engine: DatabaseEngine
) -> None:
    book, lender = LeaseBook(), Recorder(fails=1)
    book.claim()
    for name in ("a", "b"):
        key = LeaseKey("url", "", "me", engine.mount, "loader", "", name)
        book.obtain(key, lambda: issue_database_lease(root, engine.mount, "loader"), lender)
    failures = book.revoke_all()
    assert len(lender.ended) == 2
    assert [str(error) for _, error in failures] == ["gone"]
    root.sys.revoke_prefix(engine.mount)


def test_a_lease_that_comes_after_the_end_is_not_kept(root: hvac.Client, engine: DatabaseEngine) -> None:
    """As when a signal ends the task while Vault makes the user."""
    book, lender = LeaseBook(), Recorder()
    book.claim()

    def interrupted() -> Lease:
        book.revoke_all()
        return issue_database_lease(root, engine.mount, "loader")

    with pytest.raises(LeaseDenied, match="being stopped"):
        book.obtain(LeaseKey("url", "", "me", engine.mount, "loader", "", "crm"), interrupted, lender)
    assert len(lender.ended) == 1
    root.sys.revoke_prefix(engine.mount)


def test_revocation_has_an_end(root: hvac.Client, engine: DatabaseEngine) -> None:
    class Slow(Recorder):
        def revoke(self, lease: Lease, seconds: float) -> None:
            time.sleep(2)

    book = LeaseBook()
    book.claim()
    for name in "abcdef":
        key = LeaseKey("url", "", "me", engine.mount, "loader", "", name)
        book.obtain(key, lambda: issue_database_lease(root, engine.mount, "loader"), Slow())
    started = time.monotonic()
    failures = book.revoke_all(deadline_seconds=0.5)
    assert time.monotonic() - started < 1.5
    assert len(failures) == 6
    assert "not revoked within 0.5 s" in str(failures[0][1])
    root.sys.revoke_prefix(engine.mount)


# renewal


@pytest.mark.usefixtures("task")
def test_a_lease_is_renewed_while_the_task_works(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine
) -> None:
    create_role(root, engine.mount, "loader", ttl="3s", max_ttl="1m")
    made = backends()
    first = made.get_connection("crm")
    time.sleep(6.5)  # more than twice its life
    assert engine.role_exists(first.login)
    assert made.get_connection("crm").login == first.login
    (record,) = leases.credential_records()
    assert record.renewals >= 2
    assert record.renewed_at is not None
    leases.revoke_task_leases()
    assert not engine.role_exists(first.login)


@pytest.mark.usefixtures("task")
def test_at_its_maximum_the_next_connection_gets_another(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine, caplog: pytest.LogCaptureFixture
) -> None:
    create_role(root, engine.mount, "loader", ttl="3s", max_ttl="5s")
    made = backends()
    first = made.get_connection("crm")
    assert eventually(lambda: made.get_connection("crm").login != first.login, 8)
    assert made.get_connection("crm").login != first.login
    leases.revoke_task_leases()
    assert eventually(lambda: not engine.role_exists(first.login))
    assert first.login not in caplog.text


@pytest.mark.usefixtures("task")
def test_the_login_is_renewed_too(backends: Backends, engine: DatabaseEngine) -> None:
    """A lease ends with the login that it was issued to."""
    backends.let_login_live("3s", "1m")
    made = backends()
    first = made.get_connection("crm")
    time.sleep(5)
    assert engine.role_exists(first.login)
    assert made.get_connection("crm").login == first.login


@pytest.mark.usefixtures("task")
def test_a_login_at_its_end_makes_way_for_another(
    root: hvac.Client, backends: Backends, engine: DatabaseEngine
) -> None:
    backends.let_login_live("2s", "2s")
    made = backends()
    first = made.get_connection("crm")
    time.sleep(2.5)
    second = made.get_connection("crm")
    assert second.login != first.login
    with engine.postgres.connect(second.login, second.password) as live:
        assert live.execute("SELECT 1").fetchone() == (1,)
    assert eventually(lambda: not engine.role_exists(first.login))


def test_a_child_renews_nothing(backends: Backends, task: None) -> None:
    from tests.vault.backends import in_child

    made = backends()
    made.get_connection("crm")

    def look() -> str:
        made.get_connection("crm")
        leases.keep_alive(leases.BOOK)
        import threading

        return ",".join(each.name for each in threading.enumerate())

    assert in_child(look) == "MainThread"


# another credential


@pytest.mark.usefixtures("task")
def test_fresh(hooked: Backends, engine: DatabaseEngine) -> None:
    first = get_connection("crm")
    assert get_connection("crm").login == first.login
    second = get_connection("crm", fresh=True)
    assert second.login != first.login
    assert engine.role_exists(first.login)  # a connection may be at work under it
    leases.revoke_task_leases()
    assert not engine.role_exists(first.login)
    assert not engine.role_exists(second.login)


@pytest.mark.usefixtures("task")
def test_a_refused_login_is_replaced(hooked: Backends, engine: DatabaseEngine) -> None:
    first = get_connection("crm")
    with engine.postgres.connect(autocommit=True) as admin:
        admin.execute(f'DROP ROLE "{first.login}"'.encode())
    with connect_postgres("crm") as live:
        assert live.execute("SELECT current_user").fetchone()[0] != first.login


@pytest.mark.usefixtures("task")
def test_what_is_no_refused_login_is_raised(
    hooked: Backends, engine: DatabaseEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = hooked(
        dynamic={
            "crm": {
                "role": "loader",
                "mount": engine.mount,
                "connection": {"conn_type": "postgres", "host": "127.0.0.1", "port": 1},
            }
        }
    )
    monkeypatch.setattr("airflow.sdk.bases.hook.BaseHook.get_connection", staticmethod(made.get_connection))
    with pytest.raises(psycopg.OperationalError):
        connect_postgres("crm")
    assert len(leases.credential_records()) == 1


@pytest.mark.usefixtures("task")
def test_a_long_task_changes_its_connection(
    root: hvac.Client, hooked: Backends, engine: DatabaseEngine
) -> None:
    create_role(root, engine.mount, "loader", ttl="2s", max_ttl="3s")
    users = set()
    with LeasedPostgres("crm") as crm:
        until = time.monotonic() + 6
        while time.monotonic() < until:
            with crm.transaction() as connection:
                users.add(connection.execute("SELECT current_user").fetchone()[0])
            time.sleep(0.2)
    assert len(users) >= 2
    with pytest.raises(ZeroDivisionError), LeasedPostgres("crm") as crm, crm.transaction():
        raise ZeroDivisionError


# the end of a process


SCRIPT = """
import os, signal, sys, time
from airflow.sdk import Connection
from airflow_secure_provider import leases
from airflow_secure_provider.secrets.vault import VaultSecretsBackend
import json
from pathlib import Path
leases.JOURNAL.folder = Path(sys.argv[2])
leases.enter_task_process("dag.task.run")
backend = VaultSecretsBackend(**json.loads(sys.argv[1]))
backend._set_connection_class(Connection)
{before}
print(backend.get_connection("crm").login, flush=True)
{after}
"""


def start(backends: Backends, folder: Path, before: str = "", after: str = "time.sleep(60)") -> Any:
    entry = {"role": "loader", "mount": backends.engine.mount}
    kwargs = {
        "url": backends.server.url,
        "auth_type": "approle",
        "auth_mount_point": backends.mount,
        "ca_cert": backends.server.verify,
        "dynamic": {"crm": {**entry, "connection": connection_fields(backends.engine.postgres)}},
        **backends.login,
    }
    script = SCRIPT.format(before=textwrap.dedent(before), after=textwrap.dedent(after))
    process = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(kwargs), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, lambda: next(line for line in process.stdout if line.startswith("v-")).strip()


ON_TERM = """
def on_term(number, frame):
    print("on_kill", flush=True)
    time.sleep({seconds})
signal.signal(signal.SIGTERM, on_term)
leases.revoke_on_sigterm()
"""


@pytest.mark.parametrize("seconds", [0, 30], ids=["quick on_kill", "on_kill that hangs"])
def test_sigterm_revokes_within_three_seconds(
    backends: Backends, engine: DatabaseEngine, tmp_path: Path, seconds: int
) -> None:
    process, login = start(backends, tmp_path / "j", before=ON_TERM.format(seconds=seconds))
    with process:
        user = login()
        assert engine.role_exists(user)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert eventually(lambda: not engine.role_exists(user), 3.5)
        assert time.monotonic() - started < 3
        assert eventually(lambda: not list((tmp_path / "j").glob("*.json")), 1)
        process.kill()


def test_sigterm_without_a_handler_still_ends_the_process(
    backends: Backends, engine: DatabaseEngine, tmp_path: Path
) -> None:
    process, login = start(backends, tmp_path / "j", before="leases.revoke_on_sigterm()")
    with process:
        user = login()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
    assert not engine.role_exists(user)


def test_the_end_of_a_process_revokes(backends: Backends, engine: DatabaseEngine, tmp_path: Path) -> None:
    process, login = start(backends, tmp_path / "j", after="sys.exit(3)")
    with process:
        user = login()
        assert process.wait(10) == 3
    assert not engine.role_exists(user)


def test_after_sigkill_the_sweep_revokes(
    backends: Backends, engine: DatabaseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "j"
    process, login = start(backends, folder)
    alive, other = start(backends, folder)
    with process, alive:
        user, living = login(), other()
        process.kill()
        process.wait(10)
        assert engine.role_exists(user)
        (file,) = [left.file for left in left_behind(folder)]
        assert oct(file.stat().st_mode & 0o777) == "0o600"
        assert oct(folder.stat().st_mode & 0o777) == "0o700"
        assert user not in file.read_text()

        made = backends()
        access = made.for_inspection()
        assert dict(sweep(folder, None).counts) == {"left": 1}
        monkeypatch.setattr(cli_backend, "vault_access", lambda: access)
        outcome = CliRunner().invoke(
            cli, ["leases", "sweep", "--folder", str(folder)], catch_exceptions=False
        )
        assert outcome.output == "leases of tasks that no longer run: 1 revoked\n"
        assert not engine.role_exists(user)
        assert engine.role_exists(living)  # its process runs
        assert dict(sweep(folder, access).counts) == {}
        alive.kill()


def test_a_sweep_that_may_not(
    backends: Backends, engine: DatabaseEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "j"
    process, login = start(backends, folder)
    with process:
        user = login()
        process.kill()
    backends.allow(f'path "{engine.mount}/creds/loader" {{ capabilities = ["read"] }}')
    access = backends().for_inspection()
    monkeypatch.setattr(cli_backend, "vault_access", lambda: access)
    outcome = CliRunner().invoke(cli, ["leases", "sweep", "--folder", str(folder), "--json"])
    assert outcome.exit_code == 1
    said = json.loads(outcome.stdout)
    assert said["counts"] == {"failed": 1}
    assert "status 403" in said["failures"][0]
    assert engine.role_exists(user)
    assert len(list(left_behind(folder))) == 1  # for the next sweep


def test_sweeping_takes_a_backend() -> None:
    outcome = CliRunner().invoke(cli, ["leases", "sweep"])
    assert outcome.exit_code == 1
    assert "no VaultSecretsBackend" in outcome.output


@pytest.mark.usefixtures("task")
def test_the_journal_goes_with_the_last_lease(journal: Path, backends: Backends) -> None:
    backends().get_connection("crm")
    (file,) = journal.glob("*.json")
    assert file.name.split(",")[1] == str(os.getpid())
    leases.revoke_task_leases()
    assert list(journal.iterdir()) == []


@pytest.mark.usefixtures("task")
def test_a_journal_that_can_not_be_written_fails_no_task(
    backends: Backends, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    leases.JOURNAL.folder = tmp_path / "file" / "journal"
    assert backends().get_connection("crm").login
    assert "leases are not noted" in caplog.text
    assert leases.JOURNAL.folder is None

"""Moving a domain to a new key version: what joins before, during and after it, and what is said of what stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import (
    ConfigurationError,
    ContractError,
    DecryptionError,
    LoadError,
    SecureProviderError,
    StoreError,
    StoreUnavailable,
)
from airflow_secure_provider.model import ColumnRule, Protection
from airflow_secure_provider.protection.formatted import FormatCipher
from airflow_secure_provider.protection.plan import reversible
from airflow_secure_provider.reports import ReprotectionReport
from airflow_secure_provider.stores import reprotection as sql
from airflow_secure_provider.stores.states import lock_domain
from airflow_secure_provider.stores.usage import count_uses
from airflow_secure_provider.transfer import TableTarget, reprotect

from .test_rotation import HEADER, load, rotated, rows, versions
from .world import World, as_csv, in_background, wait_until

JOINED = "SELECT count(*) FROM crm.people p JOIN crm.orders o ON p.email = o.email AND p.card = o.card AND p.id = o.id"
MOVED = {"email": 2, "card": 2, "notes": 2}


def move(world: World, keys: Keyset, *domains: str, **settings: Any) -> ReprotectionReport:
    target = TableTarget(world.database.connect, "", allow_insecure_transport=False)
    return reprotect(target, world.options(keyset=keys), domains or None, **settings)


def plain(world: World, keys: Keyset, table: str, names: Sequence[str] = HEADER[1:]) -> list[tuple[Any, ...]]:
    """What a table's values are, as its recorded versions reveal them."""
    made = []
    with world.database.connect() as connection:
        held = {each.name: each.status for each in sql.held_columns(connection, keys.id)}
        for name in names:
            status = held[f"crm.{table}.{name}"]
            assert status.classification is not None
            rule = ColumnRule(
                name, status.classification, status.protection, domain=status.domain, scope=status.scope,
                parameters=status.parameters,
            )  # fmt: skip
            values = [row[0] for row in connection.execute(f"SELECT {name} FROM crm.{table} ORDER BY id")]
            made.append(reversible(rule, keys, status.key_version).reveal(pa.array(values)).to_pylist())
    return list(zip(*made, strict=True))


PLAIN = [row[1:] for row in rows(10)]


@pytest.fixture
def new(world: World) -> Keyset:
    """Two tables of the same domains under version 1, and the keyset with version 2."""
    load(world, "people", world.lake.keyset)
    load(world, "orders", world.lake.keyset)
    return rotated(world.lake.keyset)


def inside(monkeypatch: pytest.MonkeyPatch, function: str, act: Callable[[], Any], times: int = 1) -> None:
    """Act before the SQL of a step is sent: the first *times* that it is."""
    real, left = getattr(sql, function), [times]

    def acting(*given: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            act()
        return real(*given, **named)

    monkeypatch.setattr(sql, function, acting)


def test_a_domain_moves_and_old_versions_can_go(world: World, new: Keyset) -> None:
    before = world.query("SELECT email, card, notes FROM crm.people ORDER BY id")
    report = move(world, new)
    after = world.query("SELECT email, card, notes FROM crm.people ORDER BY id")
    assert all(a != b for old, now in zip(before, after, strict=True) for a, b in zip(old, now, strict=True))
    assert versions(world, "people") == versions(world, "orders") == MOVED
    assert plain(world, new, "people") == plain(world, new, "orders") == PLAIN
    assert report.rows == {
        f"crm.{table}.{column}": 10 for table in ("people", "orders") for column in HEADER[1:]
    }
    assert (report.version, report.kept, report.warnings) == (2, {}, ())
    assert {column.key_version for table in report.tables for column in table.columns} == {2, None}
    with world.database.connect() as connection:
        assert count_uses(connection, "customers", 1) == {}
    assert world.query("SELECT count(*) FROM secure_provider.reprotection_value") == [(0,)]
    done = "SELECT protection, domain, from_version, to_version, rows FROM secure_provider.reprotection ORDER BY 1"
    assert world.query(done) == [("fpe", "card", 1, 2, 20), ("tokenize", "person-email", 1, 2, 20)]


def test_a_second_run_has_nothing_to_do(world: World, new: Keyset) -> None:
    move(world, new)
    before = world.state("crm.people", "crm.orders", "secure_provider.reprotection")
    assert move(world, new).rows == {}
    assert world.state("crm.people", "crm.orders", "secure_provider.reprotection") == before


def test_it_equals_a_load_under_the_new_version(world: World, new: Keyset) -> None:
    move(world, new)
    load(world, "later", new)
    assert versions(world, "later") == MOVED
    same = "SELECT count(*) FROM crm.people p JOIN crm.later l ON p.id = l.id AND p.email = l.email AND p.card = l.card"
    assert world.query(same) == [(10,)]


def test_readers_join_before_during_and_after(
    world: World, new: Keyset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    watch = lambda: seen.append(world.query(JOINED)[0][0])  # noqa: E731
    watch()
    for step in ("begin", "unmapped", "remember", "switch", "record_version", "finish", "forget_maps"):
        inside(monkeypatch, step, watch, times=99)
    move(world, new, batch_rows=3)
    watch()
    assert len(seen) > 20
    assert set(seen) == {10}


def test_upserts_meet_their_rows_before_during_and_after(
    world: World, new: Keyset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.execute("CREATE UNIQUE INDEX ON crm.people (email)")

    def upsert(table: str) -> None:
        load(world, table, new)
        world.execute(
            f"INSERT INTO crm.people SELECT id + 100, email, card, notes FROM crm.{table} "
            "ON CONFLICT (email) DO UPDATE SET id = excluded.id"
        )

    upsert("before")
    inside(monkeypatch, "remember", lambda: upsert("during"))
    move(world, new, batch_rows=4)
    upsert("after")
    assert world.query("SELECT count(*), min(id) FROM crm.people") == [(10, 101)]
    assert versions(world, "during") == MOVED  # it came to the domain while the map was filled


def test_a_load_that_meets_the_switch_waits_and_is_told_to_run_again(
    world: World, new: Keyset, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[Any] = []

    def appended() -> None:
        try:
            results.append(load(world, "people", new, first=11))
        except SecureProviderError as error:
            results.append(error)

    loader = threading.Thread(target=appended)

    def start() -> None:
        loader.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: world.query(waiting)[0][0])

    inside(monkeypatch, "finish", start)
    move(world, new, "person-email")
    loader.join(30)
    (error,) = results
    assert isinstance(error, StoreUnavailable)
    assert "domain 'person-email' (tokenize) stands under key version 2 of keyset 'customers'" in str(error)
    load(world, "people", new, first=11)
    assert world.query("SELECT count(*) FROM crm.people p JOIN crm.orders o USING (email)") == [(20,)]


def test_the_switch_waits_for_a_load_into_its_domain(world: World, new: Keyset) -> None:
    """A first load of a table, under way under the old version, is part of the domain when it is done."""
    with world.database.connect() as other, other.transaction():
        other.execute("SELECT 1")
        lock_domain(other, "customers", Protection.TOKENIZE, "person-email", shared=True)
        moving = in_thread(lambda: move(world, new, "person-email"))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: world.query(waiting)[0][0])
        assert versions(world, "people")["email"] == 1
    moving()
    assert versions(world, "people")["email"] == 2


def in_thread(call: Callable[[], Any]) -> Callable[[], None]:
    thread = threading.Thread(target=call)
    thread.start()
    return lambda: thread.join(30)


def test_a_broken_run_goes_on_where_it_was(
    world: World, new: Keyset, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered: list[int] = []
    real = sql.remember

    def breaking(connection: Any, job: int, old: Sequence[bytes], made: Sequence[bytes]) -> None:
        if len(remembered) == 2:
            world.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        real(connection, job, old, made)
        remembered.append(len(old))

    monkeypatch.setattr(sql, "remember", breaking)
    before = world.state("crm.people", "crm.orders")
    with pytest.raises(StoreError):
        move(world, new, "person-email", batch_rows=3)
    assert world.state("crm.people", "crm.orders") == before
    assert world.query("SELECT count(*) FROM secure_provider.reprotection_value") == [(6,)]

    monkeypatch.setattr(sql, "remember", lambda *given: (remembered.append(len(given[2])), real(*given)))
    move(world, new, "person-email", batch_rows=3)
    assert sum(remembered) == 10
    assert plain(world, new, "people") == PLAIN
    assert world.query("SELECT count(*) FROM secure_provider.reprotection") == [(1,)]


@pytest.mark.parametrize("step", ["switch", "record_version", "finish"])
def test_a_switch_that_breaks_has_switched_nothing(
    world: World, new: Keyset, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = world.state("crm.people", "crm.orders")
    with monkeypatch.context() as patch:

        def stop() -> None:
            raise psycopg.errors.AdminShutdown

        inside(patch, step, stop)
        with pytest.raises(StoreError):
            move(world, new, "person-email")
    assert world.state("crm.people", "crm.orders") == before
    assert world.query(JOINED) == [(10,)]
    move(world, new)
    assert versions(world, "people") == MOVED
    assert world.query(JOINED) == [(10,)]


def test_fpe_values_that_take_each_others_place_under_a_unique_index(world: World) -> None:
    old = world.lake.keyset
    new = rotated(old)
    contract = from_columns({"id": "none", "card": {"method": "fpe", "domain": "card"}}, "crm.cards")
    rule = contract.rules[1]
    first, second = FormatCipher(rule, old), FormatCipher(rule, new)
    # The new value of each card is the old value of the next one.
    cards = ["4111-1111"]
    for _ in range(5):
        made = second.protect(pa.array(cards[-1:]))
        cards.append(first.reveal(made).to_pylist()[0])
    world.execute("CREATE TABLE crm.cards (id bigint, card varchar(9) PRIMARY KEY)")
    body = as_csv([(str(number), card) for number, card in enumerate(cards)], ("id", "card"))
    world.load(world.lake.encrypt(body).data, contract, "crm.cards")
    move(world, new)
    assert [row[0] for row in plain(world, new, "cards", ["card"])] == cards
    assert world.query("SELECT max(length(card)) FROM crm.cards") == [(9,)]


def test_a_foreign_key_has_to_wait_for_the_end(world: World, new: Keyset) -> None:
    world.execute(
        "ALTER TABLE crm.people ADD UNIQUE (email); "
        "ALTER TABLE crm.orders ADD CONSTRAINT who FOREIGN KEY (email) REFERENCES crm.people (email)"
    )
    before = world.state("crm.people", "crm.orders")
    with pytest.raises(ContractError, match=r"ALTER TABLE crm.orders ALTER CONSTRAINT who DEFERRABLE"):
        move(world, new)
    assert world.state("crm.people", "crm.orders") == before
    world.execute("ALTER TABLE crm.orders ALTER CONSTRAINT who DEFERRABLE")
    move(world, new)
    assert world.query(JOINED) == [(10,)]
    assert versions(world, "orders") == MOVED


def test_a_foreign_key_that_cascades_is_refused(world: World, new: Keyset) -> None:
    world.execute(
        "ALTER TABLE crm.people ADD UNIQUE (email); ALTER TABLE crm.orders ADD CONSTRAINT who FOREIGN KEY (email) "
        "REFERENCES crm.people (email) ON UPDATE CASCADE DEFERRABLE"
    )
    with pytest.raises(ContractError, match=r"'who', which changes rows by itself \(ON UPDATE\)"):
        move(world, new)


def test_values_that_nobody_recorded_stop_the_switch(world: World, new: Keyset) -> None:
    """A table that refers to the domain and is not known here would lose its rows' partners."""
    world.execute(
        "ALTER TABLE crm.people ADD UNIQUE (email); CREATE TABLE crm.copied AS SELECT email FROM crm.orders; "
        "ALTER TABLE crm.copied ADD CONSTRAINT who FOREIGN KEY (email) REFERENCES crm.people (email) DEFERRABLE"
    )
    before = world.state("crm.people", "crm.orders")
    with pytest.raises(LoadError):
        move(world, new, "person-email")
    assert world.state("crm.people", "crm.orders") == before


def test_a_trigger_that_keeps_rows_back_stops_the_switch(world: World, new: Keyset) -> None:
    world.execute(
        "CREATE FUNCTION crm.keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF old.id = 3 THEN RETURN NULL; END IF; "
        "RETURN new; END'; CREATE TRIGGER keep BEFORE UPDATE ON crm.orders FOR EACH ROW EXECUTE FUNCTION crm.keep()"
    )
    before = world.state("crm.people", "crm.orders")
    with pytest.raises(LoadError, match=r"crm.orders.email: 9 of 10 values could be replaced"):
        move(world, new, "person-email")
    assert world.state("crm.people", "crm.orders") == before


def test_a_forged_token_stops_before_the_switch(
    world: World, new: Keyset, caplog: pytest.LogCaptureFixture
) -> None:
    world.execute(
        "UPDATE crm.people SET email = left(email, 20) || translate(substr(email, 21, 1), 'AB', 'BA') || 'A' || "
        "substr(email, 23) WHERE id = 4"
    )
    before = world.state("crm.people", "crm.orders")
    with pytest.raises(DecryptionError, match=r"crm.orders.email, crm.people.email|crm.people.email"):
        move(world, new, "person-email")
    assert world.state("crm.people", "crm.orders") == before
    assert "example.com" not in caplog.text


PSEUDONYMS = {
    "id": "none",
    "email": {"method": "pseudonymize", "domain": "who", "classification": "restricted"},
    "card": {"method": "tokenize", "domain": "who", "classification": "restricted"},
    "notes": {"method": "pseudonymize", "domain": "said"},
}


def test_pseudonyms_stay_and_say_so(world: World) -> None:
    world.execute("CREATE TABLE crm.seen (id bigint, email text, card text, notes bytea)")
    world.load(world.lake.encrypt(as_csv(rows(10), HEADER)).data, PSEUDONYMS, "crm.seen")
    new = rotated(world.lake.keyset)
    before = world.state("crm.seen")
    with pytest.raises(
        ContractError, match=r"what crm.seen.notes \(pseudonymize\) hold can't be re-protected: nothing gives"
    ):
        move(world, new, "said")
    assert world.state("crm.seen") == before
    report = move(world, new)
    assert sorted(report.kept) == ["crm.seen.email", "crm.seen.notes"]
    assert "load it with mode='replace'" in report.kept["crm.seen.email"]
    assert versions(world, "seen") == {"email": 1, "card": 2, "notes": 1}
    assert move(world, new, "who").rows == {}


FORMS: dict[str, Any] = {
    "id": {"method": "none", "type": "integer"},
    "email": {"method": "encrypt", "bind_to": ["id", "born", "at"], "scope": "e", "domain": "e"},
    "born": {"method": "none", "type": "date"},
    "at": {"method": "none", "type": "timestamp"},
    "card": {"method": "fpe", "domain": "card", "on_unfit": "encrypt"},
    "other": {"method": "fpe", "domain": "card", "alphabet": "alphanumeric", "on_unfit": "redact"},
}


def test_bound_cells_unfit_values_two_alphabets_and_partitions(world: World) -> None:
    world.execute(
        "CREATE TABLE crm.forms (id bigint, email text, born date, at timestamp, card text, other text) "
        "PARTITION BY RANGE (id); "
        "CREATE TABLE crm.forms_1 PARTITION OF crm.forms FOR VALUES FROM (0) TO (500); "
        "CREATE TABLE crm.forms_2 PARTITION OF crm.forms FOR VALUES FROM (500) TO (2000)"
    )
    lines: list[tuple[str | None, ...]] = [
        (
            str(number), None if number % 7 == 0 else f"{number}" * (number % 40), "1980-02-29",
            "2026-01-02 03:04:05.060000", "short" if number % 5 == 0 else f"{number:07d}",
            None if number % 3 == 0 else "x" if number % 5 == 0 else f"ab{number:07d}",
        )
        for number in range(1000)
    ]  # fmt: skip
    world.load(world.lake.encrypt(as_csv(lines, FORMS)).data, FORMS, "crm.forms")
    new = rotated(world.lake.keyset)
    report = move(world, new, batch_rows=100)
    assert report.rows["crm.forms.email"] == 1000 - 143
    with world.database.connect() as connection:
        assert count_uses(connection, "customers", 1) == {}
    assert plain(world, new, "forms", ["card"]) == [(line[4],) for line in lines]
    others = ["*" if line[5] == "x" else line[5] for line in lines]
    assert [row[0] for row in plain(world, new, "forms", ["other"])] == others
    world.execute("CREATE TABLE crm.open (id bigint, email text, born date, at timestamp)")
    revealing = {name: {**FORMS[name], "method": "none"} for name in ("id", "born", "at")}
    world.load(
        world.table_source("crm.forms", only=["id", "email", "born", "at"]),
        {**revealing, "email": "none"}, "crm.open", mode="replace",
        options=world.options(reveal_with=new, purpose="a test"),
    )  # fmt: skip
    assert world.query("SELECT email FROM crm.open ORDER BY id") == [(line[1],) for line in lines]


def test_cells_that_an_older_document_goes_on_writing_are_told_of(
    world: World, new: Keyset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = world.query("SELECT notes FROM crm.people WHERE id = 1")[0][0]

    def write() -> None:
        with world.database.connect() as connection:
            connection.execute("INSERT INTO crm.people (id, notes) VALUES (77, %s)", (cell,))

    inside(monkeypatch, "count_old_cells", write, times=99)
    report = move(world, new, "notes")
    assert any("a task protects with an older keyset document" in warning for warning in report.warnings)
    assert versions(world, "people")["notes"] == 1


def test_two_tasks_at_once(world: World, new: Keyset) -> None:
    with world.database.connect() as connection, sql.only_one(connection, "customers"):
        with pytest.raises(StoreUnavailable, match="another task re-protects values of keyset 'customers'"):
            move(world, new)
    both = in_background(lambda: move(world, new), lambda: move(world, new))
    assert all(isinstance(each, ReprotectionReport | StoreUnavailable) for each in both)
    assert world.query(JOINED) == [(10,)]


@pytest.mark.parametrize(
    ("keys", "domains", "kind", "says"),
    [
        ("older", (), ConfigurationError, "stands under key version 2, and keyset 'customers' ends at 1"),
        ("new", ("nothing",), ConfigurationError, "nothing is recorded of domain 'nothing'"),
        ("none", (), ConfigurationError, "there is no keyset"),
        ("another", (), ConfigurationError, "is recorded under keyset 'another'"),
        ("without", (), DecryptionError, "no key version 1"),
    ],
)
def test_what_can_not_be_done_is_refused(
    world: World, new: Keyset, keys: str, domains: tuple[str, ...], kind: type[Exception], says: str
) -> None:
    if keys == "older":
        move(world, new)
    given = {
        "older": world.lake.keyset,
        "new": new,
        "none": None,
        "another": Keyset("another", new.provider, new.key_id, 2, new._keys),
        "without": Keyset("customers", new.provider, new.key_id, 2, {2: new._keys[2]}),
    }[keys]
    before = world.state("crm.people", "crm.orders")
    with pytest.raises(kind, match=says):
        reprotect(TableTarget(world.database.connect, ""), world.options(keyset=given), domains or None)
    assert world.state("crm.people", "crm.orders") == before


def test_classes_hold_for_it_as_for_a_load(world: World, new: Keyset) -> None:
    with pytest.raises(ContractError, match="must be encrypted at rest"):
        reprotect(TableTarget(world.database.connect, ""), world.options(keyset=new, declared_at_rest={}))


def test_tokens_of_another_version_do_not_pass_into_a_moved_domain(world: World, new: Keyset) -> None:
    world.execute("CREATE TABLE crm.elsewhere (id bigint, email text, card text, notes bytea)")
    world.execute("INSERT INTO crm.elsewhere SELECT * FROM crm.people")
    world.execute(
        "INSERT INTO secure_provider.column_state SELECT 'crm.elsewhere', column_name, classification, protection, domain, "
        "scope, 'customers', key_version, parameters, contract_id, contract_version, contract_digest FROM "
        "secure_provider.column_state WHERE target = 'crm.people'"
    )
    move(world, new)
    world.execute(
        "UPDATE secure_provider.column_state SET key_version = 1 WHERE target = 'crm.elsewhere' AND column_name = 'email'"
    )
    world.execute("CREATE TABLE crm.shared (email text)")
    columns = {"email": {"method": "tokenize", "domain": "person-email", "classification": "restricted"}}
    with pytest.raises(ContractError, match="stands under key version"):
        world.load(world.table_source("crm.elsewhere", only=["email"]), columns, "crm.shared", mode="replace")

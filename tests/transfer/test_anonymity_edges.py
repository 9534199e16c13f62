"""``require`` where the target, its types or another load stand in the way."""

from __future__ import annotations

import io
import json
import re
import secrets
import threading
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_secure_provider.errors import ConfigurationError, ContractError, StoreError, StoreUnavailable
from airflow_secure_provider.reports import TransferReport
from airflow_secure_provider.stores import manifest
from airflow_secure_provider.transfer import Required, S3Objects

from .world import World, as_csv, wait_until

DATE: Mapping[str, Any] = {"born": {"method": "none", "type": "date"}}
BIRTHS = "born\n1980-01-01\n1980-01-02\n1980-01-03\n"


def required(**given: Any) -> Required:
    return Required.of({"k": 2, **given}, lambda name: b"")


def load(
    world: World, body: str, need: Required, columns: Any = None, *, mode: str = "append", **more: Any
) -> TransferReport:
    """Of a text, or of what is at a URI."""
    source = body if body.startswith("s3://") else world.lake.encrypt(body.encode()).data
    options = world.options(require=need)
    return world.load(source, columns or {"n": "none"}, "crm.x", mode=mode, options=options, **more)


@pytest.mark.parametrize("column_type", ["date", "timestamp", "timestamptz"])
@pytest.mark.parametrize("step", ["month", "quarter", "year", "decade"])
def test_a_year_is_not_stored_as_a_day(world: World, column_type: str, step: str) -> None:
    """Arrow makes 1975-06-04 of the number 1980."""
    world.execute(f"CREATE TABLE crm.x (born {column_type})")
    columns = {"born": {"method": "none", "type": "date" if column_type == "date" else "timestamp"}}
    births = re.sub(r"(-\d\d)\n", r"\1T00:00:00Z\n", BIRTHS) if column_type == "timestamptz" else BIRTHS
    with pytest.raises(ContractError) as caught:
        load(world, births, required(quasi_identifiers={"born": [step, "any"]}, k=3), columns)
    if step in ("year", "decade"):
        assert "column 'born' of crm.x can't hold what step 1 makes of it, which is int32" in str(
            caught.value
        )
    assert world.query("SELECT * FROM crm.x") == []


def test_a_contract_s_own_year_is_not_stored_as_a_day(world: World) -> None:
    world.execute("CREATE TABLE crm.x (born date)")
    columns = {"born": {"method": "generalize", "to": "year", "type": "date"}}
    with pytest.raises(Exception, match="column 'born' is int32 and can't become a value of date"):
        world.load(world.lake.encrypt(BIRTHS.encode()).data, columns, "crm.x", mode="replace")
    assert world.query("SELECT * FROM crm.x") == []


def test_a_table_that_is_made_for_it_can_hold_a_year(world: World) -> None:
    with pytest.raises(ContractError, match="can't hold what step 1 makes of it"):
        load(
            world,
            BIRTHS,
            required(quasi_identifiers={"born": ["year"]}),
            DATE,
            mode="replace",
            target={"create_table": True},
        )
    assert world.query("SELECT to_regclass('crm.x')") == [(None,)]


def test_a_quasi_identifier_may_be_called_as_it_likes(world: World) -> None:
    world.execute('CREATE TABLE crm.x ("row" text, c0 text)')
    need = required(quasi_identifiers=["c0", "row"], max_suppressed=1)
    done = load(world, "row,c0\na,1\na,1\nb,1\n", need, {"row": "none", "c0": "none"})
    assert (done.rows, world.query("SELECT DISTINCT * FROM crm.x")) == (2, [("a", "1")])


def test_a_retry_of_an_append_that_was_made_coarser_loads_nothing_twice(world: World) -> None:
    """The first one finds an empty table; a retry finds its own rows, and would decide otherwise."""
    world.execute("CREATE TABLE crm.x (n text)")
    rows = ["ab"] * 2 + ["ac"] + [f"{each}x" for each in "bcdefgh" for _ in range(2)]
    uri = world.lake.put(world.lake.encrypt("\n".join(["n", *rows]).encode()).data)
    need = required(quasi_identifiers={"n": [1]}, max_suppressed=1)
    first = load(world, uri, need)
    assert first.anonymity is not None
    assert (first.anonymity.levels, first.rows) == ({"n": 1}, len(rows))
    before = world.state("crm.x")
    again = load(world, uri, need, task="dag/task/run/2")
    assert (again.already_loaded, again.rows, again.anonymity) == (True, 0, None)
    assert world.state("crm.x") == before


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_what_was_there_when_it_was_looked_at_and_is_gone_then_is_not_loaded_unseen(
    world: World, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.execute("CREATE TABLE crm.x (n text)")
    uri = world.lake.put(world.lake.encrypt(b"n\na\n").data)
    monkeypatch.setattr(manifest, "has", lambda *given: True)
    monkeypatch.setattr(manifest, "is_current", lambda *given: True)
    if mode == "replace":
        monkeypatch.setattr(manifest, "is_current", _first_yes())
    with pytest.raises(StoreUnavailable, match="does no longer; nothing was committed"):
        load(world, uri, required(quasi_identifiers=["n"]), mode=mode, target={"replace_with": "delete"})
    assert world.query("SELECT * FROM crm.x") == []


def _first_yes() -> Any:
    answers = iter([True])
    return lambda *given: next(answers, False)


def test_other_steps_are_another_replacement(world: World) -> None:
    world.execute("CREATE TABLE crm.x (n text)")
    uri = world.lake.put(world.lake.encrypt(b"n\nabc\nabd\n").data)
    load(world, uri, required(quasi_identifiers={"n": [2]}), mode="replace")
    done = load(world, uri, required(quasi_identifiers={"n": [1]}), mode="replace")
    assert not done.already_loaded
    assert world.query("SELECT DISTINCT n FROM crm.x") == [("a",)]
    assert load(world, uri, required(quasi_identifiers={"n": [1]}), mode="replace").already_loaded


def test_a_replacement_does_not_take_away_what_an_append_counts_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.execute("CREATE TABLE crm.x (n text)")
    need = required(quasi_identifiers=["n"], k=3)
    load(world, "n\na\na\na\n", need)
    complete, others = manifest.complete, []

    def replaced() -> None:
        load(world, "n\nb\nb\nb\n", need, mode="replace", target={"replace_with": "delete"})

    def after_the_last_look(*given: Any) -> None:
        monkeypatch.setattr(manifest, "complete", complete)
        other = threading.Thread(target=replaced)
        others.append(other)
        other.start()
        wait_until(lambda: not other.is_alive() or _waits(world))
        complete(*given)

    monkeypatch.setattr(manifest, "complete", after_the_last_look)
    load(world, "n\na\n", need)
    others[0].join(60)
    assert world.query("SELECT n, count(*) FROM crm.x GROUP BY 1") == [("b", 3)]


def _waits(world: World) -> bool:
    found = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory')"
    return bool(world.query(found)[0][0])


@pytest.mark.parametrize(
    ("column_type", "value", "kind"),
    [
        ("boolean", "true", "boolean"),
        ("double precision", "1.5", "number"),
        ("numeric(8,2)", "1.50", "number"),
        ("time", "10:00", "time"),
        ("timestamptz", "1980-01-01T00:00:00Z", "timestamp"),
        ("uuid", "00000000-0000-0000-0000-000000000001", "string"),
        ("interval", "1 day", "string"),
        ("char(3)", "abc", "string"),
        ("bigint", "7", "integer"),
    ],
)
@pytest.mark.parametrize("beside", ["text", "interval"])
def test_what_is_there_is_counted_with_what_comes(
    world: World, column_type: str, value: str, kind: str, beside: str
) -> None:
    """Whatever the type, and also where another column makes the rows travel as text."""
    world.execute(f"CREATE TABLE crm.x (n {column_type}, other {beside})")
    world.execute(f"INSERT INTO crm.x VALUES ('{value.strip()}', '1 day'), ('{value}', '1 day')")
    done = load(world, f"n,other\n{value},1 day\n", required(quasi_identifiers=["n"]), _two(kind))
    assert done.anonymity is not None
    assert (done.anonymity.k, done.anonymity.classes) == (3, 1)


def _two(kind: str) -> Mapping[str, Any]:
    return {"n": {"method": "none", "type": kind}, "other": "none"}


def test_a_number_that_no_load_can_bring_is_told_of_without_it(world: World) -> None:
    world.execute("CREATE TABLE crm.x (n numeric(8,2)); INSERT INTO crm.x VALUES ('NaN'), ('NaN')")
    columns = {"n": {"method": "none", "type": "number"}}
    with pytest.raises(StoreError, match="column 'n' holds a value that is none of those a load can bring"):
        load(world, "n\n1.5\n", required(quasi_identifiers=["n"]), columns)


def test_what_is_no_number_is_in_no_bin(world: World) -> None:
    world.execute("CREATE TABLE crm.x (n text)")
    with pytest.raises(ConfigurationError, match="takes numbers, and some values of the column are none"):
        load(world, "n\n1\n2\nNaN\nNaN\n", required(quasi_identifiers={"n": [[5]]}))


def test_a_table_is_not_emptied_for_its_anonymity(world: World) -> None:
    world.execute("CREATE TABLE crm.x (n text); INSERT INTO crm.x VALUES ('old')")
    with pytest.raises(ContractError, match="all 3 rows would have to be left out, and nothing be loaded"):
        load(world, "n\na\nb\nc\n", required(quasi_identifiers=["n"], max_suppressed=10), mode="replace")
    assert world.query("SELECT * FROM crm.x") == [("old",)]


def test_a_share_is_meant_as_it_is_written(world: World) -> None:
    world.execute("CREATE TABLE crm.x (n text)")
    rows = [str(number) for number in range(29)] + ["a"] * 71
    need = required(quasi_identifiers=["n"], max_suppressed=0.29)
    assert load(world, "\n".join(["n", *rows]), need).rows == 71


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"sensitive": 5, "l_diversity": 2}, "sensitive is no list of columns"),
        ({"sensitive": [1], "l_diversity": 2}, "sensitive is no list of columns"),
        ({"quasi_identifiers": [["n"]]}, "quasi_identifiers is no list of columns"),
        ({"quasi_identifiers": {1: ["any"], "a": []}}, "quasi_identifiers is no mapping of columns to steps"),
        ({"quasi_identifiers": {"n": [3, 5]}}, "step 5 is not coarser than 3"),
        ({"quasi_identifiers": {"n": [3, 3]}}, "step 3 is not coarser than 3"),
        ({"quasi_identifiers": {"n": ["decade", "year"]}}, "step 'year' is not coarser than 'decade'"),
        ({"quasi_identifiers": {"n": [[1, 2], [3]]}}, "step [3] is not coarser than [1, 2]"),
        ({"quasi_identifiers": {"n": [[float("nan")]]}}, "a list of rising edges"),
        ({"quasi_identifiers": {"n": [[float("inf")]]}}, "a list of rising edges"),
    ],
)
def test_bad_requirements(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        required(**{"quasi_identifiers": ["n"], **given})
    assert says in str(caught.value)


def test_an_upsert_is_refused_before_anything_is_read(world: World) -> None:
    world.execute("CREATE TABLE crm.x (n text UNIQUE)")
    with pytest.raises(ConfigurationError, match="goes with mode='append' and mode='replace'"):
        load(
            world,
            "s3://lake/in/nothing-is-here.csv",
            required(quasi_identifiers=["n"]),
            mode="upsert",
            target={"key_columns": ["n"]},
        )


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_classes_span_objects_and_batches(world: World, kind: str) -> None:
    """What is rare in each object may be frequent in all of them, and the other way round."""
    world.execute("CREATE TABLE crm.x (n text, s text)")
    prefix = f"many/{secrets.token_hex(4)}/"
    bodies = [["a", "b", "ax"], ["a", "c", None], ["b", "a", None, "ay"]]
    for number, values in enumerate(bodies):
        table = pa.table({"n": pa.array(values).dictionary_encode(), "s": ["x"] * len(values)})
        content = encoded(table, kind)
        world.lake.s3.put_object(
            Bucket="lake", Key=f"{prefix}{number}.{kind}", Body=world.lake.encrypt(content).data
        )
    source = S3Objects(world.source(f"s3://lake/{prefix}"))
    need = required(quasi_identifiers=["n"], max_suppressed=3, k=2)
    done = world.load(
        source, {"n": "none", "s": "none"}, "crm.x", mode="replace", options=world.options(require=need)
    )
    assert done.anonymity is not None
    assert (done.anonymity.k, done.anonymity.suppressed) == (2, 3)
    assert world.query("SELECT n, count(*) FROM crm.x GROUP BY 1 ORDER BY 1") == [
        ("a", 3),
        ("b", 2),
        (None, 2),
    ]


def encoded(table: pa.Table, kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == "parquet":
        parquet.write_table(table, sink)
    elif kind == "jsonl":
        sink.write("".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode())
    else:
        sink.write(as_csv([tuple(row.values()) for row in table.to_pylist()], table.column_names))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("column_type", "one", "other", "kind"),
    [
        ("numeric", "1", "1.0", "number"),
        ("char(4)", "f", "f ", "string"),
        ("citext", "Flu", "flu", "string"),
        ("double precision", "0.0", "-0.0", "number"),
        ("interval", "1 day", "24:00:00", "string"),
        ("inet", "10.0.0.1", "10.0.0.1/32", "string"),
        ("jsonb", '{""a"": 1, ""b"": 2}', '{""b"": 2, ""a"": 1}', "string"),
    ],
)
def test_values_that_postgresql_takes_for_one_are_no_diversity(
    world: World, column_type: str, one: str, other: str, kind: str
) -> None:
    world.execute(
        f"CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; CREATE TABLE crm.x (n text, s {column_type})"
    )
    need = required(quasi_identifiers=["n"], sensitive="s", l_diversity=2)
    columns = {"n": "none", "s": {"method": "none", "type": kind}}
    with pytest.raises(StoreUnavailable, match="takes values for equal that the source writes differently"):
        load(world, f'n,s\na,"{one}"\na,"{other}"\n', need, columns, mode="replace")
    assert world.query("SELECT * FROM crm.x") == []

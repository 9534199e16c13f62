"""Upsert: rows whose key is there change it, all others are added, and what can't be told apart is refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_secure_provider.errors import ConfigurationError, ContractError, LoadError, SecureProviderError
from airflow_secure_provider.reports import TransferReport

from .test_reprotection import move
from .test_rotation import rotated
from .world import CANARY, World, as_csv, in_background

HEADER = ("email", "name", "score")
COLUMNS: dict[str, Any] = {
    "email": {"method": "tokenize", "domain": "person-email", "classification": "restricted"},
    "name": {"method": "encrypt", "scope": "name", "domain": "name"},
    "score": {"method": "none", "type": "integer"},
}


@pytest.fixture
def scores(world: World) -> World:
    world.execute(
        "CREATE TABLE crm.scores (id bigint GENERATED ALWAYS AS IDENTITY, email text NOT NULL UNIQUE, name bytea, "
        "score int, seen date NOT NULL DEFAULT '2026-01-01')"
    )
    return world


def upsert(
    world: World, rows: Any, columns: Any = COLUMNS, keys: Any = ("email",), **settings: Any
) -> TransferReport:
    body = world.lake.encrypt(as_csv(rows, HEADER)).data
    target = {"key_columns": keys, **settings.pop("target", {})}
    return world.load(body, columns, "crm.scores", mode="upsert", target=target, **settings)


def person(number: int, score: int | None = None) -> tuple[str | None, ...]:
    return (f"{CANARY}{number}@x.org", f"{CANARY} {number}", str(number if score is None else score))


def test_new_rows_are_added_and_known_ones_change(scores: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="airflow_secure_provider")
    assert upsert(scores, map(person, range(10))).rows == 10
    before = dict(scores.query("SELECT email, id FROM crm.scores"))
    assert upsert(scores, [person(number, 100) for number in range(5, 15)]).rows == 10
    assert "5 rows are new, and 5 have changed others" in caplog.text
    assert scores.query("SELECT count(*), sum(score) FROM crm.scores") == [(15, 1010)]
    after = dict(scores.query("SELECT email, id FROM crm.scores"))
    assert before.items() <= after.items()
    assert scores.query("SELECT DISTINCT seen::text FROM crm.scores") == [("2026-01-01",)]


def test_the_same_object_is_taken_once(scores: World) -> None:
    uri = scores.lake.put(scores.lake.encrypt(as_csv(map(person, range(3)), HEADER)).data)
    target = {"key_columns": ["email"]}
    first, second = (scores.load(uri, COLUMNS, "crm.scores", mode="upsert", target=target) for _ in range(2))
    assert (first.already_loaded, second.already_loaded) == (False, True)


def test_before_and_after_a_rotation(scores: World) -> None:
    old = scores.lake.keyset
    new = rotated(old)
    upsert(scores, map(person, range(10)), options=scores.options(keyset=old))
    upsert(scores, [person(number, 50) for number in range(5)], options=scores.options(keyset=new))
    assert scores.query("SELECT count(*) FROM crm.scores") == [(10,)]
    move(scores, new)
    upsert(scores, [person(number, 60) for number in range(3, 12)], options=scores.options(keyset=new))
    assert scores.query("SELECT count(*), count(*) FILTER (WHERE score = 60) FROM crm.scores") == [(12, 9)]


def test_two_keys_and_nothing_else(scores: World) -> None:
    scores.execute("CREATE UNIQUE INDEX ON crm.scores (score, email)")
    columns = {**COLUMNS, "name": "drop"}
    for _ in range(2):
        upsert(
            scores,
            [*map(person, range(3)), person(len(scores.query("SELECT 1")) + 2)],
            columns,
            ["email", "score"],
        )
    assert scores.query("SELECT count(*) FROM crm.scores") == [(4,)]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([person(1), person(2), person(1, 7)], r"1 keys \('email'\) stand twice or more in the source"),
        ([person(1), (None, "x", "1")], r"1 rows of the source have no key"),
    ],
)
def test_rows_that_nobody_can_tell_apart(scores: World, rows: Any, says: str) -> None:
    upsert(scores, map(person, range(3)))
    before = scores.state("crm.scores")
    with pytest.raises(LoadError, match=says) as caught:
        upsert(scores, rows)
    assert CANARY not in str(caught.value)
    assert scores.state("crm.scores") == before


ENCRYPTED = {**COLUMNS, "email": {"method": "encrypt", "classification": "restricted"}}


@pytest.mark.parametrize(
    ("columns", "keys", "kind", "says"),
    [
        (COLUMNS, (), ConfigurationError, "mode='upsert' takes key_columns="),
        (COLUMNS, "email", ConfigurationError, "a list of the columns"),
        (COLUMNS, ["name"], ContractError, "key column 'name' is encrypt, by which no row is known again"),
        (ENCRYPTED, ["email"], ContractError, "key column 'email' is encrypt"),
        (COLUMNS, ["id"], ContractError, "key column 'id' is not loaded"),
        (COLUMNS, ["score"], ContractError, 'CREATE UNIQUE INDEX ON "crm"."scores" ("score")'),
        (COLUMNS, ["email", "score"], ContractError, "no unique index on just 'email', 'score'"),
        (COLUMNS, ["email", "email"], ContractError, "stands twice"),
    ],
)
def test_keys_that_are_none(
    scores: World, columns: Any, keys: Any, kind: type[SecureProviderError], says: str
) -> None:
    before = scores.state("crm.scores")
    with pytest.raises(kind) as caught:
        upsert(scores, map(person, range(3)), columns, keys)
    assert says in str(caught.value)
    assert scores.state("crm.scores") == before


@pytest.mark.parametrize(
    "index",
    ["(score) WHERE score > 0", "((score + 1))", "(score) INCLUDE (email)"],
)
def test_indexes_of_other_kinds(scores: World, index: str) -> None:
    scores.execute(f"CREATE UNIQUE INDEX ON crm.scores {index}")
    if "INCLUDE" in index:
        assert upsert(scores, map(person, range(3)), keys=["score"]).rows == 3
        return
    with pytest.raises(ContractError, match="no unique index on just 'score'"):
        upsert(scores, map(person, range(3)), keys=["score"])


def test_other_modes_take_no_keys(scores: World) -> None:
    with pytest.raises(ConfigurationError, match="and no other mode does"):
        scores.load(b"", COLUMNS, "crm.scores", target={"key_columns": ["email"]})


def test_two_at_once_end_in_one_of_both_orders(scores: World) -> None:
    upsert(scores, map(person, range(200)))
    results = in_background(
        *(
            lambda score=score: upsert(scores, [person(number, score) for number in range(150, 400)])  # type: ignore[misc]
            for score in (1_000, 2_000)
        )
    )
    assert all(isinstance(each, TransferReport) for each in results), results
    found = scores.query("SELECT score, count(*) FROM crm.scores WHERE score >= 1000 GROUP BY 1")
    assert found in ([(1_000, 250)], [(2_000, 250)])
    assert scores.query("SELECT count(*) FROM crm.scores") == [(400,)]

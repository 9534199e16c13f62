"""Columns that are called public or internal and look like personal data: a warning, or a refusal before the commit."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from airflow_secure_provider.errors import ConfigurationError, ContractError

from .world import CANARY, World

TABLE = "crm.shared"
MADE = f"CREATE TABLE {TABLE} (id int, contact text, remark text)"
COLUMNS = {"id": "none", "contact": "none", "remark": "none"}


def rows(count: int, contact: str) -> bytes:
    lines = [f"{number},{contact.format(number)},r{number}" for number in range(count)]
    return ("id,contact,remark\n" + "\n".join(lines) + "\n").encode()


MAILS = CANARY + ".{}@example.com"


@pytest.fixture
def shared(world: World, caplog: pytest.LogCaptureFixture) -> World:
    caplog.set_level(logging.DEBUG, logger="airflow_secure_provider")
    world.execute(MADE)
    return world


def load(world: World, body: bytes, columns: Any = COLUMNS, action: str = "warn") -> Any:
    message = world.lake.encrypt(body).data
    options = replace(world.options(), on_suspected_pii=action)
    return world.load(message, columns, TABLE, options=options)


def test_a_warning_in_log_and_report(shared: World, caplog: pytest.LogCaptureFixture) -> None:
    report = load(shared, rows(500, MAILS))
    (warning,) = report.warnings
    assert (
        "column 'contact' is internal and unprotected, and looks like email (e-mail address in 100.0 % of 500"
        in warning
    )
    assert warning in caplog.text
    assert CANARY not in caplog.text
    assert report.rows == 500


def test_a_refusal_leaves_the_target_as_it_was(shared: World) -> None:
    before = shared.state(TABLE)
    with pytest.raises(ContractError, match="column 'contact' is internal and unprotected") as refused:
        load(shared, rows(500, MAILS), action="refuse")
    assert CANARY not in str(refused.value)
    assert shared.state(TABLE) == before


def test_a_refusal_of_what_only_later_batches_hold(shared: World) -> None:
    """The first batch has no values at all."""
    head = "id,contact,remark\n" + "1,,\n" * 1_200_000  # over one block of the reader
    body = head.encode() + rows(700_000, MAILS).partition(b"\n")[2]
    before = shared.state(TABLE)
    with pytest.raises(ContractError, match="looks like email"):
        load(shared, body, action="refuse")
    assert shared.state(TABLE) == before


@pytest.mark.parametrize(
    ("columns", "action"),
    [
        (COLUMNS, "ignore"),
        (COLUMNS | {"contact": {"method": "none", "classification": "confidential"}}, "refuse"),
        (COLUMNS | {"contact": {"method": "redact"}}, "refuse"),
    ],
)
def test_nothing_to_say(shared: World, columns: Any, action: str) -> None:
    assert load(shared, rows(100, MAILS), columns, action).warnings == ()


@pytest.mark.parametrize("contact", ["ORD-{:08d}", "{}", "2024-01-01 10:00:00", "open"])
def test_nothing_personal(shared: World, contact: str) -> None:
    assert load(shared, rows(400, contact), action="refuse").rows == 400


def test_an_unknown_word_is_refused(shared: World) -> None:
    with pytest.raises(
        ConfigurationError, match="on_suspected_pii 'maybe', expected one of warn, refuse, ignore"
    ):
        load(shared, rows(1, "x"), action="maybe")

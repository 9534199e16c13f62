"""Loads before and after a rotation: what joins, what is under which version, and when a version may go."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_secure_provider.crypto import keyset as keysets
from airflow_secure_provider.crypto.keyset import Keyset, KeysetDocument
from airflow_secure_provider.errors import ConfigurationError, ContractError
from airflow_secure_provider.keyrings.local import create_key_file
from airflow_secure_provider.keyrings.opening import wrapper_for
from airflow_secure_provider.stores.usage import count_uses

from .world import World, as_csv

COLUMNS: dict[str, Any] = {
    "id": "none",
    "email": {"method": "tokenize", "domain": "person-email", "classification": "restricted"},
    "card": {"method": "fpe", "domain": "card", "classification": "restricted"},
    "notes": {"method": "encrypt", "scope": "notes", "domain": "notes"},
}
HEADER = tuple(COLUMNS)


def rotated(keys: Keyset) -> Keyset:
    return Keyset(
        keys.id,
        keys.provider,
        keys.key_id,
        keys.newest + 1,
        {**keys._keys, keys.newest + 1: secrets.token_bytes(64)},
    )


def rows(count: int, first: int = 1) -> list[tuple[str, ...]]:
    return [
        (str(number), f"p{number % 10}@example.com", f"4111{number:08d}", f"note {number}")
        for number in range(first, first + count)
    ]


def load(world: World, table: str, keys: Keyset, first: int = 1, **settings: Any) -> Any:
    world.execute(f"CREATE TABLE IF NOT EXISTS crm.{table} (id bigint, email text, card text, notes bytea)")
    return world.load(
        world.lake.encrypt(as_csv(rows(10, first), HEADER)).data, COLUMNS, f"crm.{table}",
        options=world.options(keyset=keys), **settings,
    )  # fmt: skip


def versions(world: World, table: str) -> dict[str, int]:
    return dict(
        world.query(
            "SELECT column_name, key_version FROM secure_provider.column_state "
            f"WHERE target = 'crm.{table}' AND key_version IS NOT NULL"
        )
    )


def test_deterministic_values_keep_their_version_and_join(world: World) -> None:
    old = world.lake.keyset
    load(world, "people", old)
    new = rotated(old)
    load(world, "people", new, first=11)  # more rows of the same table
    load(world, "orders", new)  # a new table of the same domains

    assert versions(world, "people") == {"email": 1, "card": 1, "notes": 2}
    assert versions(world, "orders") == {"email": 1, "card": 1, "notes": 2}
    assert world.query("SELECT count(*) FROM crm.people p JOIN crm.orders o USING (email)") == [(20,)]
    assert world.query("SELECT count(DISTINCT substring(notes FOR 5)) FROM crm.people") == [(2,)]


def test_a_domain_that_nothing_holds_begins_with_the_newest(world: World) -> None:
    load(world, "people", rotated(world.lake.keyset))
    assert versions(world, "people") == {"email": 2, "card": 2, "notes": 2}


def test_the_only_table_of_a_domain_moves_on_with_a_replace(world: World) -> None:
    load(world, "people", world.lake.keyset)
    load(world, "people", rotated(world.lake.keyset), mode="replace")
    assert versions(world, "people") == {"email": 2, "card": 2, "notes": 2}


def test_with_another_table_in_the_domain_a_replace_keeps_the_version(world: World) -> None:
    new = rotated(world.lake.keyset)
    load(world, "people", world.lake.keyset)
    load(world, "orders", world.lake.keyset)
    load(world, "people", new, mode="replace")
    assert versions(world, "people") == {"email": 1, "card": 1, "notes": 2}


def test_a_domain_under_two_versions_is_refused(world: World) -> None:
    load(world, "people", world.lake.keyset)
    load(world, "orders", world.lake.keyset)
    world.execute(
        "UPDATE secure_provider.column_state SET key_version = 2 WHERE target = 'crm.orders' AND column_name = 'email'"
    )
    with pytest.raises(ContractError, match=r"domain 'person-email' \(tokenize\) stands under key version"):
        load(world, "more", rotated(world.lake.keyset))


def test_revealed_across_versions(world: World) -> None:
    old = world.lake.keyset
    new = rotated(old)
    load(world, "people", old)
    load(world, "people", new, first=11)
    world.execute("CREATE TABLE crm.open (id bigint, notes text)")
    columns = {
        name: {"method": "drop", **({"classification": "restricted"} if name in ("email", "card") else {})}
        for name in HEADER
    }
    columns |= {"id": {"method": "none"}, "notes": {"method": "none"}}
    world.load(
        world.table_source("crm.people"),
        columns,
        "crm.open",
        mode="replace",
        options=world.options(reveal_with=new, purpose="a test"),
    )
    assert world.query("SELECT count(*) FROM crm.open WHERE notes = 'note ' || id") == [(20,)]


def test_uses_are_counted(world: World) -> None:
    old = world.lake.keyset
    new = rotated(old)
    load(world, "people", old)
    load(world, "people", new, first=11)
    with world.database.connect() as connection:
        assert count_uses(connection, "customers", 1) == {
            "crm.people.email": 20, "crm.people.card": 20, "crm.people.notes": 10,
        }  # fmt: skip
        assert count_uses(connection, "customers", 2) == {"crm.people.notes": 10}
        assert count_uses(connection, "another", 1) == {}
    world.execute("ALTER TABLE crm.people ALTER notes TYPE text USING encode(notes, 'base64')")
    with world.database.connect() as connection:
        assert count_uses(connection, "customers", 2) == {"crm.people.notes": 10}


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DROP TABLE crm.people", "is recorded in secure_provider.column_state and not there"),
        (
            "ALTER TABLE crm.people RENAME TO persons",
            "is recorded in secure_provider.column_state and not there",
        ),
        ("DROP TABLE secure_provider.column_state", "has no secure_provider.column_state"),
    ],
)
def test_what_can_not_be_counted_is_not_taken_for_unused(world: World, statement: str, says: str) -> None:
    load(world, "people", world.lake.keyset)
    world.execute(statement)
    with world.database.connect() as connection, pytest.raises(ConfigurationError, match=says):
        count_uses(connection, "customers", 1)


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "airflow_secure_provider", "keys", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "customers.json"
    path.write_text(keysets.create("customers", create_key_file(path.with_suffix(".key"))).to_json())
    return path


def opened(path: Path) -> Keyset:
    document = KeysetDocument.from_json(path.read_bytes(), str(path))
    return keysets.unwrap(document, wrapper_for(document, str(path), lambda arn: None))


def test_rotate_and_retire_on_the_command_line(world: World, local: Path) -> None:
    load(world, "people", opened(local))
    done = run("rotate", local)
    assert done.returncode == 0, done.stderr
    assert "has version 2 now" in done.stdout
    assert opened(local).versions == (1, 2)

    before = local.read_bytes()
    refused = run("retire", local, 1, "--database", world.database.conninfo())
    assert refused.returncode == 1
    assert (
        "version 1 of keyset 'customers' is still in use: 10 in crm.people.card, 10 in crm.people.email"
        in refused.stderr
    )
    assert local.read_bytes() == before
    assert "newest" in run("retire", local, 2, "--unchecked").stderr

    load(world, "people", opened(local), mode="replace")
    retired = run("retire", local, 1, "--database", world.database.conninfo())
    assert retired.returncode == 0, retired.stderr
    assert [each["version"] for each in json.loads(local.read_text())["keys"]] == [2]
    assert {each.suffix for each in local.parent.iterdir()} == {".json", ".key"}


def test_retire_wants_to_know(local: Path) -> None:
    run("rotate", local)
    assert run("retire", local, 1).returncode == 2
    assert run("retire", local, 1, "--unchecked", "--database", "x").returncode == 2
    assert run("retire", local, 1, "--unchecked").returncode == 0


def test_a_database_that_does_not_answer(local: Path) -> None:
    run("rotate", local)
    before = local.read_bytes()
    done = run("retire", local, 1, "--database", "host=127.0.0.1 port=1 dbname=x password=Zq7secret")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Zq7secret" not in done.stderr
    assert local.read_bytes() == before

"""What a folder of contracts says of datasets by their OpenLineage names."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_secure_provider.contract.registry import Registry
from airflow_secure_provider.errors import ConfigurationError

DB = "postgres://db.example.com:5432"


def contract(*schema: dict[str, Any], servers: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "c",
        "version": "1.0.0",
        "status": "active",
        "schema": list(schema),
        **({"servers": servers} if servers else {}),
    }


def table(name: str, physical: str | None = None, **classes: str) -> dict[str, Any]:
    return {
        "name": name,
        **({"physicalName": physical} if physical else {}),
        "properties": [{"name": column, "classification": each} for column, each in classes.items()],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "contracts"
    (made / "deep").mkdir(parents=True)
    return made


def put(folder: Path, name: str, body: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(body) if not isinstance(body, str) else body)
    return path


def test_tables_and_objects(folder: Path) -> None:
    put(
        folder,
        "a.odcs.yaml",
        contract(
            table("people", "crm.people", email="restricted", id="internal"), table("orders", total="public")
        ),
    )
    put(
        folder / "deep",
        "b.yml",
        contract(
            table("raw", "s3://lake/in/", email="restricted"), table("one", "s3://lake/x.csv", x="internal")
        ),
    )
    put(folder, "c.json", json.dumps(contract(table("j", "crm.j", a="confidential"))))
    known = Registry.read(folder)
    assert known.classes(DB, "shop.crm.people") == {"email": "restricted", "id": "internal"}
    assert known.classes(DB, "shop.public.orders") == {"total": "public"}
    assert known.classes("s3://lake", "in/2026/people.csv") == {"email": "restricted"}
    assert known.classes("s3://lake", "x.csv") == {"x": "internal"}
    assert known.classes(DB, "shop.crm.j") == {"a": "confidential"}
    for namespace, name in (
        (DB, "shop.crm.other"),
        (DB, "people"),
        ("s3://other", "x.csv"),
        ("s3://lake", "inner/x"),
        ("mysql://h:1", "shop.crm.people"),
    ):
        assert known.classes(namespace, name) == {}


def test_a_contract_that_names_its_server_is_of_no_other(folder: Path) -> None:
    server = {
        "server": "m",
        "type": "postgres",
        "host": "db.example.com",
        "database": "shop",
        "schema": "crm",
    }
    put(folder, "a.yaml", contract(table("t", "crm.t", a="restricted"), servers=[server]))
    known = Registry.read(folder)
    assert known.classes(DB, "shop.crm.t") == {"a": "restricted"}
    assert known.classes(DB, "test.crm.t") == {}
    assert known.classes("postgres://else:5432", "shop.crm.t") == {}


def test_of_two_the_strictest_counts(folder: Path) -> None:
    put(folder, "a.yaml", contract(table("t", "crm.t", a="internal", b="restricted")))
    put(folder, "b.yaml", contract(table("t", "crm.t", a="confidential", b="public")))
    assert Registry.read(folder).classes(DB, "x.crm.t") == {"a": "confidential", "b": "restricted"}


@pytest.mark.parametrize(
    "broken",
    [
        "a: [",
        "kind: DataContract\nschema: 3",
        yaml.safe_dump(contract(table("t", "crm.t", a="secret"))),
        "kind: DataContract\nschema: [{}]",
    ],
)
def test_what_can_not_be_read_is_told_and_the_others_count(
    folder: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, "a.yaml", broken)
    put(folder, "b.yaml", contract(table("t", "crm.t", a="internal")))
    with caplog.at_level(logging.WARNING):
        assert Registry.read(folder).classes(DB, "x.crm.t") == {"a": "internal"}
    assert "a.yaml can't be read" in caplog.text


def test_other_files_are_no_contracts(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(folder, "mkdocs.yml", "site_name: x")
    put(folder, "list.yaml", "- 1")
    put(folder, "notes.txt", "kind: DataContract")
    assert Registry.read(folder).classes(DB, "x.crm.t") == {}
    assert caplog.text == ""


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no folder"):
        Registry.read(tmp_path / "gone")


def test_the_cache_is_used_and_follows_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache.json"
    file = put(folder, "a.yaml", contract(table("t", "crm.t", a="internal")))
    assert Registry.read(folder, cache).classes(DB, "x.crm.t") == {"a": "internal"}
    assert cache.stat().st_mode & 0o777 == 0o600
    with monkeypatch.context() as patch:  # a second process parses nothing
        patch.setattr(yaml, "load", None)
        assert Registry.read(folder, cache).classes(DB, "x.crm.t") == {"a": "internal"}
    put(folder, "a.yaml", contract(table("t", "crm.t", a="restricted")))
    os.utime(file, ns=(1, 1))
    assert Registry.read(folder, cache).classes(DB, "x.crm.t") == {"a": "restricted"}
    put(folder, "b.yaml", contract(table("u", "crm.u", a="public")))
    assert Registry.read(folder, cache).classes(DB, "x.crm.u") == {"a": "public"}
    cache.write_text("{}")
    assert Registry.read(folder, cache).classes(DB, "x.crm.u") == {"a": "public"}
    file.unlink()
    assert Registry.read(folder, cache).classes(DB, "x.crm.t") == {}


def test_a_cache_that_can_not_be_written_is_none(folder: Path) -> None:
    put(folder, "a.yaml", contract(table("t", "crm.t", a="internal")))
    assert Registry.read(folder, folder / "gone" / "cache").classes(DB, "x.crm.t") == {"a": "internal"}


def test_the_schema_of_a_server_is_that_of_a_bare_name(folder: Path) -> None:
    server = {
        "server": "m",
        "type": "postgres",
        "host": "db.example.com",
        "database": "shop",
        "schema": "crm",
    }
    put(folder, "a.yaml", contract(table("t", None, a="restricted"), servers=[server]))
    known = Registry.read(folder)
    assert known.classes(DB, "shop.crm.t") == {"a": "restricted"}
    assert known.classes(DB, "shop.public.t") == {}


def test_a_contract_of_another_kind_of_server_is_of_no_postgres(folder: Path) -> None:
    server = {"server": "m", "type": "mysql", "host": "db.example.com", "port": 3306, "database": "shop"}
    put(folder, "a.yaml", contract(table("t", "public.t", a="restricted"), servers=[server]))
    assert Registry.read(folder).classes(DB, "shop.public.t") == {}


def test_three_parts_name_the_database(folder: Path) -> None:
    put(folder, "a.yaml", contract(table("t", "shop.crm.t", a="restricted")))
    known = Registry.read(folder)
    assert known.classes(DB, "shop.crm.t") == {"a": "restricted"}
    assert known.classes(DB, "test.crm.t") == {}


def test_a_folder_is_found_by_its_own_name(folder: Path) -> None:
    put(folder, "a.yaml", contract(table("t", "s3://lake/in/", a="restricted")))
    known = Registry.read(folder)
    assert known.classes("s3://lake", "in/") == known.classes("s3://lake", "in") == {"a": "restricted"}
    assert known.classes("s3://lake", "inner") == {}


def test_what_is_broken_is_told_in_every_process(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = put(
        folder,
        "a.yaml",
        "kind: DataContract\nschema: [{name: t, properties: [{name: a, classification: null}]}]",
    )
    for _ in range(2):
        caplog.clear()
        assert Registry.read(folder, tmp_path / "cache").broken == (str(file),)
        assert "a.yaml can't be read" in caplog.text


def test_a_folder_that_can_not_be_entered(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigurationError):
        Registry.read(file / "below")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("crm.people", True),
        ("CRM.People", True),
        ('"crm"."people"', True),
        ("people", True),  # of some schema
        ("warehouse.crm.people", True),
        ("analytics.people", False),
        ("crm.people_archive", False),
        ("s3://lake/people/2026.csv", True),
        ("s3://lake/people/", True),
        ("s3://lake/people", False),
        ("s3://lake/", True),  # all of it
        ("s3://lake/peo\0.csv", True),  # maybe
        ("s3://lake/orders/\0.csv", False),
        ("s3://lake/exact.csv", True),
        ("s3://lake/exact.csv.gz", False),
        ("s3://other/people/2026.csv", False),
    ],
)
def test_what_may_be_a_dataset_of_which_only_the_name_is_known(
    tmp_path: Path, name: str, found: bool
) -> None:
    schema = [
        table("people", "crm.people", email="restricted"),
        table("landed", "s3://lake/people/", email="restricted"),
        table("exact", "s3://lake/exact.csv", email="restricted"),
    ]
    servers = [{"server": "a", "type": "postgres", "host": "db.example.com", "database": "crm"}]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(contract(*schema, servers=servers)))
    told = Registry.read(tmp_path).named(name)
    assert (told is not None and told["email"].value == "restricted") is found


def test_a_contract_without_classes_describes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(contract(table("people", "crm.people"))))
    registry = Registry.read(tmp_path)
    assert registry.named("crm.people") == {}
    assert registry.named("crm.orders") is None


def test_a_folder_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As operators, lineage, the policy and the command all read one option."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "contracts"
    folder.mkdir()
    (folder / "people.yaml").write_text("{")
    assert Registry.read(Path("~/contracts")).broken == (str(folder / "people.yaml"),)
    with pytest.raises(ConfigurationError, match="names a home that is not there"):
        Registry.read(Path("~nobody-of-this-name/contracts"))

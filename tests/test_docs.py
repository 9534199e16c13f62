"""The examples of docs/formats are what the package makes; that of a program works."""

from __future__ import annotations

import base64
import datetime
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from airflow_secure_provider.contract.policy_document import from_document
from airflow_secure_provider.contract.rules import column_rule
from airflow_secure_provider.crypto.cmac import Cmac
from airflow_secure_provider.crypto.keyset import Keyset, create
from airflow_secure_provider.crypto.ragged import Ragged
from airflow_secure_provider.crypto.siv import Siv
from airflow_secure_provider.keyrings.local import create_key_file
from airflow_secure_provider.model import Classification, Protection
from airflow_secure_provider.protection.binding import bindings
from airflow_secure_provider.protection.plan import keyed, reversible
from airflow_secure_provider.stores.object_state import COLUMNS, read_state
from sandbox.environment import REPOSITORY

FORMATS = Path(__file__).parent.parent / "docs" / "formats"
VALUES, CELLS = ((FORMATS / name).read_text() for name in ("values.md", "cells.md"))
KEYS = Keyset("example", "local", "local:example", 1, {1: bytes(range(64))})


def protected(
    value: Any, protection: dict[str, Any], kind: str = "string", beside: tuple[Any, ...] = ()
) -> Any:
    rule = column_rule("x", "confidential", protection, contract_id="example", logical_type=kind)
    made = keyed(rule, KEYS)
    assert made is not None
    (one,) = made.protect(pa.array([value]), beside).to_pylist()
    return one


@pytest.mark.parametrize("value", ["4111 1111 1111 1111", "123-45-6789"])
def test_fpe(value: str) -> None:
    stored = protected(value, {"method": "fpe", "domain": "card"})
    assert f"| `{value}` | `{stored}` |" in VALUES
    assert KEYS.derive(1, "card", "fpe")[:32].hex() in VALUES


@pytest.mark.parametrize(
    ("algorithm", "name"), [("aes-cmac", "AES-CMAC      "), ("hmac-sha256", "HMAC-SHA256   ")]
)
def test_pseudonymize(algorithm: str, name: str) -> None:
    rule = {"method": "pseudonymize", "domain": "person", "algorithm": algorithm}
    assert name + protected("ana@example.com", rule).hex() in VALUES


def test_shift_date() -> None:
    rule = {"method": "shift_date", "subject": "patient", "days": 182, "domain": "stay-dates"}
    moved = protected(datetime.date(2024, 2, 29), rule, "date", (pa.array(["ana"]),))
    tag = Cmac(KEYS.derive(1, "stay-dates", "shift_date")[:32]).one(b"ana")
    assert f"begins `{tag[:8].hex()}`" in VALUES
    assert f"2024-02-29\nbecomes {moved}" in VALUES
    assert f"makes −{(datetime.date(2024, 2, 29) - moved).days} days" in VALUES


def test_a_token() -> None:
    cell = protected("ana@example.com", {"method": "tokenize", "domain": "person-email"})
    assert base64.b64encode(cell).decode() in CELLS


@pytest.mark.parametrize("id_", [None, "7"])
def test_an_encrypted_cell(id_: str | None) -> None:
    """Under the nonce of the example; with it the cell is put together by hand, and reveals."""
    scope = "crm-customers/email"
    bound = bindings([pa.array([id_])]).to_pylist()[0] if id_ else b""
    strings = [b"\x02", scope.encode(), scope.encode()]
    nonce = bytes(range(0xA0, 0xB0))
    plain = Ragged.of([b"ana@example.com"])
    out = Ragged.packed(plain.lengths)
    siv = Siv(KEYS.derive(1, scope, "encrypt"), strings)
    tag = siv.seal(plain, out, np.frombuffer(nonce, dtype=np.uint64), Ragged.of([bound])).tobytes()
    (ciphertext,) = out.tolist()
    assert tag.hex() in CELLS
    assert ciphertext.hex() in CELLS
    assert not id_ or bound.hex() in CELLS

    rule = column_rule(
        "email",
        "restricted",
        {"method": "encrypt", **({"bind_to": "id"} if id_ else {})},
        contract_id="crm-customers",
    )
    cell = b"\x02" + (1).to_bytes(4, "big") + nonce + tag + ciphertext
    beside = [pa.array([id_])] if id_ else []
    assert reversible(rule, KEYS).reveal(pa.array([cell]), beside).to_pylist() == ["ana@example.com"]


def blocks(path: str, language: str) -> list[str]:
    parts = (FORMATS.parent / path).read_text().split("```")[1::2]
    return [part.removeprefix(language) for part in parts if part.partition("\n")[0] == language]


def test_metadata_of_objects() -> None:
    (packed,) = blocks("formats/object-metadata.md", "")
    (text,) = blocks("formats/object-metadata.md", "json")
    states = read_state({COLUMNS: "".join(packed.split())}, "it")
    told = [
        [
            *(each.name, each.classification, each.protection, each.domain, each.scope, each.keyset_id),
            *(each.key_version, each.parameters),
        ]
        for each in states.values()
    ]
    assert [1, told] == json.loads(text)


def test_the_class_policy_is_one() -> None:
    (text,) = blocks("formats/class-policy.md", "yaml")
    policy = from_document(text, "docs")
    assert Protection.GENERALIZE in policy.requirements[Classification.RESTRICTED].protections


def test_a_program_without_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the Python API, on a keyset with a local key."""
    (program,) = blocks("reference/api/contracts.md", "python")
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("id,email\n7,ana@example.com\n")
    Path("people.odcs.yaml").write_text(_PEOPLE)
    keyset = create("people", create_key_file(Path("people.keyset.key")))
    Path("people.keyset.json").write_text(keyset.to_json())
    made: dict[str, Any] = {}
    exec(program, made)  # noqa: S102
    assert made["rows"] == 1
    table = pyarrow.parquet.read_table("people.parquet").to_pylist()
    assert [row["id"] for row in table] == [7]
    assert isinstance(table[0]["email"], bytes)
    assert b"ana" not in Path("people.parquet").read_bytes()


_PEOPLE = """
apiVersion: v3.1.0
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, classification: internal}
      - name: email
        logicalType: string
        classification: restricted
        customProperties: [{property: protection, value: tokenize}]
"""


def test_the_usage_of_each_command_is_what_it_prints() -> None:
    from click.testing import CliRunner

    from airflow_secure_provider.cli.main import cli

    shown = re.findall(
        r"```(?:text)?\n(Usage: airflow-secure[^`]*?\n)```",
        (REPOSITORY / "docs/reference/cli.md").read_text(),
    )
    assert len(shown) > 8
    for usage in shown:
        words = usage.splitlines()[0].removeprefix("Usage: airflow-secure").split()
        command = words[: next(n for n, word in enumerate(words) if word.startswith("["))]
        told = (
            CliRunner()
            .invoke(cli, [*command, "--help"], prog_name="airflow-secure", terminal_width=78)
            .output
        )
        assert usage.strip() == told.strip(), command

"""The command line, in processes of its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_secure_provider.stores.ddl import DDL

CONTRACT = """
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
      - name: notes
        logicalType: string
        classification: confidential
        customProperties: [{property: protection, value: encrypt}]
"""


def run(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "airflow_secure_provider", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, cwd=cwd, check=False, timeout=60)


@pytest.fixture
def keyset(tmp_path: Path) -> Path:
    path = tmp_path / "people.keyset.json"
    made = run("keys", "create", path, "--id", "people", "--local")
    assert made.returncode == 0, made.stderr
    return path


def test_create_writes_a_keyset_and_its_key_for_the_owner_only(keyset: Path) -> None:
    key = keyset.with_suffix(".key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    document = json.loads(keyset.read_text())
    assert (document["id"], document["provider"]) == ("people", "local")


def test_create_never_overwrites(keyset: Path) -> None:
    before = keyset.read_bytes()
    again = run("keys", "create", keyset, "--id", "people", "--local")
    assert again.returncode == 2
    assert b"never overwritten" in again.stderr
    assert keyset.read_bytes() == before


def test_create_wants_one_wrapping_key(tmp_path: Path) -> None:
    neither = run("keys", "create", tmp_path / "k.json", "--id", "k")
    assert neither.returncode == 2
    assert b"--kms-key" in neither.stderr
    assert list(tmp_path.iterdir()) == []


def test_show_tells_versions_and_no_key(keyset: Path) -> None:
    shown = run("keys", "show", keyset, "--verify")
    assert shown.returncode == 0
    assert b"version    1" in shown.stdout
    assert b"yes: it unwraps" in shown.stdout
    secret = json.loads(keyset.with_suffix(".key").read_text())["key"].encode()
    wrapped = json.loads(keyset.read_text())["keys"][0]["wrapped"].encode()
    assert secret not in shown.stdout
    assert wrapped not in shown.stdout


def test_show_verify_refuses_a_changed_keyset(keyset: Path) -> None:
    keyset.write_text(keyset.read_text().replace('"created": "2', '"created": "3'))
    shown = run("keys", "show", keyset, "--verify")
    assert shown.returncode == 1
    assert b"does not authenticate" in shown.stderr
    assert b"Traceback" not in shown.stderr


def test_show_as_json(keyset: Path) -> None:
    assert json.loads(run("keys", "show", keyset, "--json").stdout)["versions"][0]["version"] == 1


def protected(keyset: Path, column: str, values: list[str | None]) -> list[str | None]:
    import pyarrow as pa

    from airflow_secure_provider.contract.odcs import from_odcs
    from airflow_secure_provider.keyrings.opening import open_keyset
    from airflow_secure_provider.protection.reversible import ColumnCipher, to_text

    opened = open_keyset(str(keyset), lambda location: Path(location).read_bytes(), lambda arn: None)
    rule = next(rule for rule in from_odcs(CONTRACT, "c").rules if rule.name == column)
    cells: list[str | None] = to_text(ColumnCipher(rule, opened).protect(pa.array(values))).to_pylist()
    return cells


@pytest.fixture
def cells(keyset: Path) -> bytes:
    emails = protected(keyset, "email", ["ana@example.com", "", None])
    notes = protected(keyset, "notes", ['say "ñ"\nyes', None, "x"])
    lines = [
        f"{number},{email or ''},{note or ''}"
        for number, (email, note) in enumerate(zip(emails, notes, strict=True))
    ]
    return ("id,email,notes\n" + "\n".join(lines) + "\n").encode()


EXPECTED = b'"id","email","notes"\n"0","ana@example.com","say ""\xc3\xb1""\nyes"\n"1","",\n"2",,"x"\n'


def test_reveal_gives_values_back(tmp_path: Path, keyset: Path, cells: bytes) -> None:
    contract, source, out = tmp_path / "c.yaml", tmp_path / "cells.csv", tmp_path / "values.csv"
    contract.write_text(CONTRACT)
    source.write_bytes(cells)
    done = run("reveal", source, "--contract", contract, "--keyset", keyset, "-o", out)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == EXPECTED
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    piped = run("reveal", "-", "--contract", contract, "--keyset", keyset, stdin=cells)
    assert piped.stdout == EXPECTED


def test_reveal_takes_the_line_breaks_of_postgresql(tmp_path: Path, keyset: Path) -> None:
    """``encode(cell, 'base64')`` breaks its lines after 76 characters."""
    contract = tmp_path / "c.yaml"
    contract.write_text(CONTRACT)
    value = "a long note, " * 20
    (cell,) = protected(keyset, "notes", [value])
    assert cell is not None
    broken = "\n".join(cell[start : start + 76] for start in range(0, len(cell), 76))
    done = run(
        "reveal", "-", "--contract", contract, "--keyset", keyset, stdin=f'notes\n"{broken}"\n'.encode()
    )
    assert done.stdout.decode() == f'"notes"\n"{value}"\n'


def test_reveal_knows_what_psql_prints_of_bytea(tmp_path: Path, keyset: Path) -> None:
    contract = tmp_path / "c.yaml"
    contract.write_text(CONTRACT)
    cells = b"notes\n\\x0200\n\\x0201\n"
    done = run("reveal", "-", "--contract", contract, "--keyset", keyset, stdin=cells)
    assert done.returncode == 1
    assert b"column 'notes': 2 of 2 values are bytea as psql prints it" in done.stderr
    assert b"select encode(column, 'base64')" in done.stderr


def test_reveal_prints_nothing_if_it_fails(tmp_path: Path, keyset: Path) -> None:
    contract = tmp_path / "c.yaml"
    contract.write_text(CONTRACT)
    done = run("reveal", "-", "--contract", contract, "--keyset", keyset, stdin=b"notes\nplain text\n")
    assert (done.returncode, done.stdout) == (1, b"")


def test_reveal_of_no_rows_prints_the_header(tmp_path: Path, keyset: Path) -> None:
    contract = tmp_path / "c.yaml"
    contract.write_text(CONTRACT)
    done = run("reveal", "-", "--contract", contract, "--keyset", keyset, stdin=b"notes\n")
    assert (done.returncode, done.stdout) == (0, b'"notes"\n')


def test_reveal_of_altered_cells_leaves_no_file_and_no_value(
    tmp_path: Path, keyset: Path, cells: bytes
) -> None:
    contract, source, out = tmp_path / "c.yaml", tmp_path / "cells.csv", tmp_path / "values.csv"
    contract.write_text(CONTRACT)
    source.write_bytes(cells.replace(b"id,email,notes", b"id,notes,email"))  # columns swapped
    done = run("reveal", source, "--contract", contract, "--keyset", keyset, "-o", out)
    assert done.returncode == 1
    assert b"column 'notes'" in done.stderr
    assert b"ana@example.com" not in done.stderr + done.stdout
    assert not out.exists()


def test_reveal_refuses_a_column_that_nobody_classified(tmp_path: Path, keyset: Path) -> None:
    contract = tmp_path / "c.yaml"
    contract.write_text(CONTRACT)
    done = run("reveal", "-", "--contract", contract, "--keyset", keyset, stdin=b"id,phone\n1,2\n")
    assert done.returncode == 1
    assert b"'phone' is not in the contract" in done.stderr


def test_db_init_prints_the_tables_and_grants() -> None:
    printed = run("db", "init", "--grant-to", 'crm "owner"').stdout.decode()
    assert DDL in printed
    assert 'TO "crm ""owner""";' in printed


def test_it_starts_without_airflow() -> None:
    code = "import sys, airflow_secure_provider.cli; print([m for m in ('airflow', 'pyarrow', 'boto3') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=dict(os.environ))
    assert done.stdout.strip() == b"[]"


@pytest.mark.airflow
def test_the_same_as_airflow_secure(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    command = [sys.executable, "-m", "airflow", "secure", "keys", "create", str(path), "--id", "k", "--local"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert path.exists()

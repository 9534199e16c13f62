"""``airflow-secure protect`` and ``reveal`` over files of every format."""

from __future__ import annotations

import json
import random
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

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
      - {name: email, logicalType: string, classification: restricted, customProperties: [{property: protection, value: tokenize}]}
      - {name: ssn, logicalType: string, classification: restricted, customProperties: [{property: protection, value: fpe}]}
      - {name: born, logicalType: date, classification: confidential, customProperties: [{property: protection, value: {method: encrypt, bind_to: id}}]}
      - {name: level, logicalType: integer, classification: confidential, customProperties: [{property: protection, value: encrypt}]}
      - {name: phone, logicalType: string, classification: confidential, customProperties: [{property: protection, value: {method: redact, keep_last: 2}}]}
      - {name: person, logicalType: string, classification: restricted, customProperties: [{property: protection, value: pseudonymize}]}
      - {name: amount, logicalType: number, classification: internal}
      - {name: active, logicalType: boolean, classification: internal}
      - {name: notes, logicalType: string, classification: confidential, customProperties: [{property: protection, value: drop}]}
"""
COLUMNS = ("id", "email", "ssn", "born", "level", "phone", "person", "amount", "active", "notes")
TYPES = (pa.int64(), pa.string(), pa.string(), pa.date32(), pa.int64(), pa.string(), pa.string(), pa.float64(), pa.bool_(), pa.string())  # fmt: skip
CANARY = "Zq7canary"


def table(rows: int = 50) -> Any:
    rng = random.Random(rows)
    columns: list[list[Any]] = [[] for _ in COLUMNS]
    for number in range(rows):
        record = [
            number, f"{CANARY}.{number}@example.com", f"{rng.randrange(10**8, 10**9)}", 3650 + number, number % 7,
            f"079 {number:07d}", f"{CANARY} {number}", number / 4, number % 2 == 0, f'say "{CANARY}",\nnow',
        ]  # fmt: skip
        for at, column in enumerate(columns):
            column.append(None if at and rng.random() < 0.1 else record[at])
    columns[1][0] = columns[2][0] = ""
    arrays = [
        pa.array(values, kind if kind != pa.date32() else pa.int32()).cast(kind)
        for values, kind in zip(columns, TYPES, strict=True)
    ]
    return pa.table(arrays, names=list(COLUMNS))


def write(path: Path, data: Any) -> Path:
    if path.suffix == ".csv":
        csv.write_csv(data, path)
    elif path.suffix == ".parquet":
        parquet.write_table(data, path)
    else:
        path.write_text("".join(json.dumps(row, default=str) + "\n" for row in data.to_pylist()))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Every value as text, to compare across formats."""
    if path.suffix == ".csv":
        kinds = csv.ConvertOptions(
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
            column_types=dict.fromkeys(COLUMNS, pa.string()),
        )
        rows = csv.read_csv(
            path, convert_options=kinds, parse_options=csv.ParseOptions(newlines_in_values=True)
        ).to_pylist()
    elif path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: _text(value) for name, value in row.items()} for row in rows]


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return value if value is None or isinstance(value, bytes) else str(value)


def run(*arguments: Any, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "airflow_secure_provider", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "c.yaml").write_text(CONTRACT)
    done = run("keys", "create", folder / "k.json", "--id", "people", "--local")
    assert done.returncode == 0, done.stderr
    return ["--contract", folder / "c.yaml", "--keyset", folder / "k.json"]


@pytest.mark.parametrize("target", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
def test_protect_and_reveal(tmp_path: Path, keys: list[Any], source: str, target: str) -> None:
    data = table()
    given, hidden, shown = (
        tmp_path / f"{name}.{kind}" for name, kind in (("in", source), ("hidden", target), ("out", source))
    )
    write(given, data)

    protected = run("protect", given, *keys, "-o", hidden)
    assert protected.returncode == 0, protected.stderr
    assert protected.stderr == b"50 rows\n"
    assert stat.S_IMODE(hidden.stat().st_mode) == 0o600
    assert CANARY.encode() not in hidden.read_bytes()
    stored = read(hidden)
    revealed = run("reveal", hidden, *keys, "-o", shown)
    assert revealed.returncode == 0, revealed.stderr

    back, was = read(shown), read(given)
    assert [list(row) for row in back] == [[name for name in COLUMNS if name != "notes"]] * 50
    for name in ("id", "email", "ssn", "born", "level", "amount", "active"):
        assert [row[name] for row in back] == [row[name] for row in was]
    if source == "parquet":
        assert parquet.read_schema(shown).field("born").type == pa.date32()
        assert parquet.read_schema(shown).field("level").type == pa.int64()
    assert [row["phone"] for row in stored] == [
        None if row["phone"] is None else "*" * 9 + row["phone"][-2:] for row in was
    ]
    assert {len(row["person"]) for row in stored if row["person"]} == {16 if target == "parquet" else 24}


def test_tokens_are_the_same_in_every_format(tmp_path: Path, keys: list[Any]) -> None:
    stored = []
    for kind in ("csv", "jsonl"):
        given, hidden = write(tmp_path / f"in.{kind}", table()), tmp_path / f"hidden.{kind}"
        run("protect", given, *keys, "-o", hidden)
        stored.append([[row[name] for name in ("email", "ssn", "person")] for row in read(hidden)])
    assert stored[0] == stored[1]


def test_a_csv_that_is_written_otherwise(tmp_path: Path, keys: list[Any]) -> None:
    """Semicolons and Windows-1252, as spreadsheets in much of Europe write it."""
    values = {"id": "7", "email": "zoë@example.com", "phone": "079 1234567", "person": "Zoë", "amount": "1.5"}
    given, hidden, shown = (tmp_path / name for name in ("in.csv", "hidden.csv", "shown.csv"))
    record = ";".join(values.get(name, "") for name in COLUMNS)
    given.write_bytes(f"{';'.join(COLUMNS)}\n{record}\n".encode("cp1252"))

    assert b"--encoding of commands" in run("protect", given, *keys, "--delimiter", ";").stderr
    done = run("protect", given, *keys, "-o", hidden, "--delimiter", ";", "--encoding", "cp1252")
    assert done.returncode == 0, done.stderr
    assert run("reveal", hidden, *keys, "-o", shown).returncode == 0
    assert read(shown)[0]["email"] == "zoë@example.com"


def test_through_pipes(tmp_path: Path, keys: list[Any]) -> None:
    given = write(tmp_path / "in.csv", table())
    hidden = run("protect", "-", *keys, stdin=given.read_bytes())
    shown = run("reveal", "-", *keys, stdin=hidden.stdout)
    assert shown.returncode == 0, shown.stderr
    (tmp_path / "out.csv").write_bytes(shown.stdout)
    assert [row["email"] for row in read(tmp_path / "out.csv")] == [row["email"] for row in read(given)]
    as_json = run("protect", given, *keys, "--output-format", "jsonl")
    assert len(as_json.stdout.splitlines()) == 50


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_no_rows(tmp_path: Path, keys: list[Any], kind: str) -> None:
    given, hidden = write(tmp_path / f"in.{kind}", table(50).slice(0, 0)), tmp_path / f"hidden.{kind}"
    done = run("protect", given, *keys, "-o", hidden)
    assert (done.returncode, done.stderr) == (0, b"0 rows\n")
    assert read(hidden) == []


@pytest.mark.parametrize("command", ["protect", "reveal"])
def test_a_file_without_header_is_refused_unquoted(tmp_path: Path, keys: list[Any], command: str) -> None:
    (tmp_path / "in.csv").write_bytes(b"7,ana@example.com,123-45-6789\n")
    done = run(command, tmp_path / "in.csv", *keys, "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    assert b"is there a header" in done.stderr
    assert b"ana@" not in done.stderr
    assert b"123-45" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("in.csv", b"id,email\n1,a\n", b"column 'ssn', 'born'"),
        ("in.txt", b"x", b"the ending '.txt' does not tell the format; name it with --format"),
        ("in.jsonl", b'{"id": 1, "phones": "2"}\n', b"'phones' is not classified"),
        ("in.jsonl", b'{"id": 1\n', b"record 1 is not JSON"),
        ("in.jsonl", b"[1]\n", b"record 1 is not a JSON object"),
        ("in.parquet", b"no parquet", b"can't be read as Parquet"),
    ],
)
def test_bad_files(tmp_path: Path, keys: list[Any], name: str, content: bytes, says: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    done = run("protect", tmp_path / name, *keys, "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    assert says in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ssn": f"{CANARY}"}, b"unfit for fpe"),
        ({"born": f"{CANARY}"}, b"column 'born', record 3: the value is not a date"),
        ({"level": f"{CANARY}"}, b"column 'level', record 3: the value is not a whole number"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_bad_values_are_not_told(
    tmp_path: Path, keys: list[Any], change: dict[str, str], says: bytes, kind: str
) -> None:
    rows = [
        {name: None if value is None else _text(value) for name, value in row.items()}
        for row in table(5).to_pylist()
    ]
    rows[2].update(change)
    given = tmp_path / f"in.{kind}"
    if kind == "csv":
        write(given, pa.Table.from_pylist(rows))
    else:
        typed = table(5).to_pylist()
        typed[2].update(change)
        given.write_text("".join(json.dumps(row, default=str) + "\n" for row in typed))
    done = run("protect", given, *keys, "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    if kind == "csv" or "level" not in change:
        assert says in done.stderr
    else:
        assert b"a value is not of the type that the contract says" in done.stderr
    assert CANARY.encode() not in done.stderr + done.stdout
    assert not (tmp_path / "out.csv").exists()


def test_no_keyset(tmp_path: Path, keys: list[Any]) -> None:
    done = run("protect", write(tmp_path / "in.csv", table()), *keys[:2])
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no keyset; set keyset=" in done.stderr


def test_it_protects_without_airflow(tmp_path: Path, keys: list[Any]) -> None:
    given = write(tmp_path / "in.csv", table())
    code = (
        "import sys, airflow_secure_provider.cli as cli\n"
        "try: cli.main(sys.argv[1:])\nexcept SystemExit as end: assert not end.code, end.code\n"
        "print([m for m in ('airflow', 'boto3', 'psycopg', 'hvac') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "protect", str(given), *map(str, keys)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == b"[]"

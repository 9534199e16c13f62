"""``airflow-secure scan``: a contract that loads, questions where it is unsure, and no value in any output."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.errors import ContractError
from airflow_secure_provider.model import Protection

CANARY = "Zq7canary"
PEOPLE = f"""id,email,Vorname,iban,note,level
1,{CANARY}@example.com,{CANARY},DE89370400440532013000,the customer {CANARY} called about it again and again,{CANARY}
2,bo@example.org,Bo,GB29NWBK60161331926819,the customer {CANARY} called about it again and again,{CANARY}
3,c@example.net,Carla,NL91ABNA0417164300,the customer {CANARY} called about it again and again,2
"""


def run(*arguments: str | Path, status: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-m", "airflow_secure_provider", "scan", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    assert CANARY not in done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE)
    return path


def test_a_contract_that_no_load_takes_before_its_author(people: Path) -> None:
    out, err = run(people, status=3)
    with pytest.raises(ContractError, match="columns 'id', 'note', 'level' have no classification"):
        from_odcs(out, "people")
    assert "3 rows; 3 of 6 columns are left to you" in err
    assert "ask     note     free_text" in err


def test_a_contract_with_the_authors_word_loads(people: Path, tmp_path: Path) -> None:
    contract = tmp_path / "people.odcs.yaml"
    run(people, "-o", contract, "--assume", "restricted", "--default", "internal")
    made = from_odcs(contract.read_bytes(), "people")
    assert {rule.name: (str(rule.classification), rule.protection) for rule in made.rules} == {
        "id": ("internal", Protection.NONE),
        "email": ("restricted", Protection.TOKENIZE),
        "Vorname": ("restricted", Protection.ENCRYPT),
        "iban": ("restricted", Protection.TOKENIZE),
        "note": ("restricted", Protection.ENCRYPT),
        "level": ("internal", Protection.NONE),
    }
    assert made.rules[0].logical_type == "integer"
    email = yaml.safe_load(contract.read_text())["schema"][0]["properties"][1]
    assert email["customProperties"][1] == {
        "property": "piiEvidence",
        "value": {
            "verdict": "found",
            "kind": "email",
            "columnName": True,
            "values": [{"kind": "email", "what": "e-mail address", "share": 1.0, "looked": 3}],
        },
    }


def test_formats_say_the_same(people: Path, tmp_path: Path) -> None:
    rows = [
        dict(zip(PEOPLE.splitlines()[0].split(","), line.split(","), strict=True))
        for line in PEOPLE.splitlines()[1:]
    ]
    lines, table = tmp_path / "people.jsonl", tmp_path / "people.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pa.Table.from_pylist(rows), table)
    told: list[Any] = [json.loads(run(path, "--json", status=3)[0]) for path in (people, lines, table)]
    assert told[0] == told[1] == told[2]
    assert told[0]["undecided"] == ["id", "note", "level"]


def test_a_file_without_header(tmp_path: Path) -> None:
    path = tmp_path / "bare.csv"
    path.write_text(f"1;{CANARY}@example.com\n2;b@example.com\n")
    _, err = run(path, "--delimiter", ";", status=1)
    assert "looks like values" in err
    out, _ = run(path, "--delimiter", ";", "--no-header", "--json", status=3)
    assert [(each["name"], each["kind"]) for each in json.loads(out)["columns"]] == [
        ("column_1", None),
        ("column_2", "email"),
    ]
    assert json.loads(out)["rows"] == 2


@pytest.mark.parametrize(("delimiter", "shown"), [(";", "';'"), ("|", "'|'"), ("\t", r"$'\t'")])
def test_another_delimiter_is_asked_for(delimiter: str, shown: str, people: Path) -> None:
    people.write_text(PEOPLE.replace(",", delimiter))
    assert f"--delimiter {shown}" in run(people, status=1)[1]
    assert "3 of 6 columns" in run(people, "--delimiter", delimiter, status=3)[1]


def test_one_column_with_such_a_name(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("a|b\n1\n")
    assert "1 of 1 columns" in run(path, "--delimiter", ",", status=3)[1]


def test_compressed_files(people: Path, tmp_path: Path) -> None:
    plain = run(people, "--json", status=3)[0]
    for name, codec in (("people.csv.gz", "gzip"), ("people.csv.zst", "zstd")):
        packed = pa.compress(PEOPLE.encode(), codec=codec, asbytes=True)
        if codec == "gzip":
            packed = gzip.compress(PEOPLE.encode())
        (tmp_path / name).write_bytes(packed)
        assert run(tmp_path / name, "--json", status=3)[0] == plain
        (tmp_path / name).write_bytes(packed[:-9])
        assert codec in run(tmp_path / name, status=1)[1]
    (tmp_path / "people.parquet.gz").touch()
    assert "unpack" in run(tmp_path / "people.parquet.gz", status=1)[1]


def test_another_encoding(people: Path) -> None:
    people.write_bytes(PEOPLE.replace("Carla", "Zoë").encode("cp1252"))
    assert "--encoding" in run(people, status=1)[1]
    assert "found   Vorname" in run(people, "--encoding", "cp1252", status=3)[1]
    assert "no such encoding" in run(people, "--encoding", "cp1252x", status=1)[1]


def test_a_contract_is_not_overwritten(people: Path, tmp_path: Path) -> None:
    contract = tmp_path / "people.odcs.yaml"
    contract.write_text("mine")
    _, err = run(people, "-o", contract, status=1)
    assert "exists" in err
    assert "found" not in err  # it has not read the file for nothing
    assert contract.read_text() == "mine"


def test_columns_without_names_are_told_by_number(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text(f"id,{CANARY},,{CANARY}\n1,2,3,4\n")
    assert "(numbers 2, 3, 4)" in run(path, status=1)[1]


def test_a_table_takes_a_connection() -> None:
    assert "--conn-id" in run("crm.people", status=2)[1]
    assert "--conn-id" not in run("crm.csv", status=1)[1]


def test_a_connection_that_is_not_there() -> None:
    _, err = run("crm.people", "--conn-id", "crm_x", status=1)
    assert err.endswith("define it in Airflow, or as AIRFLOW_CONN_CRM_X\n")
    assert "Traceback" not in err


def test_the_first_rows_only(people: Path) -> None:
    out, err = run(people, "--rows", "1", "--json", status=3)
    assert json.loads(out)["rows"] == 1
    assert "1 rows (the first ones only)" in err


@pytest.mark.parametrize(
    "content",
    [f"a,b\n{CANARY}\n", f'a,b\n"{CANARY}\n', f"a,b\n\xff{CANARY},2\n", f"{CANARY}@example.com,b\n1,2\n", "", f",a\n{CANARY},1\n"],
)  # fmt: skip
def test_bad_files_are_told_without_their_content(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content.encode("latin-1"))
    run(path, status=1)


def test_from_an_unknown_file_to_a_protected_one(people: Path, tmp_path: Path) -> None:
    contract, keyset, out = (tmp_path / name for name in ("people.odcs.yaml", "k.json", "protected.csv"))
    run(people, "-o", contract, "--assume", "restricted", "--default", "internal")
    program = [sys.executable, "-m", "airflow_secure_provider"]
    subprocess.run([*program, "keys", "create", str(keyset), "--id", "k", "--local"], check=True, timeout=60)
    protect = ["protect", str(people), "--contract", str(contract), "--keyset", str(keyset), "-o", str(out)]
    subprocess.run([*program, *protect], check=True, timeout=60)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert not any("@" in row["email"] for row in rows)
    assert CANARY not in "".join(row["Vorname"] + row["note"] for row in rows)

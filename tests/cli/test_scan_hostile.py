"""``airflow-secure scan`` of files that somebody else has made, who may not mean well."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from airflow_secure_provider.contract.odcs import from_odcs

from .test_scan import CANARY, run

_GIVEN = "Anna Robert Maria Peter Julia Thomas Laura David Sarah Daniel"
_FAMILY = "Schmidt Jones Garcia Meyer Smith Weber Rossi Brown Martin Lopez"
_OTHERS = "Wagner Davis Fischer Moore Silva Taylor Becker Clark Costa Young"
PERSONS = [
    f"{given} {family}"
    for families in (_FAMILY, _OTHERS)
    for given, family in zip(_GIVEN.split(), families.split(), strict=True)
]


@pytest.mark.parametrize("words", [f"contact {CANARY}@example.com here", "ssn 078-05-1120", "tel +49 30 1234567", "pay 4111 1111 1111 1111"])  # fmt: skip
def test_a_value_inside_a_column_s_name_is_not_shown(words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"id,{words}\n1,2\n")
    out, err = run(path, status=1)
    assert "looks like values, not like names of columns" in err
    assert words.split()[-1] not in out + err


def test_persons_without_a_header_are_not_taken_for_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("".join(f"{name},{number}x\n" for number, name in enumerate(PERSONS)))
    out, err = run(path, status=1)
    assert "looks like values, not like names of columns" in err
    assert "Anna" not in out + err
    assert "person_name" in run(path, "--no-header", status=3)[0]


def test_names_of_columns_do_not_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    odd = ["id", "\x1b]0;mine\x07", "a\nb", "\u202eevil", "\x9b31m"]
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([odd, ["1"] * len(odd)])
    out, err = run(path, "--default", "internal")
    assert all(each.isprintable() for each in (out + err).splitlines())
    assert [rule.name for rule in from_odcs(out, "x").rules] == odd


@pytest.mark.parametrize("rows", ["", ",\n", '"",\n' * 3])
def test_a_column_without_values_is_asked_about(rows: str, tmp_path: Path) -> None:
    """Nobody knows what it will hold: ``--default public`` is not for it."""
    path = tmp_path / "x.csv"
    path.write_text(f"a,b\n{rows}")
    out, err = run(path, "--default", "public", status=3)
    assert "classification" not in out
    assert "ask     a  it has no values" in err


def test_values_that_are_too_long_to_be_looked_at_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n" + "".join(f"{'x' * 9_000}{n}@example.com,1\n" for n in range(3)))
    assert (
        "ask     a  3 values are longer than what is looked at"
        in run(path, "--default", "public", status=3)[1]
    )


def test_numbers_that_went_through_floats(tmp_path: Path) -> None:
    """As pandas writes a column of whole numbers with a gap in it."""
    cards = [
        "4111111111111111",
        "5500005555555559",
        "4012888888881881",
        "4222222222222",
        "6011111111111117",
    ] * 3
    table = pa.table(
        {
            "floats": pa.array([*map(float, cards), None]),
            "text": pa.array([f"{each}.0" for each in cards] + [""]),
            "exact": pa.array([*cards, None]).cast(pa.decimal128(20, 0)).cast(pa.decimal128(22, 2)),
        }
    )
    path = tmp_path / "x.parquet"
    parquet.write_table(table, path)
    err = run(path)[1]
    assert err.count("payment_card") == 3


def test_a_column_whose_values_come_late_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    late = [None] * 50_000 + [f"{name}@example.com".replace(" ", ".") for name in PERSONS * 5]
    parquet.write_table(pa.table({"a": pa.array(late, pa.string())}), path, row_group_size=10_000)
    assert "found   a  email" in run(path)[1]


@pytest.mark.parametrize("opened", ["[", '{"a":', '[{"a":'])
@pytest.mark.parametrize("before", ["", '"b": "\x01", '])
def test_deep_nesting_ends_in_words(opened: str, before: str, tmp_path: Path) -> None:
    """pyarrow ends the process."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{' + before + '"a": ' + opened * 100_000 + "\n")
    assert "record 2 is " in run(path, status=1)[1]


def test_brackets_in_text_are_no_nesting(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": "' + "[{" * 5_000 + '"}\n' + '{"a": "' + ":[" * 300 + '"}\n')
    run(path, status=3)

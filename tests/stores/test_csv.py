"""CSV as batches of text: nulls, broken records, block boundaries, and no word of the content in an error."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import time
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.errors import ContractError, DecryptionError, FormatError
from airflow_secure_provider.stores.csv import CsvReader
from airflow_secure_provider.stores.csv_quotes import Quotes

from ..protection.said import everything_said

WHERE = "s3://lake/customers.csv"
CANARY = "canary-7f3a91c2"
Row = list[str | None]


def rows(content: bytes, **options: int) -> list[Row]:
    read: list[Row] = []
    for batch in CsvReader(io.BytesIO(content), WHERE, **options).batches():
        assert set(batch.schema.types) <= {pa.string()}
        read += [list(row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
    return read


def refusal(content: bytes, **options: int) -> str:
    with pytest.raises(FormatError) as caught:
        rows(content, **options)
    said = everything_said(caught.value)
    assert CANARY not in said
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return str(caught.value)


def written(records: list[Row], *, end: str = "\n", quote: Callable[[str], bool] = lambda _: True) -> bytes:
    """CSV by hand: null is nothing, "" is quotes."""

    def field(value: str | None) -> str:
        if value is None:
            return ""
        if value == "" or quote(value) or any(character in value for character in ',"\r\n'):
            return '"' + value.replace('"', '""') + '"'
        return value

    return end.join(",".join(map(field, record)) for record in records).encode() + end.encode()


# what is read


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'a,b\n,""\n', [[None, ""]]),
        (b'a,b\n"",\n', [["", None]]),
        (b"a,b\n , \n", [[" ", " "]]),
        (b'a,b\nNULL,"NULL"\n', [["NULL", "NULL"]]),
        (b"a,b\nNA,nan\n", [["NA", "nan"]]),
        (b"a,b\n007,1e5\n", [["007", "1e5"]]),
        (b"a,b\ntrue,2026-01-01\n", [["true", "2026-01-01"]]),
        (b'a,b\n"x,y","x ""y"" z"\n', [["x,y", 'x "y" z']]),
        (b'a,b\n"x\ny","x\r\ny"\n', [["x\ny", "x\r\ny"]]),
        (b"a,b\r\n1,2\r\n", [["1", "2"]]),
        (b"a,b\n1,2", [["1", "2"]]),
        ("a,b\nZoë,日本\n".encode(), [["Zoë", "日本"]]),
        (b"\xef\xbb\xbfa,b\n1,2\n", [["1", "2"]]),
        (b"a,b\n,\n", [[None, None]]),
        (b"a\n1\n\n3\n", [["1"], [None], ["3"]]),
    ],
    ids=[
        "null-empty", "empty-null", "spaces", "the-word-null", "na-nan", "numbers", "typed", "quoted", "newlines", "crlf",
        "no-last-newline", "utf-8", "bom", "only-nulls", "one-column",
    ],
)  # fmt: skip
def test_values_stay_text(content: bytes, expected: list[Row]) -> None:
    assert rows(content) == expected


@pytest.mark.parametrize("content", [b"id,email\n", b"id,email", b"id,email\r\n"], ids=["lf", "bare", "crlf"])
def test_no_rows(content: bytes) -> None:
    reader = CsvReader(io.BytesIO(content), WHERE)

    assert reader.columns == ["id", "email"]
    assert sum(batch.num_rows for batch in reader.batches()) == 0


def test_columns_are_known_before_the_first_batch() -> None:
    assert CsvReader(io.BytesIO('ïd,"e,mail"\n1,2\n'.encode()), WHERE).columns == ["ïd", "e,mail"]


def test_a_duplicate_header_reaches_the_contract() -> None:
    columns = CsvReader(io.BytesIO(b"id,id\n1,2\n"), WHERE).columns

    assert columns == ["id", "id"]
    with pytest.raises(ContractError, match=f"{WHERE}: column 'id' stands twice in its header"):
        from_columns({"id": "none"}, "t").match(columns, WHERE)


# whatever the block size


LONGEST = 60
values = st.one_of(
    st.none(), st.just(""), st.text(alphabet=['"', "\n", "\r", ",", "a", "é", " ", "日"], max_size=8), st.text(max_size=8)
)  # fmt: skip
records = st.lists(
    st.tuples(st.integers(0, 9).map(str), values, values).map(list).filter(lambda r: len(written([r])) <= LONGEST),
    max_size=40,
)  # fmt: skip


@given(
    given_rows=records,
    block_bytes=st.integers(2 * LONGEST + 20, 400),
    end=st.sampled_from(["\n", "\r\n"]),
    always=st.booleans(),
)
@settings(max_examples=150, deadline=None, database=None)
def test_rows_do_not_depend_on_the_blocks(
    given_rows: list[Row], block_bytes: int, end: str, always: bool
) -> None:
    content = written([["id", "name", "notes"], *given_rows], end=end, quote=lambda _: always)

    assert rows(content, block_bytes=block_bytes) == given_rows
    assert rows(content) == given_rows


@given(given_rows=records, block_bytes=st.integers(2 * LONGEST + 20, 400))
@settings(max_examples=100, deadline=None, database=None)
def test_what_pythons_csv_module_writes(given_rows: list[Row], block_bytes: int) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "name", "notes"], *given_rows])
    content = file.getvalue().encode()

    # It writes None as "" when it quotes all.
    assert rows(content, block_bytes=block_bytes) == [[value or "" for value in row] for row in given_rows]


@pytest.mark.parametrize("most", [1, 7, 64, 100])
def test_a_source_that_gives_less_than_asked(most: int) -> None:
    """As encrypted objects do, a frame at a time; pyarrow would take each for a block."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size if size is not None else most, most))

    given_rows: list[Row] = [[str(number), "x\n\ny" * 10] for number in range(200)]
    content = written([["a", "b"], *given_rows])

    batches = list(CsvReader(Slow(content), WHERE, 4096).batches())

    assert [list(row.values()) for batch in batches for row in batch.to_pylist()] == given_rows
    assert len(batches) <= len(content) // 4096 + 2


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("block_bytes", range(100, 140))
def test_line_ends_inside_fields_survive_block_boundaries(block_bytes: int, end: str) -> None:
    """pyarrow drops a line feed at the start of a block if the one before ends in a carriage return."""
    given_rows: list[Row] = [[str(number), "\r\n\r\n" * (number % 4)] for number in range(100)]

    assert rows(written([["id", "note"], *given_rows], end=end), block_bytes=block_bytes) == given_rows


# broken records


SMALL = 128
GOOD = f'7,"{CANARY}\n"\n'.encode()


@pytest.mark.parametrize("at", [1, 2, 3, 10, 499, 500])
@pytest.mark.parametrize(
    ("record", "got", "length"),
    [
        (CANARY, 1, "short"),
        (f"1,2,{CANARY}", 3, "long"),
        (f"1,2,3,{CANARY},", 5, "long"),
        (f'"{CANARY},\n"', 1, "short"),
        (f'1,"{CANARY}\n\n,",,', 4, "long"),
    ],
    ids=["one", "three", "five", "quoted-short", "quoted-long"],
)
@pytest.mark.parametrize("options", [{}, {"block_bytes": SMALL}], ids=["one-block", "blocks"])
def test_short_and_long_records(record: str, got: int, length: str, at: int, options: dict[str, int]) -> None:
    content = b"id,note\n" + GOOD * (at - 1) + record.encode() + b"\n" + GOOD * (500 - at)

    assert (
        refusal(content, **options)
        == f"{WHERE}: record {at} has {got} fields, expected 2: it is too {length}"
    )


def test_thousands_are_set_apart() -> None:
    content = b"id,note\n" + GOOD * 2999 + b"1\n"

    assert (
        refusal(content, block_bytes=SMALL)
        == f"{WHERE}: record 3,000 has 1 fields, expected 2: it is too short"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("at", [1, 2, 40, 100, 101])
@pytest.mark.parametrize("options", [{}, {"block_bytes": SMALL}], ids=["one-block", "blocks"])
def test_blank_lines(at: int, end: bytes, options: dict[str, int]) -> None:
    good = f"7,{CANARY}".encode() + end
    content = b"id,note" + end + good * (at - 1) + end + good * (101 - at)
    assert len(rows(content.replace(end + end, end), **options)) == 100

    assert refusal(content, **options) == f"{WHERE}: record {at} is a blank line; remove it"


def test_records_of_nulls_are_not_blank_lines() -> None:
    assert rows(b"a,b\n1,2\n,\n3,4\n,\n") == [["1", "2"], [None, None], ["3", "4"], [None, None]]
    assert rows(b"a,b\r\n,\r\n,\r\n") == [[None, None]] * 2


@pytest.mark.parametrize("options", [{}, {"block_bytes": SMALL}], ids=["one-block", "blocks"])
@pytest.mark.parametrize(
    "note", ["x\n\ny", "\n\n", "\r\n\r\n", "\n\n\n"], ids=["inside", "only", "crlf", "three"]
)
def test_blank_lines_inside_fields_are_text(note: str, options: dict[str, int]) -> None:
    given_rows: list[Row] = [["1", note], [None, note], ["", None], ["3", "x"]] * 30

    assert rows(written([["id", "note"], *given_rows]), **options) == given_rows


LEFT_OPEN = "a quote is left open at its end; close it"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f'a,b\n1,2\n3,"{CANARY}\n5,6\n', LEFT_OPEN),
        (f'a,b\n1,2\n3,"{CANARY}', LEFT_OPEN),
        (f'a,b\n1,{CANARY}"\n', f"the quote at byte {6 + len(CANARY)} stands bare inside a field"),
        # Two open quotes pair up, and the records between them would be one field.
        (
            f'a,b\n1,"{CANARY}\n2,x\n3,"def\n',
            f"the quote at byte {14 + len(CANARY)} stands bare inside a field",
        ),
        (f'a,b\n1,"{CANARY}" \n', f"the quote at byte {7 + len(CANARY)} stands bare inside a field"),
        (f'a,b\n1, "{CANARY}"\n', "the quote at byte 7 stands bare inside a field"),
    ],
    ids=["middle", "end", "bare", "two", "text-behind", "text-before"],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_open_quotes(content: str, words: str, size: int) -> None:
    assert words in refusal(content.encode())

    quotes = Quotes()
    for start in range(0, len(content), size):
        quotes.follow(content.encode()[start : start + size])
    found = quotes.stray_at
    assert words == LEFT_OPEN if found is None else f"byte {found} " in words


def test_an_open_quote_in_the_header() -> None:
    assert refusal(f'a,"b\n1,{CANARY}\n'.encode()) == (
        f"{WHERE}: can't be read as CSV behind record 0; is a quote left open, or a record over 16 MiB?"
    )


def test_an_open_quote_in_the_header_of_a_large_file() -> None:
    content = b'id,"note\n' + f"7,{CANARY}\n".encode() * 20_000

    assert "can't be read" in refusal(content)


def test_an_open_quote_in_a_large_file() -> None:
    content = b"id,note\n" + GOOD * 100 + b'8,"' + f"{CANARY},\n".encode() * 100

    assert refusal(content, block_bytes=SMALL) == f"{WHERE}: {LEFT_OPEN}"


def test_a_record_larger_than_a_block() -> None:
    assert rows(b"id,note\n1,2\n3," + b"x" * 1000 + b"\n4,y\n", block_bytes=SMALL) == [
        ["1", "2"],
        ["3", "x" * 1000],
        ["4", "y"],
    ]


def test_a_record_larger_than_the_limit() -> None:
    content = b"id,note\n1,2\n3," + b"x" * (40 * 1024 * 1024) + b"\n"

    assert "is a quote left open, or a record over 16 MiB?" in refusal(content)


# encodings and empty files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1," + CANARY.encode() + b"\xff\n", "not UTF-8 in column 'b', behind record 0; convert"),
        (b"a,\xff\n1,2\n", "not UTF-8, in its header; convert it to UTF-8"),
        (
            b"a,b\n" + b"1,2\n" * 500 + b"1," + CANARY.encode() + b"\xe9\n",
            "not UTF-8 in column 'b', behind record ",
        ),
    ],
    ids=["first-block", "header", "later-block"],
)
def test_not_utf8(content: bytes, message: str) -> None:
    assert refusal(content, block_bytes=SMALL).startswith(f"{WHERE}: {message}")


def test_empty() -> None:
    assert refusal(b"") == f"{WHERE} is empty; a header with the columns' names is expected"


# the source's own errors


@pytest.mark.parametrize(
    "good_bytes", [0, 5, 100, 5000, 20_000], ids=["at-once", "header", "first", "later", "late"]
)
def test_an_error_of_the_source_comes_through_as_it_is(good_bytes: int) -> None:
    failure = DecryptionError("frame 7 does not authenticate")
    content = b"id,note\n" + GOOD * 1000
    assert len(content) > 20_000

    class Tampered(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            left = good_bytes - self.tell()
            if left <= 0:
                raise failure
            return super().read(min(size or left, left))

    def load() -> int:
        return sum(batch.num_rows for batch in CsvReader(Tampered(content), WHERE, SMALL).batches())

    with pytest.raises(DecryptionError) as caught:
        load()

    assert caught.value is failure
    assert CANARY not in everything_said(caught.value)


def test_batches_before_a_bad_record_are_given() -> None:
    """What was read before is the caller's to roll back."""
    reader = CsvReader(io.BytesIO(b"id,note\n" + GOOD * 500 + b"1\n"), WHERE, SMALL)
    given_rows = 0

    with pytest.raises(FormatError, match="record 501 "):  # noqa: PT012
        for batch in reader.batches():
            given_rows += batch.num_rows

    assert 0 < given_rows <= 500


def test_a_process_that_leaves_a_reader_early_ends_well() -> None:
    """pyarrow reads ahead in its own thread, which aborted the interpreter where it was still at it at the end."""
    code = """
import time
from airflow_secure_provider.stores.csv import CsvReader

class Slow:
    def read(self, size):
        time.sleep(0.02)
        return b"id,note\\n" + b"1,x\\n" * 10_000

reader = CsvReader(Slow(), "slow", 1 << 16)
next(reader.batches())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_open_quote_in_the_header_is_found_in_one_pass() -> None:
    text = b'a,"b\n' + b"1,2\n" * 1_000_000
    began = time.process_time()
    with pytest.raises(FormatError, match="is a quote left open"):
        CsvReader(io.BytesIO(text), "big.csv")
    assert time.process_time() - began < 30  # it took minutes when each line was counted from the beginning


def test_short_rows_that_are_no_text(capfd: pytest.CaptureFixture[str]) -> None:
    """pyarrow gives its row handler text; where the bytes are none, that goes wrong behind our back."""
    with pytest.raises(FormatError, match=r"not UTF-8.*, behind record 0"):
        list(CsvReader(io.BytesIO(b'a,b\n"x\xff"\n'), "it").batches())
    assert capfd.readouterr().err == ""

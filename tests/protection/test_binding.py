"""What a cell is bound to: the values beside it, as bytes that nothing else gives."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest

from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.errors import DecryptionError
from airflow_secure_provider.model import Classification, ColumnRule, Protection
from airflow_secure_provider.protection.binding import bindings
from airflow_secure_provider.protection.reversible import ColumnCipher

KEYSET = Keyset("crm", "local", "local:test", 2, {1: bytes(range(64)), 2: bytes(range(100, 164))})


def rule(*bind_to: str) -> ColumnRule:
    return ColumnRule(
        "salary", Classification.RESTRICTED, Protection.ENCRYPT, domain="d", scope="s",
        parameters={"bind_to": bind_to} if bind_to else {},
    )  # fmt: skip


def spelled(*values: str | None) -> bytes:
    """The format, in the plainest words."""
    made = b""
    for value in values:
        made += (
            b"\x00" + bytes(4)
            if value is None
            else b"\x01" + len(value.encode()).to_bytes(4, "big") + value.encode()
        )
    return made


def test_bindings() -> None:
    ids = ["7", None, "", "ünï"]
    days = ["2024-01-02", "x", None, ""]

    assert bindings([pa.array(ids), pa.array(days)]).to_pylist() == [
        spelled(*pair) for pair in zip(ids, days, strict=True)
    ]


def test_no_two_rows_give_the_same() -> None:
    values = [None, "", "a", "b", "ab", "\x00", "a\x00"]
    pairs = list(itertools.product(values, values))
    columns = [pa.array([pair[at] for pair in pairs], pa.string()) for at in (0, 1)]

    assert len(set(bindings(columns).to_pylist())) == len(pairs)


@pytest.mark.parametrize("values", [["x", "y", None, "", "z"], [None] * 5], ids=["some", "nulls"])
def test_cells_reveal_beside_the_same_values_only(values: list[str | None]) -> None:
    cipher = ColumnCipher(rule("id", "day"), KEYSET)
    ids, days = pa.array(["1", "2", "3", "4", None]), pa.array(["a", None, "c", "d", "e"])
    cells = cipher.protect(pa.array(values, pa.string()), [ids, days])

    assert cipher.reveal(cells, [ids, days]).to_pylist() == values
    for start in range(5):
        beside = [ids.slice(start, 2), days.slice(start, 2)]
        assert cipher.reveal(cells.slice(start, 2), beside).to_pylist() == values[start : start + 2]
    if all(value is None for value in values):
        return
    for other in (
        [days, ids],
        [ids, pa.array(["a", "", "c", "d", "e"])],
        [ids.take(pa.array([1, 0, 2, 3, 4])), days],
    ):
        with pytest.raises(DecryptionError, match=r"bound to 'id', 'day': .* column, row or domain"):
            cipher.reveal(cells, other)


def test_a_bound_cell_is_no_free_cell() -> None:
    """Nor the other way round, nor with other columns named."""
    column, ids = pa.array(["x"]), pa.array([""])
    bound, free = ColumnCipher(rule("id"), KEYSET), ColumnCipher(rule(), KEYSET)

    with pytest.raises(DecryptionError):
        free.reveal(bound.protect(column, [ids]))
    with pytest.raises(DecryptionError):
        bound.reveal(free.protect(column), [ids])


def test_several_key_versions_in_one_column() -> None:
    ids = pa.array(["1", "2", "3", "4"])
    old, new = (
        ColumnCipher(rule("id"), KEYSET, version).protect(pa.array(["a", "b", None, "d"]), [ids])
        for version in (1, 2)
    )
    mixed: Any = pa.array([old[0].as_py(), new[1].as_py(), None, old[3].as_py()])

    assert ColumnCipher(rule("id"), KEYSET).reveal(mixed, [ids]).to_pylist() == ["a", "b", None, "d"]


def test_chunks() -> None:
    ids = pa.chunked_array([["1", "2", "3"], ["4"]])
    column = pa.chunked_array([["a"], ["b", None, "d"]])
    cipher = ColumnCipher(rule("id"), KEYSET)

    cells = cipher.protect(column, [ids])

    assert isinstance(cells, pa.ChunkedArray)
    assert cipher.reveal(cells, [ids.combine_chunks()]).to_pylist() == ["a", "b", None, "d"]

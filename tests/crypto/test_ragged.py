"""Rows in one buffer: overlapping windows never spoil a neighbour."""

from __future__ import annotations

import random

import numpy as np
import pytest

from airflow_secure_provider.crypto.ragged import SLACK, Ragged, planes


def values(seed: int, most: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(most + 1)) for _ in range(200)]


@pytest.mark.parametrize("most", [0, 1, 3, 15, 16, 17, 100])
def test_copy_to_gives_every_byte_to_its_row(most: int) -> None:
    given = values(most, most)
    rows = Ragged.of(given)
    target = Ragged.packed(rows.lengths)

    rows.copy_to(target)

    assert target.tolist() == given


@pytest.mark.parametrize("gap", [1, 5, 21, 37])
def test_repacked_closes_gaps(gap: int) -> None:
    given = values(gap, 50)
    wide = Ragged.of([value + b"#" * gap for value in given])
    rows = Ragged(wide.data, wide.starts, wide.lengths - gap)

    packed = rows.repacked()

    assert packed.tolist() == given
    assert packed.starts.tolist() == [0, *np.cumsum(rows.lengths).tolist()[:-1]]


def test_select_keeps_order_and_buffer() -> None:
    rows = Ragged.of([b"a", b"", b"ccc", b"d"])

    assert rows.select(np.array([1, 2])).tolist() == [b"", b"ccc"]
    assert rows.select(np.array([1, 2])).data is rows.data


def test_blocks_and_planes() -> None:
    rows = Ragged.of([b"", b"x" * 16, b"x" * 17, b"x" * 40])

    assert rows.blocks().tolist() == [0, 1, 2, 3]
    assert [(plane, which.tolist()) for plane, which in planes(rows.blocks())] == [
        (2, [3]),
        (1, [2, 3]),
        (0, [1, 2, 3]),
    ]


def test_no_rows() -> None:
    rows = Ragged.of([])

    assert len(rows) == 0
    assert len(rows.data) == SLACK
    assert rows.repacked().tolist() == []

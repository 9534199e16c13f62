"""Rows as planes of blocks and back: every byte ends up with its row."""

from __future__ import annotations

import random

import numpy as np
import pytest

from airflow_secure_provider.crypto.block import fresh_blocks
from airflow_secure_provider.crypto.planar import Layout, copy, gather, repacked, scatter
from airflow_secure_provider.crypto.ragged import Ragged


def values(seed: int, most: int) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randrange(most + 1)) for _ in range(200)]


@pytest.mark.parametrize("most", [0, 1, 3, 15, 16, 17, 100])
def test_copy_to_gives_every_byte_to_its_row(most: int) -> None:
    given = values(most, most)
    rows = Ragged.of(given)
    target = Ragged.packed(rows.lengths)

    copy(rows, target)

    assert target.tolist() == given


@pytest.mark.parametrize("gap", [1, 5, 21, 37])
def test_repacked_closes_gaps(gap: int) -> None:
    given = values(gap, 50)
    wide = Ragged.of([value + b"#" * gap for value in given])
    rows = Ragged(wide.data, wide.starts, wide.lengths - gap)

    packed = repacked(rows)

    assert packed.tolist() == given
    assert packed.starts.tolist() == [0, *np.cumsum(rows.lengths).tolist()[:-1]]


@pytest.mark.parametrize(
    ("lengths", "order", "left", "alive"),
    [
        ([], None, [], (0, 0)),
        ([0], None, [0], (1, 0, 0)),
        ([16, 1], None, [16, 1], (2, 0, 0)),
        ([0, 16, 17, 40, 32], [3, 2, 4, 0, 1], [8, 1, 16, 0, 16], (5, 3, 1, 0, 0)),
    ],
    ids=["none", "empty", "single", "mixed"],
)
def test_layout(lengths: list[int], order: list[int] | None, left: list[int], alive: tuple[int, ...]) -> None:
    layout = Layout.of(np.array(lengths, dtype=np.int64))

    assert (None if layout.order is None else layout.order.tolist()) == order
    assert layout.left.tolist() == left
    assert layout.alive == alive
    numbers = np.arange(len(lengths)) * 10
    assert layout.unsort(layout.sort(numbers)).tolist() == numbers.tolist()


def test_more_blocks_than_a_short_integer_counts() -> None:
    long = random.Random(1).randbytes(16 * 65_537)
    rows = Ragged.of([b"a", long, b"", b"b" * 20])

    assert Layout.of(rows.lengths).order.tolist() == [1, 3, 0, 2]  # type: ignore[union-attr]
    assert repacked(rows).tolist() == [b"a", long, b"", b"b" * 20]


def test_planes_hold_the_blocks_of_the_rows_that_have_them() -> None:
    rows = Ragged.of([b"a" * 16, b"b" * 48, b"c" * 32])
    layout = Layout.of(rows.lengths)

    planes = [plane.tobytes() for plane in gather(rows, layout)]

    assert planes == [b"b" * 16 + b"c" * 16 + b"a" * 16, b"b" * 16 + b"c" * 16, b"b" * 16]


def test_planes_of_no_rows() -> None:
    rows = Ragged.of([])
    layout = Layout.of(rows.lengths)

    assert gather(rows, layout) == []
    scatter([], layout, rows)


def test_fresh_blocks_are_all_different() -> None:
    made = [fresh_blocks(count) for count in (0, 1, 10_000, 10_000)]
    assert [len(each) for each in made] == [0, 2, 20_000, 20_000]
    blocks = np.concatenate(made).view("V16")
    assert len(set(blocks.tolist())) == 20_001
    ones = np.unpackbits(np.concatenate(made).view(np.uint8)).mean()
    assert 0.49 < ones < 0.51

"""Rows in one buffer."""

from __future__ import annotations

import numpy as np

from airflow_secure_provider.crypto.ragged import BLOCK, SLACK, Ragged, repeated, windows, words


def test_select_keeps_order_and_buffer() -> None:
    rows = Ragged.of([b"a", b"", b"ccc", b"d"])

    assert rows.select(np.array([1, 2])).tolist() == [b"", b"ccc"]
    assert rows.select(np.array([1, 2])).data is rows.data


def test_a_window_is_the_buffer() -> None:
    rows = Ragged.of([b"abc", b"defg"])

    windows(rows.data, 3)[1] = np.void(b"XYZ")

    assert rows.tolist() == [b"aXY", b"Zefg"]


def test_repeated() -> None:
    block = bytes(range(BLOCK))

    assert repeated(block, 3).tobytes() == block * 3
    assert len(repeated(block, 0)) == 0
    assert words(repeated(block, 2).view("V16")).dtype == np.uint64


def test_no_rows() -> None:
    rows = Ragged.of([])

    assert len(rows) == 0
    assert len(rows.data) == SLACK
    assert rows.tolist() == []

"""Seeded people: every value distinct, with the lengths that such values have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SEED = 20_261_120
BATCH_ROWS = 25_000  # what a CSV block of 4 MiB holds, about
_FIRST = ["ana", "bo", "carla", "dmitri", "elisabeth", "fatima", "george", "hannah-lea", "ion", "jacqueline"]
_LAST = [
    "li",
    "smith",
    "garcia",
    "mueller",
    "o-neill",
    "johansson",
    "van-der-berg",
    "papadopoulos",
    "ng",
    "kowalski",
]
_DOMAIN = ["example.com", "mail.example.org", "example.net", "corp.example.co.uk", "x.example"]
_WORDS = [
    "called",
    "about",
    "the",
    "invoice",
    "again",
    "wants",
    "a",
    "refund",
    "moved",
    "to",
    "another",
    "city",
]


def emails(count: int, seed: int = SEED) -> Any:
    """``ana.smith123456@example.com``: 17 to 46 bytes, 28 on average."""
    rng = np.random.default_rng(seed)
    return _joined(
        _pick(rng, _FIRST, count),
        ".",
        _pick(rng, _LAST, count),
        _numbers(rng, count),
        "@",
        _pick(rng, _DOMAIN, count),
    )


def cards(count: int, seed: int = SEED) -> Any:
    """16 digits."""
    return _digits(_numbers_between(seed, count, 10**15, 10**16))


def ssns(count: int, seed: int = SEED) -> Any:
    """9 digits."""
    rng = np.random.default_rng(seed)
    return _digits(rng.permutation(900_000_000 if count > 8_000_000 else 9_000_000)[:count] + 100_000_000)


def phones(count: int, seed: int = SEED) -> Any:
    """``+41 79 1234567``."""
    rng = np.random.default_rng(seed)
    numbers = pa.array(rng.permutation(9_000_000)[:count] + 1_000_000).cast(pa.string())
    return _joined("+41 79 ", numbers)


def notes(count: int, seed: int = SEED) -> Any:
    """About 60 bytes of words, with a number of their own."""
    rng = np.random.default_rng(seed + 1)
    parts: list[Any] = []
    for _ in range(9):
        parts += [_pick(rng, _WORDS, count), " "]
    return _joined(*parts, _numbers(rng, count))


def table(count: int, seed: int = SEED) -> Any:
    """Ten columns."""
    rng = np.random.default_rng(seed + 2)
    born = pa.array(rng.integers(-10_000, 13_000, count).astype(np.int32)).cast(pa.date32())
    return pa.table(
        {
            "id": pa.array(np.arange(count)),
            "first_name": _pick(rng, _FIRST, count),
            "last_name": _pick(rng, _LAST, count),
            "email": emails(count, seed),
            "ssn": ssns(count, seed),
            "phone": phones(count, seed),
            "birth_date": born,
            "postcode": pa.array(rng.integers(1000, 9999, count)).cast(pa.string()),
            "amount": pa.array(np.round(rng.random(count) * 10_000, 2)),
            "notes": notes(count, seed),
        }
    )


def batches(column: Any) -> list[Any]:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return [whole.slice(start, BATCH_ROWS) for start in range(0, len(whole), BATCH_ROWS)]


def _pick(rng: np.random.Generator, words: list[str], count: int) -> Any:
    return pa.array(words).take(pa.array(rng.integers(0, len(words), count)))


def _numbers(rng: np.random.Generator, count: int) -> Any:
    return pa.array(rng.permutation(count)).cast(pa.string())


def _numbers_between(seed: int, count: int, low: int, high: int) -> Any:
    drawn = np.unique(np.random.default_rng(seed).integers(low, high, count + count // 100))
    return np.random.default_rng(seed).permutation(drawn)[:count]


def _digits(numbers: Any) -> Any:
    return pa.array(numbers).cast(pa.string())


def _joined(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")

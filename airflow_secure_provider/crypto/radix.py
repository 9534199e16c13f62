"""Strings of numerals as numbers, and back: many at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .symbols import Alphabet

Numbers = NDArray[np.uint64]

_EIGHT = 8  # decimal digits that are read or written as one word
_FOUR_DIGITS = np.frombuffer("".join(f"{number:04d}" for number in range(10_000)).encode(), dtype=np.uint32)
_TEN_THOUSAND = np.uint64(10_000)


def from_numerals(characters: NDArray[Any], alphabet: Alphabet) -> Numbers:
    """NUM_radix of each row (SP 800-38G, algorithm 1).

    :param characters: (rows, length), of the alphabet; the numbers must be below 2^64.
    """
    if alphabet.is_decimal:
        return _from_decimal(characters)
    numerals = _numerals(characters, alphabet)
    value = numerals[:, 0].astype(np.uint64)
    for at in range(1, characters.shape[1]):
        value *= np.uint64(alphabet.radix)
        value += numerals[:, at]
    return value


def to_numerals(numbers: Numbers, out: NDArray[Any], alphabet: Alphabet) -> None:
    """STR_radix of each number (SP 800-38G, algorithm 3), as characters, into *out* (rows, length)."""
    if alphabet.is_decimal:
        _to_decimal(numbers, out)
        return
    rest = numbers
    for at in range(out.shape[1] - 1, -1, -1):
        quotient = rest // np.uint64(alphabet.radix)
        out[:, at] = alphabet.codes[rest - quotient * np.uint64(alphabet.radix)]
        rest = quotient


def _numerals(characters: NDArray[Any], alphabet: Alphabet) -> NDArray[np.uint16]:
    found: NDArray[np.uint16]
    if alphabet.narrow:
        found = alphabet.numerals[characters]
    else:
        codes, numerals = alphabet.sorted_codes
        found = numerals[np.searchsorted(codes, characters)]
    return found


def _from_decimal(characters: NDArray[np.uint8]) -> Numbers:
    rows, length = characters.shape
    value: Numbers | None = None
    # The leading chunk is the shorter one: 17 digits are 1 + 8 + 8.
    for start in range(-(-length // _EIGHT) * -_EIGHT, 0, _EIGHT):
        chunk = characters[:, max(length + start, 0) : length + start + _EIGHT]
        word = np.zeros((rows, _EIGHT), dtype=np.uint8)
        word[:, _EIGHT - chunk.shape[1] :] = chunk
        read = _eight_digits(word.reshape(-1).view(np.uint64))
        value = read if value is None else value * np.uint64(10**_EIGHT) + read
    if value is None:
        raise ValueError("no numerals")
    return value


def _eight_digits(words: Numbers) -> Numbers:
    """The number that eight ASCII digits are, the first one in the lowest byte: pairs, then fours, then all."""
    words &= np.uint64(0x0F0F0F0F0F0F0F0F)
    words *= np.uint64(10 << 8 | 1)
    words >>= np.uint64(8)
    words &= np.uint64(0x00FF00FF00FF00FF)
    words *= np.uint64(100 << 16 | 1)
    words >>= np.uint64(16)
    words &= np.uint64(0x0000FFFF0000FFFF)
    words *= np.uint64(10_000 << 32 | 1)
    words >>= np.uint64(32)
    return words


def _to_decimal(numbers: Numbers, out: NDArray[np.uint8]) -> None:
    length, rest = out.shape[1], numbers
    for end in range(length, 0, -_EIGHT):
        chunk = rest
        if end > _EIGHT:
            quotient = rest // np.uint64(10**_EIGHT)
            chunk, rest = rest - quotient * np.uint64(10**_EIGHT), quotient
        high = chunk // _TEN_THOUSAND
        words = np.empty((len(numbers), 2), dtype=np.uint32)
        words[:, 0] = _FOUR_DIGITS[high.view(np.int64)]
        words[:, 1] = _FOUR_DIGITS[(chunk - high * _TEN_THOUSAND).view(np.int64)]
        size = min(end, _EIGHT)
        out[:, end - size : end] = words.view(np.uint8)[:, _EIGHT - size :]

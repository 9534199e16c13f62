"""FF1 format-preserving encryption (NIST SP 800-38G, algorithms 7 and 8), a whole column at a time.

Rows with the same number of numerals go through the ten rounds together: each round is one AES block a row. There is
no integrity in it: any text of the alphabet decrypts to some other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .block import BlockCipher
from .radix import Numbers, from_numerals, to_numerals
from .ragged import BLOCK, Ragged
from .symbols import Alphabet, Spelling, unspell

_ROUNDS = 10
_LARGEST_HALF = (1 << 63) - 1  # so that the sum of two halves, and a remainder shifted by a bit, fit 64 bits
_LONGEST = 1 << 32  # section 5.1: maxlen


@dataclass(frozen=True, slots=True)
class _Shape:
    """What steps 1 to 5 of algorithm 7 make of a length n; the same for encryption and decryption.

    :param u: numerals of the left half; *v* of the right one.
    :param b: bytes of NUM(B); *d*: bytes of S that count.
    """

    radix: int
    n: int
    u: int
    v: int
    b: int
    d: int

    @classmethod
    def of(cls, radix: int, n: int) -> _Shape:
        u = n // 2  # step 1
        v = n - u
        b = ((radix**v - 1).bit_length() + 7) // 8  # step 3: ceil(ceil(v·log2(radix)) / 8), in whole numbers
        return cls(radix, n, u, v, b, 4 * -(-b // 4) + 4)  # step 4

    @property
    def fits_words(self) -> bool:
        return int(self.radix**self.v) <= _LARGEST_HALF

    def modulus(self, i: int) -> int:
        """radix^m of round i (steps 6.v and 6.vi)."""
        return int(self.radix ** (self.v if i % 2 else self.u))

    def prefix(self, tweak: bytes) -> bytes:
        """Step 5, P; and the part of Q before [i] and NUM(B) (step 6.i)."""
        p = bytes([1, 2, 1]) + self.radix.to_bytes(3, "big") + bytes([10, self.u % 256])
        p += self.n.to_bytes(4, "big") + len(tweak).to_bytes(4, "big")
        return p + tweak + bytes((-len(tweak) - self.b - 1) % BLOCK)


class Ff1:
    """FF1 under one key and tweak.

    :param key: of AES: 16, 24 or 32 bytes.
    :param tweak: the same for all values.
    """

    def __init__(self, key: bytes, tweak: bytes, alphabet: Alphabet) -> None:
        self._aes = BlockCipher(key)
        self._tweak = tweak
        self._alphabet = alphabet
        self._rounds: dict[int, tuple[_Shape, list[tuple[int, int]]]] = {}

    def encrypt(self, spelling: Spelling) -> Ragged:
        """Encrypt each row; formatting stays in place, and an empty row empty.

        :param spelling: :func:`spell` of the rows under the same alphabet.
        :raises ValueError: if a row is not fit.
        """
        return self._permute(spelling, decrypt=False)

    def decrypt(self, spelling: Spelling) -> Ragged:
        """The inverse of :meth:`encrypt`."""
        return self._permute(spelling, decrypt=True)

    def _permute(self, spelling: Spelling, *, decrypt: bool) -> Ragged:
        if not spelling.fit.all():
            unfit = int(np.count_nonzero(~spelling.fit))
            raise ValueError(f"{unfit} of {len(spelling.fit)} values are unfit for FF1")
        moving = spelling.characters if spelling.moving is None else spelling.characters[spelling.moving]
        made = np.empty_like(moving)
        for n, places in _by_length(spelling):
            values = moving.reshape(-1, n) if places is None else moving[places]
            permuted = self._permute_length(values, decrypt=decrypt)
            if places is None:
                made = permuted.reshape(-1)
            else:
                made[places] = permuted
        return unspell(spelling, made, self._alphabet)

    def _permute_length(self, characters: NDArray[Any], *, decrypt: bool) -> NDArray[Any]:
        """:param characters: (rows, n)"""
        shape, constants = self._prepared(characters.shape[1])
        if not shape.fits_words:
            return self._permute_long(characters, shape, decrypt=decrypt)
        a = from_numerals(characters[:, : shape.u], self._alphabet)
        b = from_numerals(characters[:, shape.u :], self._alphabet)
        a, b = self._unrolled(a, b, shape, constants) if decrypt else self._rolled(a, b, shape, constants)
        out = np.empty_like(characters)
        to_numerals(a, out[:, : shape.u], self._alphabet)
        to_numerals(b, out[:, shape.u :], self._alphabet)
        return out

    def _prepared(self, n: int) -> tuple[_Shape, list[tuple[int, int]]]:
        """The shape of a length, and for each round the last block of P || Q without NUM(B), chained with all before."""
        if n not in self._rounds:
            if n >= _LONGEST:
                raise ValueError(f"FF1 takes up to {_LONGEST - 1:,} numerals, got {n:,}")
            shape = _Shape.of(self._alphabet.radix, n)
            constants = []
            if shape.fits_words:
                before = shape.prefix(self._tweak)
                for i in range(_ROUNDS):
                    text = before + bytes([i]) + bytes(shape.b)
                    state = self._chained(text[:-BLOCK])
                    block = bytes(x ^ y for x, y in zip(state, text[-BLOCK:], strict=True))
                    constants.append(
                        (int.from_bytes(block[:8], "little"), int.from_bytes(block[8:], "little"))
                    )
            self._rounds[n] = shape, constants
        return self._rounds[n]

    def _rolled(
        self, a: Numbers, b: Numbers, shape: _Shape, constants: list[tuple[int, int]]
    ) -> tuple[Numbers, Numbers]:
        """Algorithm 7, step 6."""
        work = _Workspace(len(a))
        for i in range(_ROUNDS):
            modulus = np.uint64(shape.modulus(i))
            y = self._round(b, constants[i], shape.d, modulus, work)
            np.add(a, y, out=a)  # 6.vi: c = (NUM(A) + y) mod radix^m, both below it
            np.subtract(a, modulus, out=y)  # wraps round where the sum is smaller
            np.minimum(a, y, out=a)
            a, b = b, a  # 6.viii and 6.ix
        return a, b

    def _unrolled(
        self, a: Numbers, b: Numbers, shape: _Shape, constants: list[tuple[int, int]]
    ) -> tuple[Numbers, Numbers]:
        """Algorithm 8, step 6."""
        work = _Workspace(len(a))
        for i in reversed(range(_ROUNDS)):
            modulus = np.uint64(shape.modulus(i))
            y = self._round(a, constants[i], shape.d, modulus, work)
            np.subtract(b, y, out=b)  # 6.vi: c = (NUM(B) - y) mod radix^m; wraps round where it is negative
            np.add(b, modulus, out=y)
            np.minimum(b, y, out=b)
            a, b = b, a
        return a, b

    def _round(
        self, half: Numbers, constant: tuple[int, int], d: int, modulus: np.uint64, work: _Workspace
    ) -> Numbers:
        """Steps 6.i to 6.iv: y = NUM(S) of each row, already modulo radix^m."""
        blocks, y, quotient = work.blocks, work.y, work.quotient
        np.bitwise_xor(half.byteswap(), np.uint64(constant[1]), out=blocks[1::2])
        blocks[0::2] = np.uint64(constant[0])
        r = self._aes.encrypt(blocks)
        # S is at most the 16 bytes of R here, since d is 8 or 12: NUM(S) is its first d bytes, big endian.
        np.copyto(y, r[0::2])
        y.byteswap(inplace=True)
        _reduce(y, modulus, quotient)
        if d > 8:
            low = r[1::2].byteswap() >> np.uint64(32)
            room = 64 - int(modulus).bit_length()  # bits by which a remainder can be shifted
            at = 32
            while at:
                step = min(room, at)
                at -= step
                y <<= np.uint64(step)
                y |= (low >> np.uint64(at)) & np.uint64((1 << step) - 1)
                _reduce(y, modulus, quotient)
        return y

    def _permute_long(self, characters: NDArray[Any], shape: _Shape, *, decrypt: bool) -> NDArray[Any]:
        """Halves beyond 64 bits: the same algorithm with Python's integers, a value at a time."""
        radix, u = shape.radix, shape.u
        before = shape.prefix(self._tweak)
        order = list(self._alphabet.characters)
        numeral = {ord(character): number for number, character in enumerate(order)}
        codes = [ord(character) for character in order]
        out = np.empty_like(characters)
        for row, value in enumerate(characters.tolist()):
            digits = [numeral[code] for code in value]
            a, b = _number(digits[:u], radix), _number(digits[u:], radix)
            for i in reversed(range(_ROUNDS)) if decrypt else range(_ROUNDS):
                y = self._long_round(a if decrypt else b, before, i, shape)
                m = shape.modulus(i)
                a, b = ((b - y) % m, a) if decrypt else (b, (a + y) % m)
            out[row] = [codes[digit] for digit in _digits(a, radix, u) + _digits(b, radix, shape.v)]
        return out

    def _long_round(self, half: int, before: bytes, i: int, shape: _Shape) -> int:
        r = self._chained(before + bytes([i]) + half.to_bytes(shape.b, "big"))
        s = r
        for j in range(1, -(-shape.d // BLOCK)):  # step 6.iii: R || CIPH(R xor [1]) || CIPH(R xor [2]) …
            s += self._aes.encrypt_one((int.from_bytes(r, "big") ^ j).to_bytes(BLOCK, "big"))
        return int.from_bytes(s[: shape.d], "big")

    def _chained(self, text: bytes) -> bytes:
        """PRF, algorithm 6: CBC-MAC."""
        state = bytes(BLOCK)
        for at in range(0, len(text), BLOCK):
            block = bytes(x ^ y for x, y in zip(state, text[at : at + BLOCK], strict=True))
            state = self._aes.encrypt_one(block)
        return state


class _Workspace:
    """Arrays that every round uses again."""

    def __init__(self, count: int) -> None:
        self.blocks = np.empty(2 * count, dtype=np.uint64)
        self.y = np.empty(count, dtype=np.uint64)
        self.quotient = np.empty(count, dtype=np.uint64)


def _reduce(y: Numbers, modulus: np.uint64, quotient: Numbers) -> None:
    """y := y mod modulus. NumPy divides by one number with SIMD, and has no such remainder."""
    np.floor_divide(y, modulus, out=quotient)
    np.multiply(quotient, modulus, out=quotient)
    np.subtract(y, quotient, out=y)


def _by_length(spelling: Spelling) -> Iterator[tuple[int, NDArray[np.int64] | None]]:
    """Each number of numerals, and where those of its rows lie, (rows, n); ``None`` for all, one behind the other."""
    counts = spelling.counts
    if not len(counts):
        return
    first = int(counts[0])
    if (counts == first).all():
        if first:
            yield first, None
        return
    starts = np.cumsum(counts) - counts
    for n in np.unique(counts).tolist():
        if n:
            yield n, starts[counts == n][:, None] + np.arange(n)


def _number(digits: list[int], radix: int) -> int:
    value = 0
    for digit in digits:
        value = value * radix + digit
    return value


def _digits(value: int, radix: int, count: int) -> list[int]:
    digits = []
    for _ in range(count):
        value, digit = divmod(value, radix)
        digits.append(digit)
    return digits[::-1]

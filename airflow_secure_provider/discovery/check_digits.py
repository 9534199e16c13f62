"""Check digits of many numbers at once: a matrix with a number a row and a symbol a column.

Each function answers a boolean for each row. What is tested here is the arithmetic; lengths and prefixes are the
patterns' part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Matrix = Any
"""``uint8``, of ASCII."""
Flags = Any


def digits(symbols: Matrix) -> Any:
    return symbols.astype(np.int64) - 48


def luhn(symbols: Matrix) -> Flags:
    """ISO/IEC 7812-1, annex B. Zeros in front change nothing."""
    values = digits(symbols)[:, ::-1].copy()
    twice = values[:, 1::2] * 2
    values[:, 1::2] = twice - 9 * (twice > 9)
    return values.sum(axis=1) % 10 == 0


def iban(symbols: Matrix) -> Flags:
    """ISO 13616, mod 97 (ISO/IEC 7064). The rows are padded in front with zeros, and begin with the BBAN: the country and
    its check digits stand last."""
    rest = np.zeros(len(symbols), dtype=np.int64)
    for column in symbols.T.astype(np.int64):
        letter = column >= 65
        rest = np.where(letter, rest * 100 + column - 55, rest * 10 + column - 48) % 97
    return rest == 1


def number(symbols: Matrix) -> Any:
    """Up to 18 digits as an integer."""
    values = digits(symbols)
    return values @ (10 ** np.arange(values.shape[1] - 1, -1, -1, dtype=np.int64))


def _weighted(symbols: Matrix, weights: list[int]) -> Any:
    return digits(symbols)[:, : len(weights)] @ np.array(weights, dtype=np.int64)


def _not_all_equal(symbols: Matrix) -> Flags:
    return (symbols != symbols[:, :1]).any(axis=1)


def _is_day(month: Any, day: Any) -> Flags:
    longest = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    good = (month >= 1) & (month <= 12)
    return good & (day >= 1) & (day <= longest[np.where(good, month, 0)])


def _pair(symbols: Matrix, at: int) -> Any:
    values = digits(symbols)
    return values[:, at] * 10 + values[:, at + 1]


def ssn(symbols: Matrix) -> Flags:
    """United States: no check digit; no area 000, 666 or 9xx, no group 00, no serial 0000."""
    area, group, serial = number(symbols[:, :3]), number(symbols[:, 3:5]), number(symbols[:, 5:])
    return (area > 0) & (area != 666) & (area < 900) & (group > 0) & (serial > 0)


def bsn(symbols: Matrix) -> Flags:
    """Netherlands: the eleven test, the last digit counts negative."""
    return (_weighted(symbols, [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0) & _not_all_equal(symbols)


def nir(symbols: Matrix) -> Flags:
    """France: 13 symbols and 97 minus their remainder; Corsica's 2A and 2B count as 19 and 18."""
    plain = symbols.copy()
    for letter, stands_for in ((ord("A"), b"19"), (ord("B"), b"18")):
        rows = symbols[:, 6] == letter
        plain[rows, 5], plain[rows, 6] = stands_for
    month = _pair(plain, 3)
    good_month = ((month >= 1) & (month <= 12)) | ((month >= 20) & (month <= 42)) | (month >= 50)
    return (97 - number(plain[:, :13]) % 97 == number(plain[:, 13:15])) & good_month


_DNI = np.frombuffer(b"TRWAGMYFPDXBNJZSQVHLCKE", dtype=np.uint8)


def dni(symbols: Matrix) -> Flags:
    """Spain, DNI and NIE, whose X, Y, Z count as 0, 1, 2: the letter is the remainder by 23."""
    plain = symbols.copy()
    for letter, digit in zip(b"XYZ", b"012", strict=True):
        plain[symbols[:, 0] == letter, 0] = digit
    return _DNI[number(plain[:, :8]) % 23] == symbols[:, 8]


_ODD = np.array(
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]
)


def codice_fiscale(symbols: Matrix) -> Flags:
    """Italy: symbols in odd places through a table of the decree of 1976, the others by their rank."""
    values = symbols.astype(np.int64)
    rank = np.where(values >= 65, values - 65, values - 48)
    total = _ODD[rank[:, 0:15:2]].sum(axis=1) + rank[:, 1:15:2].sum(axis=1)
    return total % 26 == rank[:, 15]


def steuer_id(symbols: Matrix) -> Flags:
    """Germany: ISO/IEC 7064 mod 11,10; of the first ten digits exactly one stands there twice or three times."""
    values = digits(symbols)
    product = np.full(len(values), 10)
    for column in values[:, :10].T:
        total = (column + product) % 10
        product = np.where(total == 0, 10, total) * 2 % 11
    counts = (values[:, :10, None] == np.arange(10)).sum(axis=1)
    once = ((counts >= 2).sum(axis=1) == 1) & (counts.max(axis=1) <= 3)
    return ((11 - product) % 10 == values[:, 10]) & once & (values[:, 0] > 0)


def cpf(symbols: Matrix) -> Flags:
    """Brazil: two check digits mod 11."""
    values = digits(symbols)
    first = _weighted(symbols, list(range(10, 1, -1))) * 10 % 11 % 10
    second = _weighted(symbols, list(range(11, 1, -1))) * 10 % 11 % 10
    return (first == values[:, 9]) & (second == values[:, 10]) & _not_all_equal(symbols)


def nhs(symbols: Matrix) -> Flags:
    """United Kingdom, NHS number: mod 11; 10 is never given out."""
    check = 11 - _weighted(symbols, list(range(10, 1, -1))) % 11
    return (np.where(check == 11, 0, check) == digits(symbols)[:, 9]) & _not_all_equal(symbols)


def personnummer(symbols: Matrix) -> Flags:
    """Sweden: a day, whose number has 60 more in a samordningsnummer, and Luhn over ten digits."""
    day = _pair(symbols, 4)
    return luhn(symbols) & _is_day(_pair(symbols, 2), np.where(day > 60, day - 60, day))


def pesel(symbols: Matrix) -> Flags:
    """Poland: a day, whose month tells the century, and weights 1, 3, 7, 9."""
    total = _weighted(symbols, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1])
    return (total % 10 == 0) & _is_day(_pair(symbols, 2) % 20, _pair(symbols, 4))


def ahv(symbols: Matrix) -> Flags:
    """Switzerland: 756 and the check digit of EAN-13."""
    return _weighted(symbols, [1, 3] * 6 + [1]) % 10 == 0


_HETU = np.frombuffer(b"0123456789ABCDEFHJKLMNPRSTUVWXY", dtype=np.uint8)


def hetu(symbols: Matrix) -> Flags:
    """Finland: a day and a number, mod 31. The rows have the sign of the century taken out."""
    return (_HETU[number(symbols[:, :9]) % 31] == symbols[:, 9]) & _is_day(
        _pair(symbols, 2), _pair(symbols, 0)
    )


def fodselsnummer(symbols: Matrix) -> Flags:
    """Norway: a day, whose number has 40 more in a D number, and whose month 40 or 80 more in others; two check digits mod 11."""
    first = _weighted(symbols, [3, 7, 6, 1, 8, 9, 4, 5, 2, 1]) % 11 == 0
    second = _weighted(symbols, [5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]) % 11 == 0
    day = _pair(symbols, 0)
    return first & second & _is_day(_pair(symbols, 2) % 40, np.where(day > 40, day - 40, day))


def rijksregister(symbols: Matrix) -> Flags:
    """Belgium: 97 minus the remainder, of those born from 2000 on with a 2 in front."""
    stem, check = number(symbols[:, :9]), number(symbols[:, 9:11])
    return ((97 - stem % 97 == check) | (97 - (2_000_000_000 + stem) % 97 == check)) & (
        _pair(symbols, 2) % 20 <= 12
    )


def resident_id(symbols: Matrix) -> Flags:
    """China (GB 11643): ISO/IEC 7064 mod 11-2, and a day."""
    powers = [pow(2, 17 - place, 11) for place in range(17)]
    rest = _weighted(symbols[:, :17], powers) % 11
    letters = np.frombuffer(b"10X98765432", dtype=np.uint8)
    return (letters[rest] == symbols[:, 17]) & _is_day(_pair(symbols, 10), _pair(symbols, 12))


def cnp(symbols: Matrix) -> Flags:
    """Romania: a day, and mod 11 where 10 is written as 1."""
    rest = _weighted(symbols, [2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11
    return (np.where(rest == 10, 1, rest) == digits(symbols)[:, 12]) & _is_day(
        _pair(symbols, 3), _pair(symbols, 5)
    )


def _dihedral(first: int, second: int) -> int:
    """The product in D5: rotations are 0 to 4, reflections 5 to 9."""
    a, b = first % 5, second % 5
    turned = (a - b if first >= 5 else a + b) % 5
    return turned + 5 * ((first >= 5) != (second >= 5))


_VERHOEFF_PRODUCT = np.array([[_dihedral(a, b) for b in range(10)] for a in range(10)])
_VERHOEFF_TURN = [np.arange(10), np.array([1, 5, 7, 6, 2, 8, 3, 0, 9, 4])]
for _ in range(6):
    _VERHOEFF_TURN.append(_VERHOEFF_TURN[1][_VERHOEFF_TURN[-1]])


def aadhaar(symbols: Matrix) -> Flags:
    """India: Verhoeff's check over the dihedral group."""
    state = np.zeros(len(symbols), dtype=np.int64)
    for place, column in enumerate(digits(symbols)[:, ::-1].T):
        state = _VERHOEFF_PRODUCT[state, _VERHOEFF_TURN[place % 8][column]]
    return state == 0


def tckn(symbols: Matrix) -> Flags:
    """Türkiye: two check digits mod 10."""
    values = digits(symbols)
    odd, even = values[:, 0:9:2].sum(axis=1), values[:, 1:8:2].sum(axis=1)
    return ((odd * 7 - even) % 10 == values[:, 9]) & (values[:, :10].sum(axis=1) % 10 == values[:, 10])


def south_african_id(symbols: Matrix) -> Flags:
    return luhn(symbols) & _is_day(_pair(symbols, 2), _pair(symbols, 4)) & (symbols[:, 10] <= 50)

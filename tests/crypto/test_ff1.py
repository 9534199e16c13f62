"""FF1 against NIST's samples, two other libraries, and a plain reading of SP 800-38G."""

from __future__ import annotations

import random
import string
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from ffx import FF1 as Libffx
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_secure_provider.crypto.ff1 import Ff1
from airflow_secure_provider.crypto.ragged import Ragged
from airflow_secure_provider.crypto.symbols import Alphabet, spell

from .ubiq import ff1 as ubiq

KEY_128 = "2B7E151628AED2A6ABF7158809CF4F3C"
KEY_192 = KEY_128 + "EF4359D8D580AA4F"
KEY_256 = KEY_192 + "7F036D6F04FC6A94"
KEY = bytes.fromhex(KEY_256)
DIGITS, ALPHANUMERIC = Alphabet.named("digits"), Alphabet.named("alphanumeric")

# NIST, "Block Cipher Modes of Operation: FF1 Method for Format-Preserving Encryption", the nine examples
NIST = [
    (KEY_128, "", "digits", "0123456789", "2433477484"),
    (KEY_128, "39383736353433323130", "digits", "0123456789", "6124200773"),
    (KEY_128, "3737373770717273373737", "alphanumeric", "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
    (KEY_192, "", "digits", "0123456789", "2830668132"),
    (KEY_192, "39383736353433323130", "digits", "0123456789", "2496655549"),
    (KEY_192, "3737373770717273373737", "alphanumeric", "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
    (KEY_256, "", "digits", "0123456789", "6657667009"),
    (KEY_256, "39383736353433323130", "digits", "0123456789", "1001623463"),
    (KEY_256, "3737373770717273373737", "alphanumeric", "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
]


def encrypt(
    values: list[str], alphabet: Alphabet = DIGITS, tweak: bytes = b"domain", key: bytes = KEY
) -> list[str]:
    rows = Ragged.of([value.encode() for value in values])
    return [value.decode() for value in Ff1(key, tweak, alphabet).encrypt(spell(rows, alphabet)).tolist()]


def decrypt(
    values: list[str], alphabet: Alphabet = DIGITS, tweak: bytes = b"domain", key: bytes = KEY
) -> list[str]:
    rows = Ragged.of([value.encode() for value in values])
    return [value.decode() for value in Ff1(key, tweak, alphabet).decrypt(spell(rows, alphabet)).tolist()]


def fit(values: list[str], alphabet: Alphabet) -> list[bool]:
    fitting: list[bool] = spell(Ragged.of([value.encode() for value in values]), alphabet).fit.tolist()
    return fitting


def sp_800_38g(key: bytes, tweak: bytes, radix: int, x: list[int]) -> list[int]:
    """Algorithm 7 as it is written, with whole numbers only."""
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (the raw block cipher)

    def num(numerals: list[int]) -> int:
        value = 0
        for numeral in numerals:
            value = value * radix + numeral
        return value

    def digits(value: int, m: int) -> list[int]:
        return [value // radix**at % radix for at in range(m - 1, -1, -1)]

    n, t = len(x), len(tweak)
    u = n // 2
    v = n - u
    a, b_half = x[:u], x[u:]
    bits = 0
    while 2**bits < radix**v:  # ceil(v·log2(radix))
        bits += 1
    b = -(-bits // 8)
    d = 4 * -(-b // 4) + 4
    p = (
        bytes([1, 2, 1])
        + radix.to_bytes(3, "big")
        + bytes([10, u % 256])
        + n.to_bytes(4, "big")
        + t.to_bytes(4, "big")
    )
    for i in range(10):
        q = tweak + bytes((-t - b - 1) % 16) + bytes([i]) + num(b_half).to_bytes(b, "big")
        r = bytes(16)
        for at in range(0, len(p + q), 16):
            r = aes.update(bytes(s ^ m for s, m in zip(r, (p + q)[at : at + 16], strict=True)))
        s, j = r, 1
        while len(s) < d:
            s += aes.update((int.from_bytes(r, "big") ^ j).to_bytes(16, "big"))
            j += 1
        y = int.from_bytes(s[:d], "big")
        m = v if i % 2 else u
        a, b_half = b_half, digits((num(a) + y) % radix**m, m)
    return a + b_half


def characters(radix: int) -> str:
    """An alphabet of so many characters, some of them beyond ASCII and beyond the basic plane."""
    plain = string.digits + string.ascii_letters
    if radix <= len(plain):
        return plain[:radix]
    others = [chr(code) for code in range(0xA1, 0x2FFFF) if not 0xD800 <= code <= 0xDFFF]
    return "".join(random.Random(radix).sample(others, radix))


@pytest.mark.parametrize(
    ("key", "tweak", "alphabet", "plaintext", "ciphertext"), NIST, ids=[f"sample-{n}" for n in range(1, 10)]
)
def test_nist(key: str, tweak: str, alphabet: str, plaintext: str, ciphertext: str) -> None:
    setting = Alphabet.named(alphabet), bytes.fromhex(tweak), bytes.fromhex(key)

    assert encrypt([plaintext], *setting) == [ciphertext]
    assert decrypt([ciphertext], *setting) == [plaintext]
    numerals = [Alphabet.named(alphabet).characters.index(each) for each in plaintext]
    expected = [Alphabet.named(alphabet).characters.index(each) for each in ciphertext]
    assert sp_800_38g(setting[2], setting[1], setting[0].radix, numerals) == expected


@pytest.mark.parametrize("tweak_bytes", [0, 1, 6, 7, 8, 15, 16, 17, 40])
@pytest.mark.parametrize("radix", [2, 3, 10, 16, 26, 36, 62, 100, 256, 1000, 65_536])
def test_equals_the_standard_at_every_length(radix: int, tweak_bytes: int) -> None:
    """All lengths to 60 in one batch: halves within a word, of 12 bytes of S, and beyond 64 bits."""
    rng = random.Random(f"{radix} {tweak_bytes}")
    alphabet, tweak = Alphabet(characters(radix)), rng.randbytes(tweak_bytes)
    numerals = [[rng.randrange(radix) for _ in range(n)] for n in range(alphabet.min_length, 61)]
    rng.shuffle(numerals)
    values = ["".join(alphabet.characters[each] for each in value) for value in numerals]

    encrypted = encrypt(values, alphabet, tweak)

    assert encrypted == [
        "".join(alphabet.characters[each] for each in sp_800_38g(KEY, tweak, radix, value))
        for value in numerals
    ]
    assert decrypt(encrypted, alphabet, tweak) == values


@pytest.mark.parametrize("radix", [2, 10, 36, 62, 300])
@pytest.mark.parametrize("key_bytes", [16, 24, 32])
def test_equals_libffx(key_bytes: int, radix: int) -> None:
    rng = random.Random(f"{key_bytes} {radix}")
    alphabet, key, tweak = Alphabet(characters(radix)), rng.randbytes(key_bytes), rng.randbytes(11)
    oracle = Libffx(key, alphabet=alphabet.characters)
    values = [
        "".join(rng.choices(alphabet.characters, k=rng.randrange(alphabet.min_length, 50)))
        for _ in range(200)
    ]

    assert encrypt(values, alphabet, tweak, key) == [oracle.encrypt(value, tweak=tweak) for value in values]


@pytest.mark.parametrize("radix", [2, 10, 36, 62])
@pytest.mark.parametrize("key_bytes", [16, 24, 32])
def test_equals_ubiq(key_bytes: int, radix: int) -> None:
    rng = random.Random(f"ubiq {key_bytes} {radix}")
    alphabet, key, tweak = Alphabet(characters(radix)), rng.randbytes(key_bytes), rng.randbytes(13)
    oracle = ubiq(key, tweak, alphabet.characters)
    values = [
        "".join(rng.choices(alphabet.characters, k=rng.randrange(alphabet.min_length, 40)))
        for _ in range(200)
    ]

    encrypted = encrypt(values, alphabet, tweak, key)

    assert encrypted == [oracle.Encrypt(value) for value in values]
    assert [oracle.Decrypt(value) for value in encrypted] == values


@pytest.mark.parametrize("rows", [0, 1, 2, 1_000, 30_000])
@pytest.mark.parametrize("mixed", [False, True], ids=["one-length", "mixed"])
def test_equals_libffx_at_every_batch_size(rows: int, mixed: bool) -> None:
    rng = random.Random(rows)
    oracle = Libffx(KEY, radix=10)
    values = [
        "".join(rng.choices(string.digits, k=rng.randrange(6, 20) if mixed else 16)) for _ in range(rows)
    ]
    some = range(0, rows, 1 + rows // 500)

    encrypted = encrypt(values)

    assert [encrypted[at] for at in some] == [oracle.encrypt(values[at], tweak=b"domain") for at in some]
    assert decrypt(encrypted) == values


def test_a_permutation_of_all_values() -> None:
    everything = spell(Ragged.of([b"%06d" % number for number in range(1_000_000)]), DIGITS)

    made = Ff1(KEY, b"d", DIGITS).encrypt(everything)

    numbers = np.frombuffer(made.data[:6_000_000].tobytes(), dtype="S6").astype(np.int64)
    assert np.array_equal(np.sort(numbers), np.arange(1_000_000))


@pytest.mark.parametrize(
    ("alphabet", "value"),
    [
        (DIGITS, "123-45-6789"), (DIGITS, "+41 (44) 668 18 00"), (DIGITS, "4111 1111 1111 1111"),
        (ALPHANUMERIC, "ab12-cd34"), (Alphabet("абвгдежзий"), "(абв) где-жз"), (Alphabet("-01"), "0-1-0-1-0-1-0-1-0"),
    ],
)  # fmt: skip
def test_formatting_stays_in_place(alphabet: Alphabet, value: str) -> None:
    (made,) = encrypt([value], alphabet)

    assert len(made) == len(value)
    assert made != value
    moving = [each in alphabet.characters for each in value]
    assert [each in alphabet.characters for each in made] == moving
    assert [e for e, m in zip(made, moving, strict=True) if not m] == [
        e for e, m in zip(value, moving, strict=True) if not m
    ]
    bare = "".join(each for each in value if each in alphabet.characters)
    assert encrypt([bare], alphabet) == ["".join(e for e, m in zip(made, moving, strict=True) if m)]
    assert decrypt([made], alphabet) == [value]


@pytest.mark.parametrize(
    ("alphabet", "value", "is_fit"),
    [
        (DIGITS, "", True), (DIGITS, "123456", True), (DIGITS, "12345", False), (DIGITS, "1-2-3-4-5", False),
        (DIGITS, "-", False), (DIGITS, "12345678a", False), (DIGITS, "123 456", True), (DIGITS, "1234567~", False),
        (DIGITS, "123456\n", False), (DIGITS, "١٢٣٤٥٦", False), (DIGITS, "123456é", False),
        (ALPHANUMERIC, "abcd", True), (ALPHANUMERIC, "abc", False), (ALPHANUMERIC, "Abcd", False),
        (Alphabet("абвгдежзий"), "абвгде", True), (Alphabet("абвгдежзий"), "абвгд", False),
        (Alphabet("абвгдежзий"), "абвгдеё", False), (Alphabet("абвгдежзий"), "123456", False), (Alphabet("абвгдежзий"), "", True),
    ],
)  # fmt: skip
def test_fit(alphabet: Alphabet, value: str, is_fit: bool) -> None:
    assert fit([value], alphabet) == [is_fit]
    assert fit(["", value, ""], alphabet) == [True, is_fit, True]
    if not is_fit:
        with pytest.raises(ValueError, match=r"^1 of 2 values are unfit for FF1$"):
            encrypt([value, ""], alphabet)


def test_empty_values_stay_empty() -> None:
    assert encrypt(["", "123456", ""])[::2] == ["", ""]
    assert encrypt(["", ""]) == ["", ""]


def test_tweak_and_key_matter() -> None:
    given = ["4111111111111111"]

    assert (
        len({encrypt(given, DIGITS, *rest)[0] for rest in ((b"a", KEY), (b"b", KEY), (b"a", KEY[::-1]))}) == 3
    )


@pytest.mark.parametrize(
    ("characters", "problem"),
    [("a", "2 to 65,536"), ("", "2 to 65,536"), ("aba", "twice"), ("ab~", "reserved")],
)
def test_what_is_no_alphabet(characters: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Alphabet(characters)


@pytest.mark.parametrize(("radix", "least"), [(2, 20), (10, 6), (36, 4), (62, 4), (1000, 2), (65_536, 2)])
def test_least_length(radix: int, least: int) -> None:
    assert Alphabet(characters(radix)).min_length == least


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_length_and_alphabet_are_kept(data: Any) -> None:
    alphabet = data.draw(st.sampled_from([DIGITS, ALPHANUMERIC, Alphabet("абвгдежзий"), Alphabet("01")]))
    values = data.draw(
        st.lists(
            st.text(alphabet.characters + " -.", min_size=alphabet.min_length, max_size=45).filter(
                lambda text: fit([text], alphabet)[0]
            ),
            max_size=12,
        )
    )

    made = encrypt(values, alphabet)

    assert [[each in alphabet.characters for each in value] for value in made] == [
        [each in alphabet.characters for each in value] for value in values
    ]
    assert decrypt(made, alphabet) == values
    assert [encrypt([value], alphabet)[0] for value in values] == made


@pytest.mark.parametrize(
    ("radix", "n"), [(2, 124), (2, 125), (2, 126), (2, 127), (8, 41), (8, 42), (8, 43), (128, 18), (512, 14)]
)
def test_halves_at_the_edge_of_a_word(radix: int, n: int) -> None:
    alphabet = Alphabet(characters(radix))
    numerals = [[(row + at) % radix for at in range(n)] for row in range(3)]
    values = ["".join(alphabet.characters[each] for each in value) for value in numerals]

    made = encrypt(values, alphabet)

    assert made == [
        "".join(alphabet.characters[each] for each in sp_800_38g(KEY, b"domain", radix, value))
        for value in numerals
    ]
    assert decrypt(made, alphabet) == values

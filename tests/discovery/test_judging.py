"""What is found, what is asked, and what is left alone."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_secure_provider.discovery.columns import ColumnLook
from airflow_secure_provider.discovery.judging import Finding, judge
from airflow_secure_provider.discovery.kinds import Kind
from tests.discovery.test_check_digits import CARDS, IBANS, NATIONAL

GIVEN = ["Ana", "Jürgen", "Siobhan", "Małgorzata", "Peter", "Chloé", "John", "Fatima", "Marco", "Sofia"]
FAMILY = ["Smith", "Müller", "García", "Kowalski", "Rossi", "O'Neill", "Jansen", "Silva", "Larsson", "Yılmaz"]
ROWS = 400


def made(one: Callable[[random.Random], Any], seed: int = 7) -> list[Any]:
    rng = random.Random(seed)
    return [one(rng) for _ in range(ROWS)]


def looked_at(name: str, values: Sequence[Any] | Any, batches: int = 1) -> Finding:
    look = ColumnLook(name)
    column = pa.array(values)
    step = -(-len(column) // batches) or 1
    for start in range(0, len(column), step):
        look.look(column.slice(start, step))
    return judge(look)


def digits(rng: random.Random, count: int) -> str:
    return str(rng.randrange(10 ** (count - 1), 10**count))


FOUND: list[tuple[str, Any, Kind]] = [
    ("a", ["ana@example.com", "x.y+z@mail.example.co.uk", "jörg@bücher.example", None], Kind.EMAIL),
    ("a", CARDS, Kind.PAYMENT_CARD),
    ("a", IBANS, Kind.IBAN),
    *(("a", values * 3, Kind.NATIONAL_ID) for what, values in NATIONAL.items() if what.startswith(("FR", "IT", "PL", "BR"))),
    ("bsn", ["111222333", "123456782"] * 2, Kind.NATIONAL_ID),
    ("SSN", ["078051120", "219099999"], Kind.NATIONAL_ID),
    ("a", ["078-05-1120", "219-09-9999", "123-45-6789"], Kind.NATIONAL_ID),
    ("a", ["+44 20 7946 0958", "+14155552671", "0049 30 1234567"], Kind.PHONE),
    ("a", ["(555) 010-1234", "555-010-1234 x12", "1-555-010-1234"], Kind.PHONE),
    ("mobile_phone", [5550101234, 5550101235], Kind.PHONE),
    ("a", ["192.0.2.146", "198.51.100.7", "203.0.113.255"], Kind.IP_ADDRESS),
    ("a", ["2001:db8::1", "2001:db8:0:0:0:0:2:1", "::1"], Kind.IP_ADDRESS),
    ("client_ip", ["10.0.0.1", "10.0.0.2"], Kind.IP_ADDRESS),
    ("geburtsdatum", ["01.02.1980", "31.12.1999"], Kind.DATE_OF_BIRTH),
    ("birthDate", ["1980-02-01", "1999-12-31"], Kind.DATE_OF_BIRTH),
    ("nachname", FAMILY, Kind.PERSON_NAME),
    ("氏名", ["山田 太郎", "佐藤 花子"], Kind.PERSON_NAME),
    ("a", made(lambda rng: f"{rng.choice(GIVEN)} {rng.choice(FAMILY)}"), Kind.PERSON_NAME),
    ("a", made(lambda rng: f"{rng.choice(FAMILY)}, {rng.choice(GIVEN)}"), Kind.PERSON_NAME),
    ("a", ["221B Baker Street, London", "1600 Pennsylvania Ave", "12 Elm Road"], Kind.ADDRESS),
    ("a", ["Hauptstraße 5", "Lindenweg 12a", "Am Ring 3, 50667 Köln", "Gartenstr. 8"], Kind.ADDRESS),
    ("a", ["12 rue de la Paix", "3 avenue Foch", "Calle Mayor 5", "Via Roma 1"], Kind.ADDRESS),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "kind"), FOUND)
def test_found(name: str, values: Any, kind: Kind) -> None:
    finding = looked_at(name, values)
    assert (finding.verdict, finding.kind) == ("found", kind), finding.words


NOTHING: list[tuple[str, Any]] = [
    ("id", list(range(100_000_000, 100_000_400))),
    ("order_number", made(lambda rng: digits(rng, 10))),
    ("order_number", made(lambda rng: digits(rng, 11))),
    ("order_number", made(lambda rng: digits(rng, 13))),
    ("order_number", made(lambda rng: f"4{digits(rng, 15)}")),
    ("order_number", made(lambda rng: f"ORD-{digits(rng, 8)}")),
    ("uuid", made(lambda rng: str(uuid.UUID(int=rng.getrandbits(128))))),
    ("sha256", made(lambda rng: f"{rng.getrandbits(256):064x}")),
    ("md5", made(lambda rng: f"{rng.getrandbits(128):032x}")),
    ("created_at", made(lambda rng: f"2024-05-{rng.randrange(10, 29)}T12:{rng.randrange(10, 59)}:00Z")),
    ("unix_time", made(lambda rng: rng.randrange(1_600_000_000, 1_800_000_000))),
    ("due", made(lambda rng: f"202{rng.randrange(4)}-0{rng.randrange(1, 10)}-11")),
    ("version", made(lambda rng: f"{rng.randrange(9)}.{rng.randrange(20)}.{rng.randrange(20)}")),
    ("browser", made(lambda rng: f"120.0.{rng.randrange(6000, 7000)}.{rng.randrange(300)}")),
    ("amount", made(lambda rng: f"{rng.randrange(10**7) / 100:.2f}")),
    ("latitude", made(lambda rng: rng.random() * 90)),
    ("mac", made(lambda rng: ":".join(f"{rng.randrange(256):02x}" for _ in range(6)))),
    ("duration", made(lambda rng: f"{rng.randrange(24):02}:{rng.randrange(60):02}:00")),
    ("isbn", made(lambda rng: f"978-3-16-{digits(rng, 6)}-{rng.randrange(10)}")),
    ("status", ["open", "closed", "pending"] * 50),
    ("active", [True, False, None]),
    ("country", ["DE", "FR", "US", "PL"] * 20),
    ("email_count", [1, 2, 3]),
    ("is_phone_verified", ["yes", "no"]),
    ("sku", made(lambda rng: f"AB-{digits(rng, 4)}-{rng.choice('XYZ')}")),
    ("path", made(lambda rng: f"/var/log/{digits(rng, 6)}.log")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values"), NOTHING)
def test_nothing(name: str, values: Any) -> None:
    finding = looked_at(name, values)
    assert finding.verdict == "nothing", (finding.kind, finding.words)


ASKED: list[tuple[str, Any, Kind | None]] = [
    ("a", ["111222333", "123456782"] * 4, Kind.NATIONAL_ID),  # as likely any other number with an eleven test
    ("a", made(lambda rng: f"{rng.randrange(1940, 2006)}-03-11"), Kind.DATE_OF_BIRTH),
    ("release", made(lambda rng: f"1.{rng.randrange(9)}.{rng.randrange(9)}.{rng.randrange(9)}"), Kind.IP_ADDRESS),
    ("email", ["n/a", "none"], Kind.EMAIL),
    ("ssn", [None], Kind.NATIONAL_ID),
    ("empty", [None, None], None),  # nobody knows what it will hold
    ("comment", ["the customer called about the invoice again and wants a refund"] * 9, Kind.FREE_TEXT),
    ("reference", ["x1"] * 90 + ["ana@example.com"] * 10, Kind.EMAIL),
    ("payload", [{"a": 1}], None),
    ("blob", [b"x"], None),
    ("key", pa.array([b"x" * 16], pa.binary(16)), None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "kind"), ASKED)
def test_asked(name: str, values: Any, kind: Kind | None) -> None:
    finding = looked_at(name, values)
    assert (finding.verdict, finding.kind) == ("ask", kind), finding.words
    assert finding.words


SENTENCE = "the customer called about invoice {} again and wants a refund{}"


@pytest.mark.parametrize(
    "held",
    [
        "; mail ana@example.com.", ", card 4111 1111 1111 1111", " to DE89370400440532013000", ", ssn 078-05-1120",
        ", call +44 20 7946 0958", " from 192.0.2.146",
    ],
)  # fmt: skip
def test_text_that_holds_something(held: str) -> None:
    """In one of a hundred values, in a later batch than the first too."""
    values = [SENTENCE.format(number, held if number % 100 == 99 else "") for number in range(1000)]
    finding = looked_at("note", values, batches=3)
    assert (finding.verdict, finding.kind) == ("found", Kind.FREE_TEXT), finding.words
    assert 0.005 < finding.evidence[0].share < 0.02


def test_numbers_in_text_are_no_cards() -> None:
    values = made(lambda rng: SENTENCE.format(f"4{digits(rng, 15)}", ""))
    assert not looked_at("note", values).evidence


def test_what_stands_beside_does_not_matter() -> None:
    """Slices, dictionaries and larger offsets give the same."""
    values = pa.array(["no", *CARDS, "no"])
    whole = looked_at("a", pa.array(CARDS))
    assert looked_at("a", values.slice(1, len(CARDS))) == whole
    assert looked_at("a", pa.array(CARDS).dictionary_encode()) == whole
    assert looked_at("a", pa.array(CARDS).cast(pa.large_string())) == whole


def test_text_that_is_none_is_asked_about_and_not_quoted() -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\x09\0\0\0"), pa.py_buffer(b"\xffSECRET7\xff")]
    )
    look = ColumnLook("a")
    look.look(broken)
    finding = judge(look)
    assert finding.verdict == "ask"
    assert "SECRET7" not in finding.words


ANY = st.one_of(
    st.text(),
    st.text(alphabet="0123456789ABCKſ\u212a٣-. +@/,:\n", max_size=40),
    st.sampled_from([*CARDS, *IBANS, *(value for values in NATIONAL.values() for value in values)]).flatmap(
        lambda value: st.integers(0, len(value)).map(lambda at: value[:at] + "\u212a" + value[at + 1 :])
    ),
)


@given(st.lists(st.one_of(st.none(), ANY)), st.integers(1, 4))
def test_any_text_can_be_looked_at(values: list[str | None], batches: int) -> None:
    """Letters that fold to ASCII ones, digits of other scripts, halves of numbers."""
    finding = looked_at("a", pa.array(values, pa.string()), batches)
    assert finding.verdict in ("found", "ask", "nothing")
    assert not finding.why.startswith("its values are")  # so none of it broke a look
    assert all(0 < each.share <= 1 for each in finding.evidence)


@pytest.mark.parametrize("name", ["cardno", "ccnum", "kunden_kartennr", "Karten-Nr."])
def test_a_name_that_says_card_is_asked_about(name: str) -> None:
    """Whatever stands there: these are no card numbers, by their check digits."""
    found = looked_at(name, ["4561930468726215", "5820918869382484", "5888112010199629"])
    assert (found.verdict, found.kind) == ("ask", Kind.PAYMENT_CARD)

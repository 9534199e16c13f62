"""Seeded synthetic customers and orders, with canaries planted in every protected text column."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
import secrets
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import quote, quote_plus

CUSTOMER_COLUMNS = (
    "id",
    "first_name",
    "last_name",
    "email",
    "ssn",
    "phone",
    "card",
    "birth_date",
    "postcode",
    "amount",
    "notes",
)
ORDER_COLUMNS = ("order_id", "buyer_email", "ordered_on", "total")
# A date has ten bytes and can't hold a canary.
CANARY_COLUMNS = ("first_name", "last_name", "email", "ssn", "phone", "card", "postcode", "notes")
CANARIES_PER_COLUMN = 50

_FIRST = (
    "Ana",
    "Björn",
    "Chloé",
    "Dávid",
    "Eşref",
    "Fiona",
    "Grégoire",
    "Håkon",
    "Íris",
    "José",
    "Łucja",
    "Минь",
    "小明",
)
_LAST = (
    "Álvarez",
    "Brown",
    "Çelik",
    "D'Angelo",
    "Eriksson",
    "Fischer",
    "García",
    "O'Neill",
    "Żak",
    "van der Berg",
    "李",
)
_WORDS = (
    "called",
    "asked for",
    "a refund",
    "prefers",
    "e-mail",
    "on holiday",
    "until",
    "next week",
    "moved to",
    "Łódź",
)


@dataclass(frozen=True, slots=True)
class Canaries:
    """Values that must never turn up anywhere but in the source. All begin with the same unique mark."""

    mark: str

    @classmethod
    def fresh(cls) -> Canaries:
        return cls(f"Kanarì/{secrets.token_hex(8)}")

    def value(self, column: str, number: int) -> str:
        """At least 12 bytes, unique in column and number."""
        return f"{self.mark}-{column}-{number:03d}"

    def forms(self) -> dict[str, bytes]:
        """The mark as it would look in a leak: raw, JSON-escaped, URL-encoded, hex, and base64 at each alignment."""
        raw = self.mark.encode()
        forms = {
            "raw": raw,
            "JSON": json.dumps(self.mark)[1:-1].encode(),
            "URL": quote(self.mark, safe="").encode(),
            "URL, slashes kept": quote(self.mark).encode(),
            "form": quote_plus(self.mark).encode(),
            "hex": raw.hex().encode(),
            "HEX": raw.hex().upper().encode(),
        }
        for shift in range(3):
            # Only the characters that hang on the mark's bytes alone, whatever stands before and behind it.
            for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
                whole = encode(bytes(shift) + raw)
                first = (shift * 8 + 5) // 6
                last = (shift + len(raw)) * 8 // 6
                forms[f"{name}+{shift}"] = whole[first:last]
        return forms

    def found_in(self, content: bytes) -> list[str]:
        """The forms in which the mark stands in *content*."""
        return [name for name, form in self.forms().items() if form in content]


@dataclass(frozen=True, slots=True)
class Customer:
    id: int
    first_name: str | None
    last_name: str | None
    email: str | None
    ssn: str | None
    phone: str | None
    card: str | None
    birth_date: str | None
    postcode: str | None
    amount: str | None
    notes: str | None

    def row(self) -> list[object]:
        return [getattr(self, name) for name in CUSTOMER_COLUMNS]


@dataclass(frozen=True, slots=True)
class Order:
    order_id: int
    buyer_email: str | None
    ordered_on: str
    total: str

    def row(self) -> list[object]:
        return [getattr(self, name) for name in ORDER_COLUMNS]


def customers(count: int, canaries: Canaries, seed: int = 20261120) -> list[Customer]:
    """Customers with nulls, empty strings, quotes, commas and newlines in fields, and names in many scripts."""
    pick = random.Random(seed)
    planted = {
        (column, row): canaries.value(column, number)
        for column in CANARY_COLUMNS
        for number, row in enumerate(pick.sample(range(10, count), CANARIES_PER_COLUMN))
    }
    made = []
    for row in range(count):
        first, last = pick.choice(_FIRST), pick.choice(_LAST)
        values: dict[str, str | None] = {
            "first_name": first,
            "last_name": last,
            "email": f"user{row}@example.{pick.choice(('com', 'org', 'eu'))}",
            "ssn": f"{pick.randrange(100, 900)}-{pick.randrange(10, 99)}-{pick.randrange(1000, 9999)}",
            "phone": f"+{pick.randrange(1, 99)} {pick.randrange(10**8, 10**9)}",
            "card": f"{pick.randrange(4 * 10**15, 6 * 10**15)}",
            "birth_date": str(date(1930, 1, 1) + timedelta(days=pick.randrange(28_000))),
            "postcode": f"{pick.randrange(100_000):05d}",
            "amount": f"{pick.randrange(10**6) / 100:.2f}",
            "notes": _note(pick),
        }
        if row > 2:  # the first rows are shown to people: keep them whole
            for name in values:
                if pick.random() < 0.02:
                    values[name] = None if name in ("birth_date", "amount") or pick.random() < 0.7 else ""
        for name in CANARY_COLUMNS:
            values[name] = planted.get((name, row), values[name])
        made.append(Customer(id=row + 1, **values))
    return made


def orders(count: int, buyers: list[Customer], seed: int = 20261121) -> list[Order]:
    """Orders; about one in twenty is of somebody who is no customer."""
    pick = random.Random(seed)
    made = []
    for row in range(count):
        buyer = pick.choice(buyers).email if pick.random() < 0.95 else f"guest{row}@example.net"
        day = date(2026, 1, 1) + timedelta(days=pick.randrange(300))
        made.append(Order(row + 1, buyer, str(day), f"{pick.randrange(10**5) / 100:.2f}"))
    return made


def as_csv(columns: tuple[str, ...], rows: list[list[object]]) -> bytes:
    """CSV in which null is an unquoted and "" a quoted empty field."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(columns)
    for row in rows:
        out.write(",".join(_field(value) for value in row) + "\n")
    return out.getvalue().encode()


def _field(value: object) -> str:
    if value is None:
        return ""
    return '"' + str(value).replace('"', '""') + '"'


def _note(pick: random.Random) -> str:
    note = " ".join(pick.choice(_WORDS) for _ in range(pick.randrange(3, 9)))
    kind = pick.random()
    if kind < 0.1:
        return f'said "{note}", then left'
    if kind < 0.2:
        return note.replace(" ", "\n", 1)
    return note

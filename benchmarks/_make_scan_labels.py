"""Makes ``_scan_labels.json``, the labelled columns of the scan's benchmark, with other people's generators.

Not needed to run the benchmark: ``uv run --with faker==40.54.0 --no-project python benchmarks/_make_scan_labels.py``.

The rules of :mod:`airflow_secure_provider.discovery` were written with the examples of ``tests/discovery``; nothing of this
set was looked at for them. Names of columns are of three sorts: telling ones, such as no rule knows them all; neutral ones;
and misleading ones for what is no personal data.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faker import Faker

VALUES = 60
SEED = 41
LOCALES = (
    "en_GB", "en_CA", "en_AU", "en_IN", "en_IE", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_CA", "es_ES", "es_MX", "es_AR", "it_IT",
    "pt_PT", "pt_BR", "nl_NL", "nl_BE", "sv_SE", "no_NO", "da_DK", "fi_FI", "pl_PL", "cs_CZ", "ro_RO", "hu_HU", "tr_TR", "hr_HR",
)  # fmt: skip
IDS = {
    "de_DE": "ssn", "fr_FR": "ssn", "es_ES": "nif", "it_IT": "ssn", "pt_BR": "cpf", "nl_NL": "ssn", "nl_BE": "ssn", "sv_SE": "ssn",
    "no_NO": "ssn", "fi_FI": "ssn", "pl_PL": "pesel", "ro_RO": "ssn", "en_US": "ssn", "de_CH": "ssn", "en_CA": "ssn",
    "en_GB": "ssn", "en_IN": "aadhaar_id", "tr_TR": "ssn", "zh_CN": "ssn",
}  # fmt: skip
TELLING = {
    "email": ["contact_email", "E-Mail", "work_mail"],
    "phone": ["phone_no", "telefon_privat", "contactPhone"],
    "payment_card": ["card_number", "pan", "cc_num"],
    "national_id": ["national_id", "ssn", "person_id_number"],
    "iban": ["iban", "account", "IBAN_code"],
    "ip_address": ["ip", "last_login_ip", "remote"],
    "date_of_birth": ["date_of_birth", "dob", "birthDate"],
    "person_name": ["full_name", "customer", "contact_person"],
    "address": ["address", "street_1", "home_addr"],
}


def columns() -> Iterator[tuple[str, str | None, list[Any]]]:
    """Name, kind and values."""
    rng = random.Random(SEED)

    def column(
        kind: str | None, name: str, one: Callable[[], Any], nulls: float = 0.05
    ) -> tuple[str, str | None, list[Any]]:
        return name, kind, [None if rng.random() < nulls else one() for _ in range(VALUES)]

    for at, locale in enumerate(LOCALES):
        fake = Faker(locale)
        fake.seed_instance(SEED + at)
        told = lambda kind, at=at: TELLING[kind][at % 3]  # noqa: E731
        for kind, one in _of_locale(fake, rng):
            yield column(kind, told(kind), one)
            if kind != "date_of_birth" or at % 4 == 0:
                yield column(kind, f"field_{at}", one)
        yield column("free_text", "remarks", lambda fake=fake: _note(fake, rng))
    for at, (locale, method) in enumerate(IDS.items()):
        fake = Faker(locale)
        fake.seed_instance(SEED + 100 + at)
        one = getattr(fake, method)
        yield column("national_id", TELLING["national_id"][at % 3], one)
        yield column("national_id", f"field_{at}", one)
    fake = Faker(list(LOCALES))
    fake.seed_instance(SEED)
    british = Faker("en_GB")
    british.seed_instance(SEED)
    for brand in ("visa", "mastercard", "amex", "discover", "diners", "jcb16"):
        for name in ("cc_num", "value"):
            yield column("payment_card", name, lambda brand=brand: british.credit_card_number(brand))
    for name, one in _not_personal(fake, rng):
        yield column(None, name, one)


def _of_locale(fake: Any, rng: random.Random) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "email", rng.choice([fake.email, fake.company_email, fake.free_email])
    yield "phone", fake.phone_number
    yield "iban", fake.iban
    yield "ip_address", rng.choice([fake.ipv4, fake.ipv6, fake.ipv4_public])
    form = rng.choice(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d"])
    yield "date_of_birth", lambda: fake.date_of_birth(minimum_age=16, maximum_age=90).strftime(form)
    yield (
        "person_name",
        rng.choice(
            [fake.name, fake.last_name, fake.first_name, lambda: f"{fake.last_name()}, {fake.first_name()}"]
        ),
    )
    yield "address", rng.choice([fake.address, fake.street_address])


def _note(fake: Any, rng: random.Random) -> str:
    held = (
        rng.choice([fake.email, fake.phone_number, fake.iban, fake.credit_card_number])
        if rng.random() < 0.15
        else None
    )
    words = fake.sentence(nb_words=10)
    return f"{words} {held()} {fake.sentence(nb_words=5)}" if held else words


def _not_personal(fake: Any, rng: random.Random) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "ean", fake.ean13
    yield "ean8", fake.ean8
    yield "isbn", fake.isbn13
    yield "isbn10", fake.isbn10
    yield "uuid", fake.uuid4
    yield "md5", fake.md5
    yield "sha1", fake.sha1
    yield "mac", fake.mac_address
    yield "url", fake.url
    yield "uri", fake.uri
    yield "user_agent", fake.user_agent
    yield "company", fake.company
    yield "supplier", fake.company
    yield "city", fake.city
    yield "country", fake.country
    yield "state_code", lambda: rng.choice(["CA", "NY", "TX", "WA"])
    yield "currency", fake.currency_code
    yield "colour", fake.color_name
    yield "product", lambda: f"{fake.color_name()} {fake.word()}"
    yield "job_title", fake.job
    yield "mime", fake.mime_type
    yield "file_name", fake.file_name
    yield "file_path", fake.file_path
    yield "ts", fake.iso8601
    yield "unix", fake.unix_time
    yield "day", lambda: fake.date_between("-3y").isoformat()
    yield "due_date", lambda: fake.date_between("-1y", "+1y").strftime("%d.%m.%Y")
    yield "time", fake.time
    yield "timezone", fake.timezone
    yield "price", lambda: f"{rng.randrange(10**6) / 100:.2f}"
    yield "quantity", lambda: rng.randrange(100)
    yield "lat", lambda: str(fake.latitude())
    yield "swift", fake.swift
    yield "licence_plate", fake.license_plate
    yield "version", lambda: f"{rng.randrange(9)}.{rng.randrange(30)}.{rng.randrange(200)}"
    yield (
        "semver",
        lambda: f"v{rng.randrange(3)}.{rng.randrange(30)}.{rng.randrange(9)}-rc.{rng.randrange(9)}",
    )
    yield "status", lambda: rng.choice(["open", "closed", "pending", "on hold"])
    yield "word", fake.word
    yield "hostname", fake.hostname
    yield "email_domain", fake.domain_name
    yield "phone_model", lambda: f"X{rng.randrange(9)} {rng.choice(['Pro', 'Max', 'Mini'])}"
    yield "name_of_product", lambda: f"{fake.word()} {rng.randrange(900)}"
    for length in range(6, 21):
        yield f"ref_{length}", lambda length=length: str(rng.randrange(10 ** (length - 1), 10**length))
        yield (
            f"serial_{length}",
            lambda length=length: f"{rng.choice('ABCDEFGH')}{rng.randrange(10 ** (length - 1), 10**length)}",
        )
    for stem in (10**8, 10**9, 10**10, 10**11, 4 * 10**15):
        start = iter(range(stem, stem + 10**6, 7))
        yield f"sequence_{stem}", lambda start=start: next(start)
    yield "tracking", lambda: f"{rng.randrange(1000):03}-{rng.randrange(10**4):04}-{rng.randrange(10**4):04}"
    yield "invoice", lambda: f"INV-{rng.randrange(2018, 2026)}-{rng.randrange(10**5):05}"


def main() -> None:
    told = [{"name": name, "kind": kind, "values": values} for name, kind, values in columns()]
    lines = ",\n".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in told)
    Path(__file__).with_name("_scan_labels.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()

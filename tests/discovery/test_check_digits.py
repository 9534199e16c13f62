"""Check digits against published examples: card brands' test numbers, the IBAN registry, authorities' specimen numbers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_secure_provider.discovery.detectors import DETECTORS, Detector
from airflow_secure_provider.discovery.kinds import Kind

CARDS = [
    "4111111111111111", "4012-8888-8888-1881", "5555 5555 5555 4444", "5105105105105100", "2223003122003222",
    "378282246310005", "3714 496353 98431", "6011111111111117", "3530111333300000", "30569309025904", "38520000023237",
]  # fmt: skip
IBANS = [
    "GB29NWBK60161331926819", "DE89 3704 0044 0532 0130 00", "FR1420041010050500013M02606", "NL91ABNA0417164300",
    "ES9121000418450200051332", "IT60X0542811101000000123456", "CH9300762011623852957", "NO9386011117947",
    "MT84MALT011000012345MTLCAST001S", "BE68539007547034", "SE4550000000058398257466", "BR1800360305000010009795493C1",
]  # fmt: skip
NATIONAL = {
    "US SSN": ["078-05-1120", "219-09-9999"],
    "NL BSN": ["111222333", "123456782"],
    "FR NIR": ["255081416802538", "2 55 08 14 168 025 38"],
    "ES DNI or NIE": ["12345678Z", "X1234567L", "12345678-z"],
    "IT codice fiscale": ["RSSMRA85T10A562S", "MRTMTT91D08F205J"],
    "DE tax id": ["86095742719", "47 036 892 816", "65929970489"],
    "BR CPF": ["111.444.777-35", "52998224725"],
    "UK NHS number": ["943 476 5919", "4010232137"],
    "UK NINO": ["AA 12 34 56 C", "AB123456D"],
    "SE personnummer": ["811218-9876", "19811218-9876", "670919-9530"],
    "PL PESEL": ["44051401359"],
    "CH AHV number": ["756.1234.5678.97", "7569217076985"],
    "FI HETU": ["131052-308T", "131052+308T"],
    "NO fødselsnummer": ["15108695088", "151086 95088"],
    "BE national number": ["85.07.30-033.28", "85073003328"],
    "CN resident id": ["11010519491231002X"],
    "RO CNP": ["1800101221144"],
    "IN Aadhaar": ["234123412346", "2341 2341 2346"],
    "TR kimlik": ["10000000146"],
    "ZA id": ["8001015009087"],
    "CA SIN": ["130 692 544"],
}


def detector(what: str) -> Detector:
    return next(each for each in DETECTORS if each.what == what)


def right(what: str, *values: str) -> int:
    return detector(what).find(pa.array(values))[1]


@pytest.mark.parametrize(
    ("what", "value"),
    [
        *(("payment card", value) for value in CARDS),
        *(("IBAN", value) for value in IBANS),
        *((what, value) for what, values in NATIONAL.items() for value in values),
    ],
)
def test_published_examples(what: str, value: str) -> None:
    assert right(what, value) == 1


@pytest.mark.parametrize("what", sorted({each.what for each in DETECTORS if each.kind is Kind.NATIONAL_ID}))
def test_every_national_id_has_an_example(what: str) -> None:
    assert what in NATIONAL or what == "US SSN without dashes"


@pytest.mark.parametrize("value", ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000"])
def test_no_ssn(value: str) -> None:
    assert right("US SSN", value) == 0


CHECKED = [
    ("payment card", "4111111111111111", 1),
    ("IBAN", "DE89370400440532013000", 2),
    *(
        (what, values[0], 0)
        for what, values in NATIONAL.items()
        if what not in ("US SSN", "UK NINO", "RO CNP", "TR kimlik")
    ),
]


@given(st.sampled_from(CHECKED), st.data())
def test_one_wrong_digit_is_noticed(case: tuple[str, str, int], data: Any) -> None:
    what, value, first = case
    places = [at for at, symbol in enumerate(value) if symbol.isdigit() and at >= first]
    at = data.draw(st.sampled_from(places))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != value[at]]))
    assert right(what, value[:at] + other + value[at + 1 :]) == 0


@given(st.lists(st.sampled_from([*CARDS, "4111111111111112", "x", "", "5555555555554445"])))
def test_values_beside_each_other_do_not_matter(values: list[str]) -> None:
    assert detector("payment card").find(pa.array(values, pa.string()))[1] == sum(v in CARDS for v in values)

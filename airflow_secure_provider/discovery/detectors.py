"""One detector for each way in which a kind is written: a pattern, and check digits where there are any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import check_digits as check
from .kinds import Kind
from .words import STREET, STREET_ENDING

Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Detector:
    """
    :param what: for the report.
    :param pattern: of the whole value (RE2).
    :param digits: least and most ASCII digits in such a value, by which most values are passed over.
    :param check: given the values that match, as text; tells which are right.
    :param chance: how often a number of this shape is right by chance.
    :param certain: whether values alone tell. If not, it takes the column's name, or a question.
    :param asks: whether an uncertain one without a name is asked about.
    """

    kind: Kind
    what: str
    pattern: str
    digits: tuple[int, int]
    check: Check | None = None
    chance: float = 0.0
    certain: bool = True
    asks: bool = True

    def find(self, values: Any) -> tuple[int, int]:
        """:return: how many have the shape, and how many of these are right."""
        shaped = values.filter(pc.match_substring_regex(values, f"^(?:{self.pattern})$"))
        if not len(shaped) or self.check is None:
            return len(shaped), len(shaped)
        return len(shaped), int(np.count_nonzero(self.check(shaped)))


def matrix(values: Any, length: int) -> Any:
    """Values of one length in bytes, a row each."""
    values = values.cast(pa.large_string())
    _, offsets, data = values.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64)[values.offset : values.offset + len(values) + 1]
    symbols = np.frombuffer(data, dtype=np.uint8)[starts[0] : starts[-1]]
    return symbols.reshape(len(values), length)


def of_length(length: int, test: Check, drop: str = r"[^0-9A-Za-z]", keep_last: bool = False) -> Check:
    """A test of bare symbols, in upper case; shorter values get zeros in front, of longer ones the end counts."""

    def run(values: Any) -> Any:
        bare = pc.utf8_upper(pc.replace_substring_regex(values, drop, ""))
        if keep_last:
            bare = pc.utf8_slice_codeunits(bare, -length)
        return test(matrix(pc.utf8_lpad(bare, length, "0"), length))

    return run


def _iban(values: Any) -> Any:
    bare = pc.utf8_upper(pc.replace_substring_regex(values, r"[^0-9A-Za-z]", ""))
    turned = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(bare, 4), pc.utf8_slice_codeunits(bare, 0, 4), ""
    )
    return check.iban(matrix(pc.utf8_lpad(turned, 34, "0"), 34))


_S = r"[ .\-/]?"
_D = r"\d"
_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"
# Letters and digits in a few ranges, and no counted repeats of them: \pL has hundreds of ranges, which RE2 compiles anew for
# each repeat and each call.
_WORD = r"0-9A-Za-z\x{C0}-\x{1FFF}\x{3040}-\x{D7FF}"
_TLD = r"[A-Za-z][A-Za-z]+|xn--[A-Za-z0-9\-]+"
EMAIL = rf"[^\s@\"'<>(),;:\[\]\\]+@(?:[{_WORD}][{_WORD}\-]*\.)+(?:{_TLD})"
CARD = (
    r"4\d{3}(?:[ \-]?\d{4}){3}|4\d{12}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)(?:[ \-]?\d{4}){3}"
    r"|3[47]\d\d[ \-]?\d{6}[ \-]?\d{5}|(?:6011|65\d\d|64[4-9]\d|62\d\d|35(?:2[89]|[3-8]\d))(?:[ \-]?\d{4}){3}"
    r"|3(?:0[0-5]|[68]\d)\d[ \-]?\d{6}[ \-]?\d{4}|(?:50|5[6-8]|6[0-9])\d{10,17}"
)
IBAN = r"(?i:[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,4})?)"
SSN = r"\d{3}-\d{2}-\d{4}"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
IPV6 = (
    r"(?i:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,7}:|(?:[0-9a-f]{1,4}:){1,6}(?::[0-9a-f]{1,4}){1,6}"
    r"|::(?:[0-9a-f]{1,4}:){0,6}[0-9a-f]{1,4})"
)
PHONE = r"(?:\+|00)[1-9]\d{0,2}[ .\-/]?(?:\(0?\d{0,4}\)[ .\-/]?)?\d(?:[ .\-/]?\d){5,12}(?:(?: ?x| ext\.? ?)\d{1,6})?"
_PHONE_AMERICAN = (
    r"(?:(?:\+?1|001)[ .\-])?(?:\(\d{3}\) ?|\d{3}[.\-])\d{3}[ .\-]\d{4}(?:(?: ?x| ext\.? ?)\d{1,6})?"
)
_PHONE_OTHER = (
    r"\(?0\d{1,5}\)?[ /\-.]{1,3}\d(?:[ .\-/]?\d){4,9}|0[1-9](?:[ .]\d\d){4}"
    r"|\(\d{2,5}\)[ \-]?\d(?:[ .\-]?\d){5,9}|[1-9]\d{1,3}(?:[ ]\d{2,4}){2,4}|\d{2,3}-\d{3}[ \-]\d{2}[ \-]\d{2,3}"
)
_ISO_DATE = rf"(?:18|19|20)\d\d[\-/.]{_MONTH}[\-/.]{_DAY}(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?"
_OTHER_DATE = rf"(?:{_DAY}|[1-9])[\-/.](?:{_MONTH}|[1-9])[\-/.](?:18|19|20)\d\d|(?:{_MONTH}|[1-9])/(?:{_DAY}|[1-9])/(?:18|19|20)\d\d"


def _national(
    what: str, pattern: str, digits: tuple[int, int], test: Check, chance: float, *, certain: bool = True
) -> Detector:
    return Detector(Kind.NATIONAL_ID, what, pattern, digits, test, chance, certain)


DETECTORS: Sequence[Detector] = (
    Detector(Kind.EMAIL, "e-mail address", EMAIL, (0, 64)),
    Detector(Kind.IBAN, "IBAN", IBAN, (2, 34), _iban, 1 / 97),
    Detector(Kind.PAYMENT_CARD, "payment card", CARD, (12, 19), of_length(19, check.luhn), 0.1),
    _national("US SSN", SSN, (9, 9), of_length(9, check.ssn), 0.9),
    _national("US SSN without dashes", r"\d{9}", (9, 9), of_length(9, check.ssn), 0.9, certain=False),
    _national("NL BSN", r"\d{9}|\d{4}\.\d\d\.\d{3}", (9, 9), of_length(9, check.bsn), 1 / 11, certain=False),
    _national(
        "FR NIR", rf"[1-478]{_S}\d\d{_S}\d\d{_S}(?:\d\d|2[ABab]){_S}\d{{3}}{_S}\d{{3}}{_S}\d\d", (14, 15),
        of_length(15, check.nir), 1 / 97,
    ),
    _national(
        "ES DNI or NIE", r"(?:\d{8}|[XYZxyz]-?\d{7})-?[A-HJ-NP-TV-Za-hj-np-tv-z]", (7, 8), of_length(9, check.dni),
        1 / 23,
    ),
    _national(
        "IT codice fiscale", r"(?i:[A-Z]{6}[0-9LMNP-V]{2}[ABCDEHLMPRST][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z])", (0, 7),
        of_length(16, check.codice_fiscale), 1 / 26,
    ),
    _national("DE tax id", rf"[1-9]\d{_S}\d{{3}}{_S}\d{{3}}{_S}\d{{3}}", (11, 11), of_length(11, check.steuer_id), 0.05),
    _national("BR CPF", r"\d{3}\.\d{3}\.\d{3}-\d\d|\d{11}", (11, 11), of_length(11, check.cpf), 0.01),
    _national("UK NHS number", r"\d{3}[ \-]?\d{3}[ \-]?\d{4}", (10, 10), of_length(10, check.nhs), 1 / 11, certain=False),
    Detector(
        Kind.NATIONAL_ID, "UK NINO", r"(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D])", (6, 6)
    ),
    _national(
        "SE personnummer", r"(?:19|20)?\d{6}[\-+]?\d{4}", (10, 12), of_length(10, check.personnummer, keep_last=True), 0.01
    ),
    _national("PL PESEL", r"\d{11}", (11, 11), of_length(11, check.pesel), 0.02),
    _national("CH AHV number", rf"756{_S}\d{{4}}{_S}\d{{4}}{_S}\d\d", (13, 13), of_length(13, check.ahv), 0.1),
    _national(
        "FI HETU", r"(?i:\d{6}[\-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y])", (9, 10),
        lambda values: of_length(10, check.hetu)(pc.replace_substring_regex(values, r"^(\d{6}).", r"\1")), 0.01,
    ),
    _national("NO fødselsnummer", r"\d{6} ?\d{5}", (11, 11), of_length(11, check.fodselsnummer), 0.003),
    _national(
        "BE national number", r"\d\d\.?\d\d\.?\d\d[ \-]?\d{3}[ .]?\d\d", (11, 11), of_length(11, check.rijksregister), 0.004
    ),
    _national("CN resident id", r"[1-9]\d{5}(?:19|20)\d{9}[0-9Xx]", (17, 18), of_length(18, check.resident_id), 0.003),
    _national("RO CNP", r"[1-9]\d{12}", (13, 13), of_length(13, check.cnp), 0.003),
    _national("IN Aadhaar", r"[2-9]\d{3}[ \-]?\d{4}[ \-]?\d{4}", (12, 12), of_length(12, check.aadhaar), 0.1, certain=False),
    _national("TR kimlik", r"[1-9]\d{10}", (11, 11), of_length(11, check.tckn), 0.01),
    _national("ZA id", r"\d{13}", (13, 13), of_length(13, check.south_african_id), 0.002),
    _national("CA SIN", r"[1-79]\d\d[ \-]?\d{3}[ \-]?\d{3}", (9, 9), of_length(9, check.luhn), 0.1, certain=False),
    Detector(Kind.IP_ADDRESS, "IPv4 address", IPV4, (4, 12), certain=True),
    Detector(Kind.IP_ADDRESS, "IPv6 address", IPV6, (0, 32)),
    Detector(Kind.PHONE, "international phone number", PHONE, (7, 22)),
    Detector(Kind.PHONE, "phone number of North America", _PHONE_AMERICAN, (10, 20)),
    Detector(Kind.PHONE, "phone number with separators", _PHONE_OTHER, (7, 20), certain=False),
    Detector(Kind.PHONE, "digits as of a phone number", r"\d{7,15}", (7, 15), certain=False, asks=False),
    Detector(Kind.DATE_OF_BIRTH, "date", f"{_ISO_DATE}|{_OTHER_DATE}", (6, 20), certain=False, asks=False),
    Detector(
        Kind.ADDRESS, "street and number",
        rf"(?is:.*\d.*(?:^|[\s,])(?:{STREET})(?:[\s,.].*|$)|(?:.*[\s,.])?(?:{STREET})[\s,].*\d.*"
        rf"|.*[{_WORD}](?:{STREET_ENDING})[\s,].{{0,12}}\d.*)",
        (1, 30),
    ),
    Detector(
        Kind.ADDRESS, "lines with a postal code",
        rf"(?s:.*[{_WORD}].*[\n,] ?(?:[^\n,]*[ ,][A-Z]{{2}},? \d{{5}}(?:-\d{{4}})?|(?:[A-Z]{{1,2}}-)?\d{{2,3}}[ \-]?\d{{2,3}} [{_WORD}].*))", (3, 30),
    ),
    Detector(
        Kind.ADDRESS, "words and a house number",
        rf"[A-Z\x{{C0}}-\x{{17F}}][{_WORD}.'’]*(?:[ \-][{_WORD}.'’]+){{0,4}},? \d{{1,4}} ?[a-zA-Z]?(?:[/\-]\d{{1,3}})?"
        rf"|\d{{1,5}},? [A-Z\x{{C0}}-\x{{17F}}][{_WORD}.'’]+(?: [A-Z\x{{C0}}-\x{{17F}}][{_WORD}.'’]+)+", (1, 9), certain=False,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Held:
    """What text can hold among other words.

    :param pattern: its group ``it`` is the find; of several in one value the first.
    """

    kind: Kind
    what: str
    pattern: str
    check: Check | None = None
    chance: float = 0.0

    def find(self, values: Any) -> tuple[int, int]:
        """:return: how many values hold the shape, and in how many of these it is right."""
        hit = values.filter(pc.match_substring_regex(values, self.pattern))
        if not len(hit) or self.check is None:
            return len(hit), len(hit)
        found = pc.struct_field(pc.extract_regex(hit, self.pattern), "it")
        return len(hit), int(np.count_nonzero(self.check(found)))


def _inside(pattern: str) -> str:
    # Behind one slash stands a version (Chrome/1.2.3.4), behind two the host of a URL.
    return rf"(?:^|[^{_WORD}.\-+/]|//)(?P<it>{pattern})(?:[^{_WORD}\-]|$)"


_PHONE_INSIDE = r"\+[1-9]\d{0,2}(?:[ .\-]?\(?\d{1,4}\)?){2,6}|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{3}-\d{4}"
HELD: Sequence[Held] = (
    Held(Kind.EMAIL, "e-mail address", f"(?P<it>{EMAIL})"),
    Held(Kind.IBAN, "IBAN", _inside(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[0-9]{1,3})?"), _iban, 1 / 97),
    Held(Kind.PAYMENT_CARD, "payment card", _inside(CARD), of_length(19, check.luhn), 0.1),
    Held(Kind.NATIONAL_ID, "US SSN", _inside(SSN), of_length(9, check.ssn)),
    Held(Kind.PHONE, "phone number", _inside(_PHONE_INSIDE)),
    Held(Kind.IP_ADDRESS, "IPv4 address", _inside(IPV4)),
)

"""The kinds of personal data that are looked for, and what a contract is to say of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..model import Classification, Protection


class Kind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    PAYMENT_CARD = "payment_card"
    NATIONAL_ID = "national_id"
    IBAN = "iban"
    IP_ADDRESS = "ip_address"
    DATE_OF_BIRTH = "date_of_birth"
    PERSON_NAME = "person_name"
    ADDRESS = "address"
    FREE_TEXT = "free_text"


@dataclass(frozen=True, slots=True)
class Proposal:
    classification: Classification
    protection: Protection


_JOINABLE = Proposal(Classification.RESTRICTED, Protection.TOKENIZE)
_SEALED = Proposal(Classification.RESTRICTED, Protection.ENCRYPT)
PROPOSALS = {
    # What identifies one person is joined by, so equal values stay equal; the rest is only read again.
    Kind.EMAIL: _JOINABLE,
    Kind.PHONE: _JOINABLE,
    Kind.PAYMENT_CARD: _JOINABLE,
    Kind.NATIONAL_ID: _JOINABLE,
    Kind.IBAN: _JOINABLE,
    Kind.IP_ADDRESS: Proposal(Classification.CONFIDENTIAL, Protection.PSEUDONYMIZE),
    Kind.DATE_OF_BIRTH: _SEALED,
    Kind.PERSON_NAME: _SEALED,
    Kind.ADDRESS: _SEALED,
    Kind.FREE_TEXT: _SEALED,
}

"""What a column's name says of what it holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from .kinds import Kind

_WORDS: Mapping[Kind, str] = {
    Kind.EMAIL: "email e-mail mail emailaddress mailaddress correo correo-electronico courriel mel posta eposta e-post epost",
    Kind.PHONE: (
        "phone telephone phonenumber tel mobile mobilephone cell cellphone fax msisdn telefon telefonnummer telefono handy "
        "handynummer rufnummer mobil mobilnummer movil celular telemovel telefone telefoon telefoonnummer cellulare portable "
        "puhelin puhelinnumero gsm"
    ),
    Kind.PAYMENT_CARD: (
        "pan cardnumber card-number card-no cardno cardnum creditcard credit-card cc-number ccnumber ccnum "
        "kreditkarte kartennummer karten-nr kartennr carte-bancaire tarjeta carta-di-credito numero-cartao kaartnummer debit-card"
    ),
    Kind.NATIONAL_ID: (
        "ssn social-security socialsecurity national-id nationalid nino national-insurance nhs nhs-number bsn "
        "burgerservicenummer nir insee securite-sociale dni nie nif codice-fiscale codicefiscale steuer-id steueridnr steuernummer "
        "idnr personalausweis cpf personnummer person-nummer personal-number pesel ahv avs sozialversicherungsnummer hetu "
        "henkilotunnus fodselsnummer cpr rijksregisternummer rrn niss cnp tckn tc-kimlik kimlik aadhaar aadhar sin "
        "social-insurance tax-id taxid tin passport passport-number passport-no reisepass tfn curp rut id-number resident-id"
    ),
    Kind.IBAN: "iban bank-account bankaccount account-iban kontonummer bankverbindung compte-bancaire",
    Kind.IP_ADDRESS: "ip ipaddr ipaddress ip-address ip-addr ipv4 ipv6 remote-addr client-ip src-ip dst-ip",
    Kind.DATE_OF_BIRTH: (
        "dob birthdate birth-date birthday date-of-birth birth born geburtsdatum geburtstag geboren fecha-nacimiento "
        "fecha-de-nacimiento nacimiento date-naissance date-de-naissance naissance data-di-nascita data-nascita nascita "
        "data-de-nascimento data-nascimento nascimento geboortedatum fodelsedatum fodselsdato fodselsdag data-urodzenia urodzenia "
        "syntymaaika dogum-tarihi"
    ),
    Kind.PERSON_NAME: (
        "firstname first-name lastname last-name surname fullname full-name given-name givenname family-name familyname "
        "middle-name middlename maiden-name forename person-name customer-name client-name patient-name employee-name "
        "contact-name holder-name cardholder user-fullname vorname nachname familienname nombre nombres apellido apellidos "
        "primer-apellido prenom nom-de-famille nom cognome nome-completo voornaam achternaam fornamn efternamn fornavn etternavn "
        "efternavn imie nazwisko jmeno prijmeni soyad soyadi adi-soyadi etunimi sukunimi sobrenome apelido name-first "
        "name-last имя фамилия отчество 姓名 氏名 名前 姓 이름"
    ),
    Kind.ADDRESS: (
        "address addr street street-address home-address billing-address shipping-address postal-address address-line address1 "
        "address2 anschrift adresse strasse hausnummer direccion domicilio calle rue indirizzo via endereco rua logradouro morada "
        "adres straat straatnaam adress gatuadress ulica osoite adresi"
    ),
}
_NOT = frozenset(  # with one of these the column is about something else
    """
    at blockchain category class count created domain event file flag has hash host is mac num opt optin product
    sent shard status subject table template total type updated url valid verified version wallet web
    """.split()  # noqa: SIM905
)
_THINGS = frozenset(
    """
    artist bank brand cidade citta city ciudad color colour company country county department firm firma genre item
    job miasto model org organisation organization ort place product province region school species stad stadt state
    street supplier team title town vendor village ville
    """.split()  # noqa: SIM905
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def plain(text: str) -> str:
    """In lower case, without accents."""
    apart = unicodedata.normalize(
        "NFKD", text.replace("ß", "ss").replace("ı", "i").replace("ø", "o").replace("ł", "l")
    )
    return "".join(each for each in apart if not unicodedata.combining(each)).lower()


def is_about_things(column: str) -> bool:
    """Whether a name speaks of places, companies or products, which are called like persons."""
    return bool(_THINGS & set(_tokens(column)))


def _tokens(column: str) -> list[str]:
    return [token for token in re.split(r"[\W_]+", plain(_CAMEL.sub("_", column))) if token]


def hint(column: str) -> Kind | None:
    """The kind that a column's name says, in one of several languages; ``None`` if it says none."""
    tokens = _tokens(column)
    trimmed = [token.rstrip("0123456789") or token for token in tokens]
    if _NOT & set(trimmed):
        return None
    for words in (tokens, trimmed):
        found = [
            (length, kind)
            for length in range(len(words), 0, -1)
            for at in range(len(words) - length + 1)
            if (kind := _KINDS.get("-".join(words[at : at + length]))) is not None
        ]
        if found:
            longest = max(length for length, _ in found)
            # The last word tells what it is: "email address" is no postal address (and stands above as one name).
            return next(kind for length, kind in found if length == longest)
    return None


_KINDS = {word: kind for kind, words in _WORDS.items() for word in map(plain, words.split())} | {
    "email-address": Kind.EMAIL,
    "mail-address": Kind.EMAIL,
    "e-mail-address": Kind.EMAIL,
}

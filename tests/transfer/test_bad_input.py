"""Bad input: a clear error that tells no value, and a target that is as it was."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_secure_provider.errors import (
    ConfigurationError,
    ContractError,
    DecryptionError,
    FormatError,
    KeyringError,
    KeyringUnavailable,
    LoadError,
    SecureProviderError,
    StoreError,
    StoreUnavailable,
)
from airflow_secure_provider.transfer import PostgresSource
from sandbox.ca import Authority
from sandbox.environment import free_port
from sandbox.postgres import Database, Postgres
from tests.protection.said import everything_said

from .conftest import Refuses
from .world import (
    BUCKET,
    CANARY,
    COLUMNS,
    CONTEXT,
    HEADER,
    SIGNED,
    Lake,
    Message,
    Row,
    Watched,
    World,
    as_csv,
    copied_rows,
    customers,
    wait_until,
)

NUMBER_CANARY = "8675309867"  # where a value must look like a number


@pytest.fixture(scope="module")
def messages(lake: Lake) -> dict[str, Message]:
    """One of each kind; 100 rows in frames of 1 KiB."""
    plain = as_csv(customers(100))
    return {
        "unsigned": lake.encrypt(plain, frame_length=1_024),
        "signed": lake.encrypt(plain, frame_length=1_024, suite=SIGNED),
        "not framed": lake.encrypt(plain, frame_length=0),
    }


# --- the object is not what was written ------------------------------------------------------------------

_PLACES: dict[str, tuple[str, Callable[[Message], int]]] = {
    "header: message id": ("signed", lambda message: 3),
    "header: wrapped data key": ("signed", lambda message: message.header - 16 - 32 - 4 - 1 - 20),
    "header: frame length": ("signed", lambda message: message.header - 16 - 32 - 1),
    "header: key commitment": ("signed", lambda message: message.header - 16 - 32),
    "header: tag": ("signed", lambda message: message.header - 1),
    "first frame: sequence number": ("signed", lambda message: message.header + 3),
    "first frame: IV": ("signed", lambda message: message.header + 4),
    "first frame: content": ("signed", lambda message: message.header + 16),
    "first frame: tag": ("signed", lambda message: message.header + 16 + 1_024),
    "last frame: end mark": ("signed", lambda message: message.last_frame),
    "last frame: length": ("signed", lambda message: message.last_frame + 4 + 16 + 3),
    "last frame: content": ("signed", lambda message: message.footer - 17),
    "last frame: tag": ("signed", lambda message: message.footer - 1),
    "last frame: tag, unsigned": ("unsigned", lambda message: message.footer - 1),
    "footer: length": ("signed", lambda message: message.footer + 1),
    "footer: signature": ("signed", lambda message: message.footer + 40),
    "footer: last byte": ("signed", lambda message: len(message.data) - 1),
}


def test_the_places_are_where_we_think(messages: dict[str, Message]) -> None:
    assert messages["unsigned"].footer == len(messages["unsigned"].data)
    signed = messages["signed"]
    assert signed.footer + 2 + int.from_bytes(signed.data[signed.footer :][:2], "big") == len(signed.data)
    assert signed.data[signed.last_frame :][:4] == b"\xff\xff\xff\xff"
    assert int.from_bytes(signed.data[signed.header - 16 - 32 - 4 :][:4], "big") == 1_024


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("place", _PLACES)
def test_tampered(
    world: World, refuses: Refuses, messages: dict[str, Message], place: str, mode: str
) -> None:
    kind, position = _PLACES[place]
    uri = world.lake.put(messages[kind].flipped(position(messages[kind])))
    error = KeyringError if place == "header: wrapped data key" else DecryptionError
    refuses(error, (uri,), lambda: world.load(uri, mode=mode))


def test_tampered_in_the_encryption_context(
    world: World, refuses: Refuses, messages: dict[str, Message]
) -> None:
    uri = world.lake.put(messages["signed"].data.replace(b"crm.customers", b"crm.customerz", 1))
    refuses(
        DecryptionError, (uri, "'crm.customerz'", "expected dataset='crm.customers'"), lambda: world.load(uri)
    )
    # Where nothing is expected of the context, KMS refuses to open the data key under another one.
    refuses(KeyringError, (uri, "encryption context"), lambda: world.load(world.source(uri, context={})))


@pytest.mark.parametrize("kind", ["unsigned", "signed", "not framed"])
def test_any_flipped_bit_is_noticed(world: World, messages: dict[str, Message], kind: str) -> None:
    message = messages[kind]
    before = world.state()
    step = len(message.data) // 60
    for number, position in enumerate([0, 1, 2, *range(3, len(message.data), step)]):
        body = message.flipped(position, 1 << number % 8)
        with pytest.raises(SecureProviderError) as caught:
            world.load(body)
        assert CANARY not in everything_said(caught.value), position
    assert world.state() == before


@pytest.mark.parametrize("kind", ["unsigned", "signed", "not framed"])
@pytest.mark.parametrize(
    "where",
    ["first byte", "in the header", "behind the header", "in the first frame", "between frames", "before the last frame",
     "in the last frame", "before the last tag", "last byte", "footer missing", "in the footer"],
)  # fmt: skip
def test_truncated(
    world: World, refuses: Refuses, messages: dict[str, Message], kind: str, where: str
) -> None:
    message = messages[kind]
    if kind != "signed" and "footer" in where:
        return  # only signed messages have one
    length = {
        "first byte": 1,
        "in the header": message.header // 2,
        "behind the header": message.header,
        "in the first frame": message.header + 500,
        "between frames": message.header + 16 + 1_024 + 16,
        "before the last frame": message.last_frame if kind != "not framed" else len(message.data) - 100,
        "in the last frame": len(message.data) - 150,
        "before the last tag": len(message.data) - 16,
        "last byte": len(message.data) - 1,
        "footer missing": message.footer if kind == "signed" else len(message.data) - 2,
        "in the footer": message.footer + 30 if kind == "signed" else len(message.data) - 3,
    }[where]
    uri = world.lake.put(message.data[:length])
    if where == "first byte":
        refuses(ContractError, (uri, "is not an AWS Encryption SDK message"), lambda: world.load(uri))
    else:
        refuses(DecryptionError, (uri, f"of {length:,}"), lambda: world.load(uri))


@pytest.mark.parametrize("kind", ["unsigned", "signed", "not framed"])
@pytest.mark.parametrize("more", ["one byte", "a line feed", "the message again", "rows"])
def test_extended(world: World, refuses: Refuses, messages: dict[str, Message], kind: str, more: str) -> None:
    data = messages[kind].data
    tail = {"one byte": b"\0", "a line feed": b"\n", "the message again": data, "rows": as_csv(customers(1))}[
        more
    ]
    uri = world.lake.put(data + tail)
    refuses(
        FormatError,
        (uri, f"its content ends at byte {len(data):,}", "something was appended"),
        lambda: world.load(uri),
    )


def test_frames_out_of_order(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    message = messages["unsigned"]
    frame = 16 + 1_024 + 16
    first, second = message.header, message.header + frame
    data = message.data
    swapped = data[:first] + data[second : second + frame] + data[first:second] + data[second + frame :]
    uri = world.lake.put(swapped)
    refuses(DecryptionError, (uri,), lambda: world.load(uri))
    without = data[:second] + data[second + frame :]
    uri = world.lake.put(without)
    refuses(DecryptionError, (uri,), lambda: world.load(uri))


def test_a_frame_of_another_message(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    one, two = messages["unsigned"], world.lake.encrypt(as_csv(customers(100)), frame_length=1_024)
    assert one.header == two.header
    end = one.header + 16 + 1_024 + 16
    uri = world.lake.put(one.data[: one.header] + two.data[two.header : end] + one.data[end:])
    refuses(DecryptionError, (uri, "does not authenticate"), lambda: world.load(uri))


def test_too_large_frames(world: World, refuses: Refuses) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(1)), frame_length=(16 << 20) + 128).data)
    refuses(DecryptionError, (uri, "has frames over 16,777,216 bytes"), lambda: world.load(uri))


# --- keys and contexts -----------------------------------------------------------------------------------


def test_a_key_that_is_not_accepted(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    uri = world.lake.put(messages["unsigned"].data)
    source = world.source(uri, key_arns=[world.lake.other_key])
    refuses(
        DecryptionError,
        (uri, "no data key that an accepted key opens", world.lake.other_key),
        lambda: world.load(source),
    )
    assert world.load(world.source(uri, key_arns=[world.lake.other_key, world.lake.key])).rows == 100


def test_a_key_that_kms_does_not_know(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    known = world.lake.key.rpartition("/")[2].encode()
    unknown = str(uuid.uuid4())
    uri = world.lake.put(messages["unsigned"].data.replace(known, unknown.encode()))
    refuses(KeyringError, (uri, unknown, "KMS Decrypt", "refused"), lambda: world.load(uri))


@pytest.mark.parametrize(
    ("context", "says"),
    [
        ({"dataset": "crm.orders"}, "dataset='crm.customers', expected dataset='crm.orders'"),
        ({**CONTEXT, "day": "2024-02-29"}, "no 'day', expected day='2024-02-29'"),
    ],
    ids=["another value", "another key"],
)
def test_the_wrong_encryption_context(
    world: World, refuses: Refuses, messages: dict[str, Message], context: dict[str, str], says: str
) -> None:
    uri = world.lake.put(messages["unsigned"].data)
    refuses(DecryptionError, (uri, says), lambda: world.load(world.source(uri, context=context)))


def test_a_context_that_belongs_to_the_sdk(
    world: World, refuses: Refuses, messages: dict[str, Message]
) -> None:
    uri = world.lake.put(messages["signed"].data)
    source = world.source(uri, context={"aws-crypto-public-key": "mine"})
    refuses(ConfigurationError, ("aws-crypto-public-key", "belongs to the SDK"), lambda: world.load(source))


def test_kms_is_down(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    uri = world.lake.put(messages["unsigned"].data)
    kms = world.lake.aws.client("kms", endpoint_url=f"https://127.0.0.1:{free_port()}")
    refuses(
        KeyringUnavailable,
        (uri, f"KMS Decrypt with key {world.lake.key}", "check the endpoint"),
        lambda: world.load(world.source(uri, kms=kms)),
    )


# --- no such object, or another kind ---------------------------------------------------------------------


def test_the_object_is_missing(world: World, refuses: Refuses) -> None:
    uri = f"s3://{BUCKET}/in/2024-02-30.csv"
    refuses(StoreError, (uri, "HeadObject", "there is no such object"), lambda: world.load(uri))


def test_the_bucket_is_missing(world: World, refuses: Refuses) -> None:
    uri = "s3://no-such-bucket/in/c.csv"
    refuses(StoreError, (uri, "HeadObject", "check bucket and key"), lambda: world.load(uri))


def test_a_plaintext_object_where_a_message_is_expected(world: World, refuses: Refuses) -> None:
    uri = world.lake.put(as_csv(customers(5)))
    says = (uri, "is not an AWS Encryption SDK message", "encryption_context=")
    refuses(ContractError, says, lambda: world.load(uri))
    only_key = world.source(uri, context={}, key_arns=[world.lake.key])
    refuses(ContractError, says[:2], lambda: world.load(only_key))


def test_a_plaintext_object_where_the_contract_wants_an_encrypted_one(world: World, refuses: Refuses) -> None:
    uri = world.lake.put(as_csv(customers(5)), ServerSideEncryption="AES256")
    refuses(
        ContractError,
        (uri, "column 'email' is restricted", "client-side or customer-key encrypted", "AWS Encryption SDK"),
        lambda: world.load(world.source(uri, context={})),
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"gAAAAABm" + b"x" * 200, "looks like a Fernet file"),
        (b"\x01\x80" + b"x" * 200, "without key commitment"),
    ],
    ids=["Fernet", "message of version 1"],
)
def test_another_encrypted_format(world: World, refuses: Refuses, body: bytes, says: str) -> None:
    uri = world.lake.put(body)
    refuses(FormatError, (uri, says), lambda: world.load(uri))


def test_an_object_overwritten_while_it_is_opened(
    world: World, refuses: Refuses, messages: dict[str, Message]
) -> None:
    uri = world.lake.put(messages["unsigned"].data)
    key = uri.removeprefix(f"s3://{BUCKET}/")
    client = world.lake.aws.client("s3")
    writer = world.lake.s3

    def overwrite(**_: Any) -> None:
        writer.put_object(Bucket=BUCKET, Key=key, Body=messages["signed"].data)

    client.meta.events.register("before-call.s3.GetObject", overwrite)
    refuses(StoreError, (uri, "overwritten while"), lambda: world.load(world.source(uri, client=client)))


# --- transport -------------------------------------------------------------------------------------------


def test_unverified_tls(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    target = {"connect": lambda: world.database.connect(sslmode="require")}
    refuses(
        ContractError,
        (
            "target postgres://127.0.0.1",
            "column 'email' is restricted",
            "an unverified peer",
            "sslmode=verify-full",
        ),
        lambda: world.load(messages["unsigned"].data, target=target),
    )


def test_an_unverified_source_table(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    source = world.table_source()
    unverified = type(source)(lambda: world.database.connect(sslmode="require"), source.table)
    only_id = {"id": {"method": "none", "classification": "confidential"}} | dict.fromkeys(HEADER[1:], "drop")
    refuses(
        ContractError,
        ("source postgres://127.0.0.1", "an unverified peer", "sslmode=verify-full"),
        lambda: world.load(unverified, only_id, "crm.ids"),
    )


def test_plaintext_that_the_server_would_take(
    world: World, authority: Authority, tmp_path: Path, refuses: Refuses, messages: dict[str, Message]
) -> None:
    with Postgres(tmp_path / "plaintext", authority, allow_plaintext=True) as server:
        there = World.made(world.lake, Database(server, "postgres"))
        target = {"connect": lambda: there.database.connect(sslmode="disable")}
        before = there.state()
        refuses(
            ContractError,
            ("target postgres://127.0.0.1", "observed plaintext", "set sslmode=verify-full"),
            lambda: there.load(messages["unsigned"].data, target=target),
        )
        assert there.state() == before


@pytest.mark.parametrize(
    ("settings", "kind", "says"),
    [
        ({"sslmode": "disable"}, StoreError, "set sslmode=verify-full"),
        ({"sslrootcert": "another CA"}, StoreError, "check host name and sslrootcert"),
        ({"host": "db.example", "hostaddr": "127.0.0.1"}, StoreError, "check host name and sslrootcert"),
        ({"user": "postgres", "password": CANARY}, StoreError, "user name or password are not accepted"),
        (
            {"port": "closed"},
            StoreUnavailable,
            "nothing listens at that host and port: is PostgreSQL running there?",
        ),
    ],
    ids=["no TLS", "another CA", "another host name", "wrong password", "not there"],
)
def test_no_connection(
    world: World, tmp_path: Path, refuses: Refuses, settings: dict[str, Any], kind: type, says: str
) -> None:
    if "sslrootcert" in settings:
        settings = {"sslrootcert": str(Authority(tmp_path / "other").ca_pem)}
    if "port" in settings:
        settings = {}
        database = Database(world.database.server, "postgres")
        closed = re.sub(r"port=\d+", f"port={free_port()}", database.conninfo())

        def connect() -> Any:
            import psycopg

            return psycopg.connect(closed)
    else:

        def connect() -> Any:
            return world.database.connect(**settings)

    refuses(kind, ("crm.customers", says), lambda: world.load(b"", target={"connect": connect}))


def test_a_certificate_file_that_is_not_there(world: World, refuses: Refuses) -> None:
    """Nothing that a retry would mend."""
    refuses(
        StoreError,
        ("a certificate file of the connection can't be read", "sslrootcert"),
        lambda: world.load(
            b"", target={"connect": lambda: world.database.connect(sslrootcert="/nowhere/ca.pem")}
        ),
    )


# --- columns ---------------------------------------------------------------------------------------------


def with_header(*names: str) -> bytes:
    row = [f"{CANARY}{number}" for number in range(len(names))]
    return as_csv([tuple(row)], names)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (
            (*HEADER, "phone"),
            ("column 'phone' is not classified", "add it to contract 'inline:crm.customers'"),
        ),
        (
            HEADER[:-1],
            ("column 'notes' of contract 'inline:crm.customers' is missing", "add it to the source"),
        ),
        ((*HEADER, "email"), ("column 'email' stands twice", "rename or remove one")),
        (("id", "Email", *HEADER[2:]), ("column 'email'", "is missing", "column 'Email' is not classified")),
        (
            ("7", f"{CANARY}@example.com", CANARY, CANARY, "1.5", f"{CANARY} called"),
            ("none of the 6 names in its header is a column", "is there a header"),
        ),
    ],
    ids=["unclassified", "missing", "duplicated", "another case", "none at all"],
)
def test_columns_of_the_source(
    world: World, refuses: Refuses, header: tuple[str, ...], says: tuple[str, ...]
) -> None:
    uri = world.lake.put(world.lake.encrypt(with_header(*header)).data)
    refuses(ContractError, (uri, *says), lambda: world.load(uri))


def test_an_unclassified_class(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    columns = {**COLUMNS, "email": {"method": "tokenize", "classification": "secret"}}
    refuses(
        ContractError,
        (
            "column 'email'",
            "classification 'secret'",
            "expected one of public, internal, confidential, restricted",
        ),
        lambda: world.load(messages["unsigned"].data, columns),
    )


def test_a_restricted_column_without_protection(
    world: World, refuses: Refuses, messages: dict[str, Message]
) -> None:
    columns = {**COLUMNS, "ssn": {"method": "none", "classification": "restricted"}}
    refuses(
        ContractError,
        ("column 'ssn' is restricted and has no protection", "set one of encrypt, tokenize"),
        lambda: world.load(messages["unsigned"].data, columns),
    )


def test_no_keyset(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    refuses(
        ConfigurationError,
        ("column 'email' has protection tokenize and there is no keyset", "set keyset="),
        lambda: world.load(messages["unsigned"].data, options=world.options(keyset=None)),
    )


def test_at_rest_neither_seen_nor_declared(
    world: World, refuses: Refuses, messages: dict[str, Message]
) -> None:
    refuses(
        ContractError,
        ("target postgres://127.0.0.1", "must be encrypted at rest", "declared_at_rest"),
        lambda: world.load(messages["unsigned"].data, options=world.options(declared_at_rest={})),
    )


@pytest.mark.parametrize(("setting", "says"), [("mode", "mode 'merge'"), ("extra", "extra_columns 'keep'")])
def test_unknown_words(world: World, refuses: Refuses, setting: str, says: str) -> None:
    options = world.options(extra_columns="keep") if setting == "extra" else None
    mode = "merge" if setting == "mode" else "append"
    refuses(
        ConfigurationError, (says, "expected one of"), lambda: world.load(b"", mode=mode, options=options)
    )


# --- rows ------------------------------------------------------------------------------------------------


def one_row(name: str, value: str | None) -> Row:
    """The second of three good rows with one value of its own."""
    row = dict(zip(HEADER, customers(1, first=2)[0], strict=True))
    row[name] = value
    return tuple(row.values())


def three_rows(bad: Row) -> bytes:
    return as_csv([*customers(1), bad, *customers(1, first=3)])


_GOOD = as_csv(customers(1))
_RAW = {
    "too short": (
        _GOOD + f"2,{CANARY},x,\n".encode(),
        ("record 2 has 4 fields, expected 6: it is too short",),
    ),
    "too long": (
        _GOOD + f"2,{CANARY},x,,,,\n".encode(),
        ("record 2 has 7 fields, expected 6: it is too long",),
    ),
    "blank line": (_GOOD + b"\n" + f"3,{CANARY},,,,\n".encode(), ("record 2 is a blank line; remove it",)),
    "open quote": (_GOOD + f'2,{CANARY},,,,"{CANARY}\n3,,,,,\n'.encode(), ("quote",)),
    "not UTF-8": (_GOOD + b"2," + CANARY.encode() + b"\xff,,,,\n", ("not UTF-8", "convert it to UTF-8")),
    "no header": (b"", ("is empty; a header with the columns' names is expected",)),
}


@pytest.mark.parametrize("what", _RAW)
def test_rows_that_break_the_format(world: World, refuses: Refuses, what: str) -> None:
    plain, says = _RAW[what]
    uri = world.lake.put(world.lake.encrypt(plain).data)
    refuses(FormatError, (uri, *says), lambda: world.load(uri))


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("birth_date", f"{CANARY}-01-02", "a date (YYYY-MM-DD)"),
        ("birth_date", "1990-02-30", "a date (YYYY-MM-DD)"),
        ("birth_date", "02/03/1990", "a date (YYYY-MM-DD)"),
        ("birth_date", "", "a date (YYYY-MM-DD)"),
        ("amount", f"{CANARY}.25", "a value of numeric(12,2)"),
        ("amount", f"{NUMBER_CANARY}.255", "a value of numeric(12,2)"),
        ("amount", f"9{NUMBER_CANARY}.25", "a value of numeric(12,2)"),
        ("amount", "1,000.00", "a value of numeric(12,2)"),
        ("id", f"{NUMBER_CANARY}x", "a value of bigint"),
        ("id", f"{NUMBER_CANARY}{NUMBER_CANARY}", "a value of bigint"),
    ],
)
def test_values_that_do_not_fit(
    world: World, refuses: Refuses, column: str, value: str, expected: str
) -> None:
    uri = world.lake.put(world.lake.encrypt(three_rows(one_row(column, value))).data)
    refuses(
        FormatError,
        (uri, f"column {column!r}, record 2: the value is not {expected}", "correct it in the source"),
        lambda: world.load(uri),
        canaries=(value, NUMBER_CANARY) if len(value) > 5 else (NUMBER_CANARY,),
    )


def test_a_bad_value_far_into_the_object(world: World, refuses: Refuses) -> None:
    rows = customers(90_000)
    rows[80_000] = one_row("birth_date", f"{CANARY}-01-02")
    uri = world.lake.put(world.lake.encrypt(as_csv(rows), frame_length=1 << 20).data)
    refuses(FormatError, (uri, "column 'birth_date', record 80,001"), lambda: world.load(uri))


@pytest.mark.parametrize(
    ("type_name", "value", "kind", "says"),
    [
        ("smallint", "32768", FormatError, "record 2: the value is not a value of smallint"),
        ("integer", NUMBER_CANARY, FormatError, "record 2: the value is not a value of integer"),
        ("varchar(5)", CANARY, LoadError, "a value is longer than the column allows"),
        ("char(5)", CANARY, LoadError, "a value is longer than the column allows"),
        ("numeric(38,0)", f"{NUMBER_CANARY}.5", FormatError, "the value is not a value of numeric(38,0)"),
        ("boolean", CANARY, FormatError, "the value is not a value of boolean"),
        ("time", f"25:00:00{CANARY}", FormatError, "the value is not a value of time"),
        ("timestamptz", f"2024-01-01 {CANARY}", FormatError, "the value is not a value of timestamp with time zone"),
        ("text", f"{CANARY}\0", LoadError, "a text holds a zero byte"),
    ],
)  # fmt: skip
def test_values_out_of_the_types_range(
    world: World, refuses: Refuses, type_name: str, value: str, kind: type, says: str
) -> None:
    world.execute(f"CREATE TABLE crm.typed (id int, value {type_name})")
    rows: list[Row] = [("1", None), ("2", value), ("3", None)]
    uri = world.lake.put(world.lake.encrypt(as_csv(rows, ["id", "value"])).data)
    columns = {"id": "none", "value": "none"}
    place = "crm.typed" if kind is LoadError else uri
    refuses(
        kind,
        (place, "column 'value'", says),
        lambda: world.load(uri, columns, "crm.typed"),
        canaries=(value,),
    )
    assert world.query("SELECT count(*) FROM crm.typed") == [(0,)]


_REFUSE = """
CREATE FUNCTION crm.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.id = 2 THEN RAISE EXCEPTION 'no: %', NEW; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.refuse()
"""
_SWALLOW = """
CREATE FUNCTION crm.swallow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON crm.customers FOR EACH ROW EXECUTE FUNCTION crm.swallow()
"""
_PEOPLE = """
CREATE TABLE crm.people (id bigint PRIMARY KEY);
INSERT INTO crm.people VALUES (1), (3), (9000001), (9000002), (9000003);
ALTER TABLE crm.customers ADD CONSTRAINT person FOREIGN KEY (id) REFERENCES crm.people
"""
_CONSTRAINTS = {
    "not null": (
        "ALTER TABLE crm.customers ALTER amount SET NOT NULL",
        one_row("amount", None), LoadError, ("23502", "column 'amount'", "a value is missing"),
    ),
    "unique in the source": (
        "SELECT 1", one_row("id", "1"), LoadError, ("23505", "constraint 'customers_pkey'", "a key stands twice"),
    ),
    "unique in the table": (
        f"INSERT INTO crm.customers (id) VALUES ({NUMBER_CANARY})",
        one_row("id", NUMBER_CANARY), LoadError, ("23505", "constraint 'customers_pkey'", "mode='replace'"),
    ),
    "unique at the commit": (
        "ALTER TABLE crm.customers ADD CONSTRAINT one_amount UNIQUE (amount) DEFERRABLE INITIALLY DEFERRED",
        one_row("amount", "1.25"), LoadError, ("23505", "constraint 'one_amount'"),
    ),
    "check": (
        "SELECT 1", one_row("amount", f"-{NUMBER_CANARY}"), LoadError,
        ("23514", "constraint 'amount_is_no_debt'", "a row breaks a check"),
    ),
    "foreign key": (
        _PEOPLE,
        one_row("id", NUMBER_CANARY), LoadError, ("23503", "constraint 'person'"),
    ),
    "a trigger that quotes the row": (
        _REFUSE,
        one_row("amount", NUMBER_CANARY[:9]), StoreError, ("P0001",),
    ),
    "a trigger that swallows the row": (
        _SWALLOW,
        one_row("amount", "1"), LoadError, ("sent 3 rows and PostgreSQL stored 2", "nothing was committed"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", _CONSTRAINTS)
def test_rows_that_the_table_refuses(world: World, refuses: Refuses, what: str) -> None:
    statement, bad, kind, says = _CONSTRAINTS[what]
    world.execute(statement)
    refuses(
        kind,
        ("crm.customers", *says),
        lambda: world.load(world.lake.encrypt(three_rows(bad)).data),
        canaries=(NUMBER_CANARY[:9],),
    )


def test_a_refused_replacement_leaves_the_old_rows(world: World, refuses: Refuses) -> None:
    body = world.lake.encrypt(three_rows(one_row("id", "1"))).data
    refuses(LoadError, ("23505",), lambda: world.load(body, mode="replace"))


# --- the table -------------------------------------------------------------------------------------------


def test_a_value_that_is_no_uuid(world: World, refuses: Refuses, messages: dict[str, Message]) -> None:
    world.execute("ALTER TABLE crm.customers DROP amount, ADD amount uuid")
    refuses(
        FormatError,
        ("column 'amount', record 1", "the value is not a value of uuid"),
        lambda: world.load(messages["unsigned"].data),
    )


@pytest.mark.parametrize(
    ("statement", "kind", "says"),
    [
        ("ALTER TABLE crm.customers RENAME TO clients", StoreError, ("does not exist in database", "create it first")),
        ("ALTER TABLE crm.customers DROP notes", ContractError, ("it has no column 'notes'", "drop it in the contract")),
        ("ALTER TABLE crm.customers DROP notes, ADD notes text GENERATED ALWAYS AS (id::text) STORED",
         ContractError, ("column 'notes' is generated by the table",)),
        ("ALTER TABLE crm.customers DROP id, ADD id bigint GENERATED ALWAYS AS IDENTITY",
         ContractError, ("column 'id' is generated by the table",)),
        ("ALTER TABLE crm.customers ADD added text NOT NULL DEFAULT ''; ALTER TABLE crm.customers ALTER added DROP DEFAULT",
         ContractError, ("column 'added' needs a value and gets none", "give it a default")),
        ("ALTER TABLE crm.customers DROP ssn, ADD ssn integer",
         ContractError, ("column 'ssn' is to hold ciphertext", "make it bytea or text")),
        ("ALTER TABLE crm.customers DROP amount, ADD amount inet", LoadError, ("record 1", "column 'amount'", "22P02")),
        ("ALTER TABLE crm.customers DROP amount, ADD amount jsonb CHECK (amount <> '2.25')", LoadError, ("record 2", "23514")),
    ],
    ids=["missing", "column missing", "generated", "identity", "column unfilled", "no room for cells", "inet", "jsonb"],
)  # fmt: skip
def test_tables_that_do_not_fit(
    world: World,
    refuses: Refuses,
    messages: dict[str, Message],
    statement: str,
    kind: type,
    says: tuple[str, ...],
) -> None:
    world.execute(statement)
    refuses(kind, ("crm.customers", *says), lambda: world.load(messages["unsigned"].data))


@pytest.mark.parametrize(
    "statement", ["DROP SCHEMA secure_provider CASCADE", "DROP TABLE secure_provider.load_manifest"]
)
def test_the_packages_own_tables_are_missing(
    world: World, refuses: Refuses, messages: dict[str, Message], statement: str
) -> None:
    world.execute(statement)
    refuses(
        ConfigurationError,
        ("tables of schema secure_provider are missing", "airflow-secure db init"),
        lambda: world.load(messages["unsigned"].data),
    )


@pytest.fixture
def loader(world: World) -> Iterator[tuple[str, Callable[[], Any]]]:
    """A role with no privileges, and how to log in as it."""
    role, password = f"loader_{world.database.name}", uuid.uuid4().hex
    world.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    yield role, lambda: world.database.connect(role, password)
    world.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    "granted",
    [
        "",
        "GRANT USAGE ON SCHEMA secure_provider TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA secure_provider TO {role}",
        "GRANT USAGE ON SCHEMA crm TO {role}; GRANT ALL ON crm.customers TO {role}",
    ],
    ids=["none at all", "not on the table", "not on the manifest"],
)
def test_no_privilege(
    world: World,
    refuses: Refuses,
    messages: dict[str, Message],
    loader: tuple[str, Callable[[], Any]],
    granted: str,
) -> None:
    role, connect = loader
    if granted:
        world.execute(granted.format(role=role))
    refuses(
        StoreError,
        ("42501", "lacks a privilege", "on one that is written INSERT"),
        lambda: world.load(messages["unsigned"].data, target={"connect": connect}),
    )


def test_no_membership_in_the_role_to_act_as(
    world: World, refuses: Refuses, messages: dict[str, Message], loader: tuple[str, Callable[[], Any]]
) -> None:
    _, connect = loader
    target = {"connect": connect, "set_role": "pg_database_owner"}
    refuses(
        StoreError,
        ("SET ROLE pg_database_owner", "42501"),
        lambda: world.load(messages["unsigned"].data, target=target),
    )


def test_s3_without_tls_is_asked_nothing(world: World, refuses: Refuses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        client = world.lake.aws.client("s3", endpoint_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        refuses(
            ContractError,
            ("source s3://lake/in/x.csv", "needs TLS with a verified peer", "observed plaintext"),
            lambda: world.load(world.source("s3://lake/in/x.csv", client=client)),
        )
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()


# --- a table as the source -------------------------------------------------------------------------------


def test_ciphertext_without_the_keyset_to_reveal_it(world: World, refuses: Refuses) -> None:
    columns = {**COLUMNS, "birth_date": {"method": "generalize", "to": "year", "type": "date"}}
    refuses(
        ContractError,
        ("column 'birth_date' of the source holds ciphertext", "reveal_with="),
        lambda: world.load(world.table_source(), columns),
    )


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        ("birth_date", {"method": "none", "type": "date"}),
        ("birth_date", {"method": "encrypt", "type": "date"}),
        ("email", {"method": "tokenize", "domain": "person-email", "classification": "confidential"}),
        ("ssn", {"method": "redact", "keep_last": 4}),
        ("ssn", {"method": "generalize", "prefix": 3}),
        ("ssn", {"method": "none"}),
    ],
    ids=["plain", "the-same", "token", "some-kept", "prefix", "restricted-plain"],
)
def test_a_second_contract_does_not_lower_a_class(
    world: World, refuses: Refuses, column: str, rule: dict[str, Any]
) -> None:
    """What the first load recorded as confidential or restricted stays so, unless its values are taken out."""
    world.execute("CREATE TABLE crm.leak (id bigint, birth_date text, email text, ssn text)")
    recorded = "confidential" if column == "birth_date" else "restricted"
    columns = dict.fromkeys(HEADER, "drop") | {"id": "none", column: {"classification": "internal", **rule}}
    refuses(
        ContractError,
        (f"column '{column}' is known as {recorded} and the contract calls it", "take out its values"),
        lambda: world.load(
            world.table_source(), columns, "crm.leak", options=world.options(reveal_with=world.lake.keyset)
        ),
    )
    assert world.query("SELECT count(*) FROM crm.leak") == [(0,)]


def test_the_recorded_class_judges_the_connection_to_the_source(world: World, refuses: Refuses) -> None:
    """A column that the contract drops is read all the same."""
    world.execute("CREATE TABLE crm.ids (id bigint)")
    columns = {name: {"method": "drop", "classification": "public"} for name in HEADER} | {"id": "none"}
    insecure = PostgresSource(lambda: world.database.connect(sslmode="require"), "crm.customers")
    refuses(
        ContractError,
        ("source", "needs TLS with a verified peer", "observed an unverified peer"),
        lambda: world.load(insecure, columns, "crm.ids"),
    )


def test_a_number_too_large_for_the_column(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.sums (id bigint, amount double precision)")
    columns = {"id": "none", "amount": "none"}
    refuses(
        FormatError,
        ("column 'amount', record 3", "a value of double precision"),
        lambda: world.load(
            world.lake.encrypt(b"id,amount\n1,1.5\n2,Infinity\n3,1e400\n").data, columns, "crm.sums"
        ),
    )


def test_not_a_number_in_bins(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.sums (id bigint, amount text)")
    columns = {"id": "none", "amount": {"method": "generalize", "bins": [0, 100], "type": "number"}}
    refuses(
        FormatError,
        ("column 'amount', record 2", "NaN"),
        lambda: world.load(world.lake.encrypt(b"id,amount\n1,1.5\n2,nan\n").data, columns, "crm.sums"),
    )


def test_altered_cells(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.years (id bigint, birth_date int)")
    world.execute(
        "UPDATE crm.customers SET birth_date = set_byte(birth_date, 40, get_byte(birth_date, 40) # 1) WHERE id % 2 = 0"
    )
    columns = dict.fromkeys(HEADER, "drop") | {
        "id": "none", "birth_date": {"method": "generalize", "to": "year", "type": "date"},
    }  # fmt: skip
    refuses(
        DecryptionError,
        ("column 'birth_date'", "keyset 'customers'", "they were altered"),
        lambda: world.load(
            world.table_source(), columns, "crm.years", options=world.options(reveal_with=world.lake.keyset)
        ),
    )
    assert world.query("SELECT count(*) FROM crm.years") == [(0,)]


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "no_such_column = 1",
        "id = 'x'",
        "id =",
        "true) TO PROGRAM 'touch /tmp/x' --",
        "true); DROP TABLE crm.customers; SELECT (1",
        "true) UNION SELECT * FROM (SELECT 1",
        "false) UNION ALL SELECT id, null, null, null, 1, null FROM crm.customers WHERE (true",
        "true) ORDER BY (1",
        "true ORDER BY 1",
        "id = 1 -- no more",
        "notes = E'\\') OR (true) --'",
        "notes = $$x$$",
        "(id = 1",
        "id = '1",
        "id",
        f"notes = '{CANARY}' AND",
    ],
)
def test_where_that_is_no_condition(world: World, refuses: Refuses, condition: str) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    columns = {name: "none" if name == "id" else "drop" for name in HEADER}
    refuses(
        ConfigurationError,
        ("where= is no condition over the rows of crm.customers",),
        lambda: world.load(world.table_source(rows=condition), columns, "crm.ids"),
    )


def test_a_table_without_a_task_name(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    columns = {name: "none" if name == "id" else "drop" for name in HEADER}
    refuses(
        ConfigurationError,
        ("has no version", "the name of its task run"),
        lambda: world.load(world.table_source(), columns, "crm.ids", task=None),
    )


# --- something goes away in mid-load ---------------------------------------------------------------------

ROWS_UNDER_WAY = 20_000


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("when", ["halfway", "before the commit"])
def test_postgresql_crashes(
    lake: Lake, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture, when: str, mode: str
) -> None:
    with Postgres(tmp_path / "pg", authority) as server:
        world = World.made(lake, Database(server, "postgres"))
        world.load_rows(customers(3, first=9_000_001))
        uri = lake.put(lake.encrypt(as_csv(customers(ROWS_UNDER_WAY))).data)
        world.execute(
            "CHECKPOINT"
        )  # the sandbox commits asynchronously, and a crash may lose what it has not written
        before = world.state()

        def crash() -> None:
            wait_until(lambda: copied_rows(server) > 3_000)
            server.stop("immediate")

        def at_batch(number: int) -> None:
            if number == 10:
                crash()

        hooks: Any = {"on_batch": at_batch} if when == "halfway" else {"on_end": crash}
        with pytest.raises(StoreUnavailable) as caught:
            world.load(Watched(world.source(uri), **hooks), mode=mode)
        message = str(caught.value)
        assert message.startswith("crm.customers: ")
        assert "nothing was committed" in message
        assert CANARY not in everything_said(caught.value) + caplog.text
        server.start()
        assert world.state() == before
        assert world.load(uri, mode=mode).rows == ROWS_UNDER_WAY


@pytest.mark.parametrize(
    ("function", "kind", "says"),
    [
        ("pg_terminate_backend", StoreUnavailable, "nothing was committed"),
        ("pg_cancel_backend", StoreError, "57014"),
    ],
)
def test_the_session_is_ended_or_its_statement_cancelled(
    world: World, refuses: Refuses, function: str, kind: type, says: str
) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(ROWS_UNDER_WAY))).data)
    pid: list[int] = []

    def end(number: int) -> None:
        if number == 10:
            wait_until(lambda: copied_rows(world.database) > 3_000)
            assert world.query(f"SELECT {function}({pid[0]})") == [(True,)]

    refuses(
        kind,
        ("crm.customers", says),
        lambda: world.load(
            Watched(world.source(uri), on_batch=end),
            on_connection=lambda connection: pid.append(connection.info.backend_pid),
        ),
    )
    assert world.load(uri).rows == ROWS_UNDER_WAY


def test_the_source_table_goes_away(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    world.execute(  # 40 MB: more than fits between here and there
        "INSERT INTO crm.customers (id, notes) SELECT n, repeat('x', 2000) FROM generate_series(1, 20000) n"
    )
    columns = {name: "none" if name == "id" else "drop" for name in HEADER}

    def end(number: int) -> None:
        if number == 5:
            ended = world.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%' "
                "AND datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert ended == [(True,)]

    source = Watched(world.table_source(), on_batch=end)
    refuses(StoreUnavailable, ("crm.customers",), lambda: world.load(source, columns, "crm.ids"))
    assert world.query("SELECT count(*) FROM crm.ids") == [(0,)]


def test_s3_is_down(world: World, refuses: Refuses) -> None:
    client = world.lake.aws.client("s3", endpoint_url=f"https://127.0.0.1:{free_port()}")
    refuses(
        StoreUnavailable,
        (f"s3://{BUCKET}/in/c.csv", "HeadObject failed", "check endpoint"),
        lambda: world.load(world.source(f"s3://{BUCKET}/in/c.csv", client=client)),
    )


def test_an_s3_that_can_not_prove_who_it_is(world: World, tmp_path: Path, refuses: Refuses) -> None:
    client = world.lake.aws.client("s3", verify=str(Authority(tmp_path / "other").ca_pem))
    refuses(
        StoreUnavailable,
        ("HeadObject failed with SSLError", "CA"),
        lambda: world.load(world.source(f"s3://{BUCKET}/in/c.csv", client=client)),
    )


def test_an_s3_that_is_not_asked_who_it_is(
    world: World, refuses: Refuses, messages: dict[str, Message]
) -> None:
    import urllib3

    uri = world.lake.put(messages["unsigned"].data)
    client = world.lake.aws.client("s3", verify=False)
    with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        refuses(
            ContractError,
            (
                f"source {uri}",
                "column 'email' is restricted",
                "an unverified peer",
                "https endpoint with verify",
            ),
            lambda: world.load(world.source(uri, client=client)),
        )


def test_the_search_finds_what_it_looks_for() -> None:
    """The positive control: the search sees a value in an error that another one hides."""

    def refuse() -> None:
        try:
            raise ValueError(f"Failing row contains (1, {CANARY})")
        except ValueError:
            raise LoadError("refused") from None

    with pytest.raises(LoadError) as caught:
        refuse()
    assert CANARY in everything_said(caught.value)
    assert CANARY in as_csv(customers(1)).decode()


def test_a_refused_row_is_quoted_by_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The server refuses an early row, and a later one breaks here: the driver would log the server's words."""
    world.execute("CREATE TABLE crm.keys (id bigint, name text UNIQUE)")
    lines = [f"{number},{CANARY}-{number}" for number in range(400_000)]
    lines[5] = lines[4]
    lines[-1] = f"not a number,{CANARY}"
    caplog.set_level("DEBUG")
    with pytest.raises((FormatError, LoadError)) as caught:
        world.load(
            world.lake.encrypt(("id,name\n" + "\n".join(lines) + "\n").encode(), frame_length=1 << 20).data,
            {"id": {"method": "none", "type": "integer"}, "name": "none"},
            "crm.keys",
        )
    assert CANARY not in everything_said(caught.value) + caplog.text
    assert world.query("SELECT count(*) FROM crm.keys") == [(0,)]


def test_a_source_that_is_refused_was_not_read(world: World, refuses: Refuses) -> None:
    world.execute("CREATE TABLE crm.ids (id bigint)")
    opened: list[Any] = []
    inner = PostgresSource(lambda: world.database.connect(sslmode="require"), "crm.customers")

    class Kept:
        where, transport_ahead = inner.where, inner.transport_ahead

        def open(self, declared: Any, rules: Any = ()) -> Any:
            opened.append(inner.open(declared, rules))
            return opened[0]

    columns = {name: {"method": "drop", "classification": "restricted"} for name in HEADER} | {"id": "none"}
    refuses(ContractError, ("observed an unverified peer",), lambda: world.load(Kept(), columns, "crm.ids"))
    assert opened[0].bytes_read == 0

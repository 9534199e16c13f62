"""Rows that do not fit: kept, encrypted, found again, and never lost, whatever happens around the commit."""

from __future__ import annotations

import csv
import io
import logging
import secrets
from dataclasses import replace
from typing import Any

import aws_encryption_sdk
import psycopg
import pytest
from aws_encryption_sdk.identifiers import CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import KMSMasterKey

from airflow_secure_provider.errors import (
    ConfigurationError,
    DecryptionError,
    FormatError,
    KeyringError,
    LoadError,
    SecureProviderError,
    StoreUnavailable,
)
from airflow_secure_provider.stores import manifest
from airflow_secure_provider.stores.s3_pending import PendingObject
from airflow_secure_provider.transfer.quarantine import RejectTo

from .world import BUCKET, CANARY, COLUMNS, HEADER, Row, World, as_csv, customers

CLIENT = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
)


def changed(row: Row, name: str, value: str | None) -> Row:
    return tuple(value if each == name else old for each, old in zip(HEADER, row, strict=True))


class Bin:
    """A place for rejected rows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = f"rejected/{secrets.token_hex(6)}/"

    @property
    def uri(self) -> str:
        return f"s3://{BUCKET}/{self.folder}"

    @property
    def keys(self) -> list[str]:
        found = self.world.lake.s3.list_objects_v2(Bucket=BUCKET, Prefix=self.folder).get("Contents", [])
        return [each["Key"] for each in found]

    def to(self, most: int = 10, **settings: Any) -> RejectTo:
        lake = self.world.lake
        chosen = {"kms_keys": [lake.key], **settings}
        return RejectTo(lake.s3, lambda arn: lake.kms, self.uri, most=most, **chosen)

    def load(self, source: Any, most: int = 10, **settings: Any) -> Any:
        options = self.world.options(reject=self.to(most))
        return self.world.load(source, options=options, **settings)

    def rows(self) -> list[dict[str, str]] | None:
        if not self.keys:
            return None
        (name,) = self.keys
        body = self.world.lake.s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        assert CANARY.encode() not in body
        key = KMSMasterKey(key_id=self.world.lake.key, client=self.world.lake.kms)
        plain, header = CLIENT.decrypt(source=body, key_provider=key)
        assert header.encryption_context["secure-provider:dataset"] == f"s3://{BUCKET}/{name}"
        assert header.encryption_context["secure-provider:run"] == "dag/task/run/-1"
        return list(csv.DictReader(io.StringIO(plain.decode())))

    def uploads(self) -> int:
        found = self.world.lake.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return len([each for each in found if each["Key"].startswith(self.folder)])


@pytest.fixture
def bin_(world: World) -> Bin:
    return Bin(world)


def with_bad_rows(count: int = 40_000) -> tuple[list[Row], dict[int, str]]:
    """Rows of several batches, and what is wrong with some of them by the number of their record."""
    rows = customers(count)
    bad = {1: "id", 7: "birth_date", 8: "amount", count // 2: "amount", count: "id"}
    for record, name in bad.items():
        rows[record - 1] = changed(rows[record - 1], name, f"{CANARY} no {name}")
    return rows, bad


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_bad_rows_go_there_and_the_others_are_loaded(
    world: World, bin_: Bin, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows, bad = with_bad_rows()
    report = bin_.load(world.lake.encrypt(as_csv(rows)).data, mode=mode)
    assert (report.rows, report.rejected) == (39_995, 5)
    assert world.query("SELECT count(*), count(DISTINCT id) FROM crm.customers") == [(39_995, 39_995)]
    assert world.query("SELECT rows FROM secure_provider.load_manifest") == [(39_995,)]
    kept = bin_.rows() or []
    assert [int(row["_reject_record"]) for row in kept] == sorted(bad)
    for row in kept:
        record = int(row["_reject_record"])
        assert [row[name] for name in HEADER] == list(rows[record - 1])
        assert f"column {bad[record]!r}, record {record:,}: the value is not" in row["_reject_reason"]
        assert CANARY not in row["_reject_reason"]
    assert report.rejected_to == f"s3://{BUCKET}/{bin_.keys[0]}"
    assert f"5 rows were rejected; they are in {report.rejected_to}" in caplog.text
    assert CANARY not in caplog.text + str(report.as_dict())
    assert bin_.uploads() == 0


def test_what_was_rejected_is_corrected_and_loaded(world: World, bin_: Bin) -> None:
    rows, bad = with_bad_rows(1_000)
    bin_.load(world.lake.encrypt(as_csv(rows)).data)
    good = {int(row[0] or 0): row for row in customers(1_000)}
    kept = bin_.rows() or []
    corrected = [
        {
            **row,
            bad[int(row["_reject_record"])]: good[int(row["_reject_record"])][
                HEADER.index(bad[int(row["_reject_record"])])
            ],
        }
        for row in kept
    ]
    names = [*HEADER, "_reject_record", "_reject_reason"]
    body = world.lake.encrypt(as_csv([tuple(row[name] for name in names) for row in corrected], names)).data
    report = world.load(body, options=world.options(extra_columns="drop"))
    assert report.rows == 5
    assert world.query("SELECT count(*), sum(id) FROM crm.customers") == [(1_000, 500_500)]


def test_two_loads_do_not_meet(world: World, bin_: Bin) -> None:
    """Mapped tasks have the same settings."""
    for first in (1, 2_001):
        rows = customers(100, first=first)
        rows[5] = changed(rows[5], "amount", f"{CANARY} x")
        assert bin_.load(world.lake.encrypt(as_csv(rows)).data).rejected == 1
    assert len(bin_.keys) == 2


def test_no_bad_rows_make_no_object(world: World, bin_: Bin) -> None:
    assert bin_.load(world.lake.encrypt(as_csv(customers(50))).data).rejected == 0
    assert bin_.rows() is None


def test_nulls_where_a_value_is_required(world: World, bin_: Bin) -> None:
    rows = customers(20)
    rows[4] = changed(rows[4], "ssn", None)
    columns = {
        **COLUMNS,
        "ssn": {**COLUMNS["ssn"], "on_unfit": "refuse", "method": "fpe", "alphabet": "alphanumeric"},
    }
    world.execute("ALTER TABLE crm.customers DROP ssn, ADD ssn text")
    rows = [changed(row, "ssn", f"{n:09d}") for n, row in enumerate(rows)]
    rows[9] = changed(rows[9], "ssn", "A")
    report = bin_.load(world.lake.encrypt(as_csv(rows)).data, columns=columns)
    assert (report.rows, report.rejected) == (19, 1)
    assert "unfit for fpe" in (bin_.rows() or [{}])[0]["_reject_reason"]


def test_too_many(world: World, bin_: Bin) -> None:
    rows, _ = with_bad_rows()
    before = world.state()
    with pytest.raises(
        FormatError,
        match=r"5 rows are rejected, which is more than max_rejected_rows=4; the first is record 1: ",
    ):
        bin_.load(world.lake.encrypt(as_csv(rows)).data, most=4)
    assert world.state() == before
    assert (bin_.rows(), bin_.uploads()) == (None, 0)


def test_a_load_that_fails_leaves_nothing_there(world: World, bin_: Bin) -> None:
    rows, _ = with_bad_rows(1_000)
    rows[500] = changed(rows[500], "id", "3")  # a key that stands twice: the server refuses it
    with pytest.raises(LoadError, match="23505"):
        bin_.load(world.lake.encrypt(as_csv(rows)).data)
    message = world.lake.encrypt(as_csv(with_bad_rows(1_000)[0]))
    with pytest.raises(DecryptionError):
        bin_.load(message.flipped(message.footer - 20))
    assert (bin_.rows(), bin_.uploads()) == (None, 0)


def test_a_load_that_was_committed_and_could_not_say_the_last_word(
    world: World, bin_: Bin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The retry loads nothing, and the rejected rows come to be."""
    caplog.set_level(logging.WARNING)
    uri = world.lake.put(world.lake.encrypt(as_csv(with_bad_rows(1_000)[0])).data)

    def gone(self: PendingObject) -> None:
        raise StoreUnavailable("S3 is away")

    with monkeypatch.context() as patched:
        patched.setattr(PendingObject, "publish", gone)
        with pytest.raises(StoreUnavailable):
            bin_.load(uri)
    assert world.query("SELECT count(*) FROM crm.customers") == [(995,)]
    assert (bin_.rows(), bin_.uploads()) == (None, 1)
    again = bin_.load(uri)
    assert (again.already_loaded, again.rejected) == (True, 0)
    assert len(bin_.rows() or []) == 5
    assert bin_.uploads() == 0
    assert "rows that an earlier run has rejected are in" in caplog.text
    assert bin_.load(uri).already_loaded
    assert len(bin_.rows() or []) == 5


def test_a_load_whose_commit_broke_begins_anew(
    world: World, bin_: Bin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was committed nobody knows; here it was not."""
    uri = world.lake.put(world.lake.encrypt(as_csv(with_bad_rows(1_000)[0])).data)

    def broken(connection: psycopg.Connection[Any], *_: Any) -> None:
        connection.close()
        raise psycopg.OperationalError("the server went away")

    with monkeypatch.context() as patched:
        patched.setattr(manifest, "complete", broken)
        with pytest.raises(StoreUnavailable):
            bin_.load(uri)
    assert world.query("SELECT count(*) FROM crm.customers") == [(0,)]
    assert (bin_.rows(), bin_.uploads()) == (None, 1)
    assert bin_.load(uri).rejected == 5
    assert (len(bin_.rows() or []), bin_.uploads()) == (5, 0)


def test_a_key_that_refuses_stops_the_load(world: World, bin_: Bin) -> None:
    rows, _ = with_bad_rows(100)
    gone = world.lake.key.rpartition("/")[0] + "/11111111-1111-1111-1111-111111111111"
    before = world.state()
    options = world.options(reject=replace(bin_.to(), kms_keys=[gone]))
    with pytest.raises(KeyringError, match="GenerateDataKey"):
        world.load(world.lake.encrypt(as_csv(rows)).data, options=options)
    assert world.state() == before
    assert bin_.uploads() == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"most": 0}, "takes max_rejected_rows="),
        ({"most": True}, "takes max_rejected_rows="),
        ({"kms_keys": []}, "name the KMS keys"),
        ({"kms_keys": "arn"}, "name the KMS keys"),
        ({"uri": "s3://b/x.csv"}, "so it is a folder; end it in /"),
    ],
)
def test_what_can_not_be_meant(world: World, bin_: Bin, settings: dict[str, Any], says: str) -> None:
    options = world.options(reject=replace(bin_.to(), **settings))
    with pytest.raises(ConfigurationError, match=says):
        world.load_rows(customers(1), options=options)


def test_parquet_and_other_targets(world: World, bin_: Bin) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    from airflow_secure_provider.contract.contract import from_columns
    from airflow_secure_provider.stores.formats import FileFormat
    from airflow_secure_provider.transfer import ObjectTarget, transfer

    table = pa.table(
        {"id": ["1", "x", "3"], "tags": [["a"], ["b", None], None], "raw": [b"\x00", b"\xff", None]}
    )
    out = io.BytesIO()
    parquet.write_table(table, out)
    source = replace(world.source(world.lake.put(out.getvalue()), context={}), kind=FileFormat.PARQUET)
    columns = {"id": {"method": "none", "type": "integer"}, "tags": "drop", "raw": "drop"}
    target = ObjectTarget(
        world.lake.s3,
        lambda arn: world.lake.kms,
        f"s3://{BUCKET}/out/{secrets.token_hex(4)}.csv",
        kms_keys=[world.lake.key],
    )
    # A target of text takes what a table does not.
    columns["id"] = {"method": "generalize", "bins": [2, 3], "type": "integer"}
    report = transfer(
        source, from_columns(columns, "x"), target, world.options(reject=bin_.to()), task="dag/task/run/-1"
    )
    assert (report.rows, report.rejected) == (2, 1)
    (row,) = bin_.rows() or []
    assert (row["id"], row["tags"], row["raw"], row["_reject_record"]) == ("x", '["b", null]', "/w==", "2")


def test_errors_of_the_whole_are_no_rows(world: World, bin_: Bin) -> None:
    for body, kind in ((b'id,email\n"1', SecureProviderError), (b"", FormatError)):
        with pytest.raises(kind):
            bin_.load(world.lake.encrypt(body).data)
    assert bin_.rows() is None

"""Objects of every format as source and target: what is written, whole or not at all, and what is known of it later."""

from __future__ import annotations

import csv
import io
import json
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import aws_encryption_sdk
import pyarrow as pa
import pytest
from aws_encryption_sdk.identifiers import CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import KMSMasterKey
from botocore.awsrequest import AWSResponse
from pyarrow import parquet

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.errors import (
    ConfigurationError,
    ContractError,
    DecryptionError,
    FormatError,
    KeyringError,
    SecureProviderError,
    StoreError,
)
from airflow_secure_provider.model import Classification, ColumnStatus, Protection
from airflow_secure_provider.reports import TransferReport
from airflow_secure_provider.stores import object_state
from airflow_secure_provider.stores.formats import FileFormat
from airflow_secure_provider.transfer import ObjectTarget, PostgresSource, S3Source, transfer

from .world import BUCKET, CANARY, COLUMNS, HEADER, World, as_csv, customers

PASSING = {
    "id": {"method": "none", "type": "integer"},
    "email": COLUMNS["email"],
    "ssn": {"method": "redact", "keep_last": 4, "classification": "restricted"},
    "birth_date": {"method": "generalize", "to": "year", "type": "date", "classification": "confidential"},
    "amount": "none",
    "notes": "drop",
}
SAFE = "safe"  # a bucket that encrypts by default, with versions


@pytest.fixture(scope="module")
def safe(lake: Any) -> str:
    lake.s3.create_bucket(Bucket=SAFE, CreateBucketConfiguration={"LocationConstraint": lake.aws.region})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": lake.key}}
    lake.s3.put_bucket_encryption(Bucket=SAFE, ServerSideEncryptionConfiguration={"Rules": [rule]})
    lake.s3.put_bucket_versioning(Bucket=SAFE, VersioningConfiguration={"Status": "Enabled"})
    return SAFE


def target(world: World, ending: str = "csv", bucket: str = BUCKET, **settings: Any) -> ObjectTarget:
    key = settings.pop("key", f"out/{secrets.token_hex(6)}.{ending}")
    chosen = {"kms_keys": [world.lake.key], **settings}
    return ObjectTarget(world.lake.s3, lambda arn: world.lake.kms, f"s3://{bucket}/{key}", **chosen)


def mask(
    world: World, source: Any, to: ObjectTarget, columns: Any = PASSING, **options: Any
) -> TransferReport:
    chosen = world.options(reveal_with=world.lake.keyset, **options)
    return transfer(source, from_columns(columns, "crm.customers"), to, chosen, task="dag/task/run/-1")


def body(world: World, uri: str) -> dict[str, Any]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    got = world.lake.s3.get_object(Bucket=bucket, Key=key)
    return {**got, "Body": got["Body"].read()}


def decrypted(world: World, uri: str) -> tuple[bytes, dict[str, str]]:
    """By the SDK itself."""
    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    provider = KMSMasterKey(key_id=world.lake.key, client=world.lake.kms)
    plain, header = client.decrypt(source=body(world, uri)["Body"], key_provider=provider)
    return plain, header.encryption_context


def records(data: bytes, ending: str) -> list[dict[str, Any]]:
    if ending == "csv":
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    if ending == "jsonl":
        return [json.loads(line) for line in data.decode().splitlines()]
    rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return rows


@pytest.fixture
def loaded(world: World) -> World:
    world.load_rows(customers(1000))
    return world


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_becomes_an_object_and_comes_back(loaded: World, ending: str) -> None:
    to = target(loaded, ending)
    report = mask(loaded, loaded.table_source(), to)
    assert report.rows == 1000
    plain, context = decrypted(loaded, to.uri)
    assert CANARY.encode() not in plain
    rows = sorted(records(plain, ending), key=lambda row: int(row["id"]))
    assert list(rows[0]) == ["id", "email", "ssn", "birth_date", "amount"]
    assert str(rows[4]["birth_date"]) == "1915"
    assert rows[4]["ssn"].endswith("0005")
    assert isinstance(rows[4]["email"], bytes if ending == "parquet" else str)  # base64 text in the table
    assert context["secure-provider:dataset"] == to.uri
    assert context["secure-provider:contract"] == report.contract.digest
    assert context["secure-provider:run"] == "dag/task/run/-1"
    assert (report.target.status, report.target.at_rest.scheme) == ("protected", "client-side")
    assert report.target.in_transit.verified
    assert report.target.dataset.version

    # The object says how its columns are protected, so tokens pass through and join.
    loaded.execute(
        "CREATE TABLE crm.back (id bigint, email text, ssn text, birth_date smallint, amount numeric)"
    )
    back = {name: rule for name, rule in PASSING.items() if name != "notes"}
    there = loaded.load(
        loaded.source(to.uri, context={}), back, "crm.back", options=loaded.options(keyset=None)
    )
    assert [edge.description for edge in there.edges if edge.target == "email"] == [
        "passed through, tokenize before"
    ]
    assert loaded.query(
        "SELECT count(*) FROM crm.back b JOIN crm.customers c USING (id, email) WHERE b.amount = c.amount"
    ) == [(1000,)]
    with pytest.raises(ContractError, match="is known as restricted and the contract calls it internal"):
        loaded.load(
            loaded.source(to.uri, context={}), {**back, "email": "encrypt"}, "crm.back", mode="replace"
        )


@pytest.mark.parametrize("read", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("written", ["csv", "jsonl", "parquet"])
def test_an_object_becomes_another(world: World, read: str, written: str) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in customers(50)]
    rows[7]["notes"] = rows[8]["email"] = None
    data = {
        "csv": lambda: as_csv([tuple(row.values()) for row in rows]),
        "jsonl": lambda: "".join(
            json.dumps({**row, "id": int(str(row["id"]))}) + "\n" for row in rows
        ).encode(),
        "parquet": lambda: _parquet(rows),
    }[read]()
    source = world.source(world.lake.put(world.lake.encrypt(data).data))
    kind = FileFormat(read)
    source = S3Source(source.client, source.kms_client, source.uri, source.context, kind=kind)
    to = target(world, written)
    report = mask(world, source, to, COLUMNS)
    made = records(decrypted(world, to.uri)[0], written)
    assert [int(row["id"]) for row in made] == list(range(1, 51))
    assert made[8]["email"] in ("", None)
    emails = [None if row["email"] in ("", None) else row["email"] for row in made]
    assert world.reveal("email", emails) == [row["email"] for row in rows]
    assert [str(row["amount"]) for row in made] == [str(row["amount"]) for row in rows]
    assert report.target.columns[1].key_version == 1


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out, row_group_size=7)
    return out.getvalue()


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_load_takes_json_lines_and_parquet(world: World, ending: str) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in customers(500)]
    data = (
        _parquet([{**row, "id": int(str(row["id"]))} for row in rows])
        if ending == "parquet"
        else "".join(json.dumps(row) + "\n" for row in rows).encode()
    )
    key = f"in/{secrets.token_hex(6)}.{ending}"
    world.lake.s3.put_object(Bucket=BUCKET, Key=key, Body=world.lake.encrypt(data).data)
    if ending == "jsonl":
        rows = [{**row, "id": int(str(row["id"]))} for row in rows]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        world.lake.s3.put_object(Bucket=BUCKET, Key=key, Body=world.lake.encrypt(data).data)
    assert world.load(f"s3://{BUCKET}/{key}").rows == 500
    emails = [row[0] for row in world.query("SELECT email FROM crm.customers ORDER BY id")]
    assert world.reveal("email", emails) == [row["email"] for row in rows]
    assert world.query("SELECT sum(amount) FROM crm.customers")[0][0] == sum(
        float(str(row["amount"])) for row in rows
    )


def test_parquet_that_does_not_authenticate_is_not_parsed(world: World) -> None:
    message = world.lake.encrypt(_parquet([dict(zip(HEADER, row, strict=True)) for row in customers(2000)]))
    key = f"in/{secrets.token_hex(6)}.parquet"
    world.lake.s3.put_object(Bucket=BUCKET, Key=key, Body=message.flipped(message.footer - 20))
    with pytest.raises(DecryptionError):
        world.load(f"s3://{BUCKET}/{key}")
    assert world.state()["crm.customers"] == []


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_no_rows_still_have_columns(world: World, ending: str) -> None:
    to = target(world, ending)
    assert mask(world, world.source(world.lake.put(as_csv([])), context={}), to, COLUMNS_OPEN).rows == 0
    plain, _ = decrypted(world, to.uri)
    assert records(plain, ending) == []
    if ending != "jsonl":
        assert b"email" in plain


COLUMNS_OPEN = dict.fromkeys(HEADER, "none")


def test_the_store_encrypts_by_its_default(loaded: World, safe: str) -> None:
    to = target(loaded, bucket=safe, kms_keys=())
    report = mask(loaded, loaded.table_source(), to)
    assert report.target.at_rest.scheme == "SSE-KMS"
    assert report.target.at_rest.evidence == "observed"
    got = body(loaded, to.uri)
    assert got["ServerSideEncryption"] == "aws:kms"
    assert report.target.dataset.version == got["VersionId"]
    assert len(records(got["Body"], "csv")) == 1000


def test_the_store_encrypts_under_a_named_key(loaded: World) -> None:
    to = target(loaded, kms_keys=[loaded.lake.other_key], encryption="SSE-KMS")
    report = mask(loaded, loaded.table_source(), to)
    assert (report.target.at_rest.scheme, report.target.at_rest.key_id) == ("SSE-KMS", loaded.lake.other_key)
    assert body(loaded, to.uri)["SSEKMSKeyId"] == loaded.lake.other_key


def test_a_bucket_that_encrypts_nothing_gets_nothing(loaded: World) -> None:
    loaded.lake.s3.create_bucket(
        Bucket="open", CreateBucketConfiguration={"LocationConstraint": loaded.lake.aws.region}
    )
    loaded.lake.s3.delete_bucket_encryption(Bucket="open")
    to = target(loaded, bucket="open", kms_keys=())
    with pytest.raises(ContractError, match=r"so the target must be encrypted at rest; it is none"):
        mask(loaded, loaded.table_source(), to)
    assert "Contents" not in loaded.lake.s3.list_objects_v2(Bucket="open")


def test_the_same_version_is_written_once(world: World) -> None:
    source = world.source(world.lake.put(world.lake.encrypt(as_csv(customers(10))).data))
    to = target(world)
    first = mask(world, source, to, COLUMNS)
    before = body(world, to.uri)["ETag"]
    again = mask(world, source, to, COLUMNS)
    assert (first.rows, first.already_loaded, again.rows, again.already_loaded) == (10, False, 0, True)
    assert body(world, to.uri)["ETag"] == before
    assert mask(world, source, to, {**COLUMNS, "notes": "drop"}).rows == 10
    assert body(world, to.uri)["ETag"] != before


def test_a_table_is_read_again_by_every_run(loaded: World) -> None:
    to = target(loaded)
    assert mask(loaded, loaded.table_source(), to).rows == 1000
    loaded.execute("DELETE FROM crm.customers WHERE id > 10")
    assert mask(loaded, loaded.table_source(), to).rows == 10


def uploads(world: World, bucket: str = BUCKET) -> list[Any]:
    found: list[Any] = world.lake.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return found


@pytest.mark.parametrize("count", [100, 200_000])
@pytest.mark.parametrize("kms", [True, False])
def test_a_source_that_breaks_at_its_end_leaves_no_object(
    world: World, safe: str, count: int, kms: bool
) -> None:
    """The larger one has several parts uploaded by then."""
    rows = [(*row[:5], str(row[5]) + "x" * 100) for row in customers(count)]
    message = world.lake.encrypt(as_csv(rows), frame_length=1 << 20)
    source = world.source(world.lake.put(message.flipped(message.footer - 20)))
    to = target(world) if kms else target(world, bucket=safe, kms_keys=())
    with pytest.raises(DecryptionError, match="does not authenticate"):
        mask(world, source, to, COLUMNS)
    with pytest.raises(world.lake.s3.exceptions.NoSuchKey):
        body(world, to.uri)
    assert uploads(world) == uploads(world, safe) == []


def test_a_failed_run_leaves_the_object_of_the_last_one(world: World) -> None:
    to = target(world)
    mask(world, world.source(world.lake.put(world.lake.encrypt(as_csv(customers(10))).data)), to, COLUMNS)
    before = body(world, to.uri)["Body"]
    message = world.lake.encrypt(as_csv(customers(11)))
    with pytest.raises(DecryptionError):
        mask(world, world.source(world.lake.put(message.flipped(message.footer - 20))), to, COLUMNS)
    assert body(world, to.uri)["Body"] == before


def test_a_key_service_that_refuses(loaded: World) -> None:
    kms = loaded.lake.aws.client("kms")
    denied = {"Error": {"Code": "AccessDeniedException", "Message": ""}}
    kms.meta.events.register(
        "before-call.kms.GenerateDataKey", lambda **_: (AWSResponse("", 400, {}, None), denied)
    )
    to = ObjectTarget(
        loaded.lake.s3, lambda arn: kms, f"s3://{BUCKET}/out/refused.csv", kms_keys=[loaded.lake.key]
    )
    with pytest.raises(KeyringError, match="allow kms:GenerateDataKey on this key"):
        mask(loaded, loaded.table_source(), to)
    with pytest.raises(loaded.lake.s3.exceptions.NoSuchKey):
        body(loaded, to.uri)


@pytest.mark.parametrize(
    ("settings", "kind", "says"),
    [
        ({"mode": "append"}, ConfigurationError, "an object is replaced as a whole"),
        ({"encryption": "SSE-S3"}, ConfigurationError, "expected one of client-side, SSE-KMS"),
        ({"bucket": "nowhere-at-all"}, StoreError, "there is no such bucket"),
        ({"kms_keys": ["arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-1111-1111-111111111111"]}, KeyringError, "key"),
    ],
)  # fmt: skip
def test_what_can_not_be_written_is_refused(
    loaded: World, settings: dict[str, Any], kind: type[SecureProviderError], says: str
) -> None:
    to = target(loaded, **settings)
    with pytest.raises(kind, match=says):
        mask(loaded, loaded.table_source(), to)


def test_plain_values_are_not_revealed_into_an_object(loaded: World) -> None:
    columns = {**PASSING, "birth_date": {"method": "none", "classification": "confidential"}}
    with pytest.raises(ContractError, match="reveal it with RevealColumnsOperator"):
        mask(loaded, loaded.table_source(), target(loaded), columns)
    with pytest.raises(ConfigurationError, match="values are revealed into tables only"):
        mask(loaded, loaded.table_source(), target(loaded), columns, purpose="curiosity")


def test_metadata_that_can_not_be_read_is_not_taken_for_none(loaded: World) -> None:
    to = target(loaded)
    mask(loaded, loaded.table_source(), to)
    key = to.uri.removeprefix(f"s3://{BUCKET}/")
    for broken in ("bm90aGluZw==", "%%%", ""):
        loaded.lake.s3.put_object(
            Bucket=BUCKET, Key=key, Body=b"id\n1\n", Metadata={"secure-provider-columns": broken or "="}
        )
        with pytest.raises(FormatError, match="nobody knows what its columns hold"):
            loaded.load(loaded.source(to.uri, context={}), {"id": "none"}, "crm.customers")


def without(metadata: dict[str, str]) -> dict[str, str]:
    return {}


def lying(metadata: dict[str, str]) -> dict[str, str]:
    """As if the first column were something else."""
    states = object_state.read_state(metadata, "it")
    changed = [replace(state, protection=Protection.NONE) for state in states.values()]
    return metadata | object_state.state_metadata(changed, "it")


@pytest.mark.parametrize("change", [without, lying])
def test_metadata_that_is_not_the_messages(loaded: World, change: Any) -> None:
    to = target(loaded)
    mask(loaded, loaded.table_source(), to)
    got = body(loaded, to.uri)
    key = to.uri.removeprefix(f"s3://{BUCKET}/")
    loaded.lake.s3.put_object(Bucket=BUCKET, Key=key, Body=got["Body"], Metadata=change(got["Metadata"]))
    with pytest.raises(
        DecryptionError, match="its metadata 'secure-provider-columns' is not what was written"
    ):
        loaded.load(loaded.source(to.uri, context={}), PASSING, "crm.customers")


def test_metadata_that_somebody_gave_to_a_message_of_others(loaded: World) -> None:
    """A plain column that is said to be ciphertext would go through as it is."""
    forged = ColumnStatus(
        "email",
        Classification.RESTRICTED,
        Protection.TOKENIZE,
        domain="person-email",
        keyset_id="customers",
        key_version=1,
    )
    message = loaded.lake.encrypt(as_csv(customers(3))).data
    uri = loaded.lake.put(message, Metadata=object_state.state_metadata([forged], "it"))
    with pytest.raises(DecryptionError, match="nobody knows what its columns hold"):
        loaded.load(uri)
    sse = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": loaded.lake.key}
    uri = loaded.lake.put(as_csv(customers(3)), Metadata=object_state.state_metadata([forged], "it"), **sse)
    before = loaded.state()
    with pytest.raises(FormatError, match=r"'email' is recorded as tokenize, and behind record 0 ") as raised:
        loaded.load(loaded.source(uri, context={}))
    assert CANARY not in str(raised.value)
    assert loaded.state() == before


def test_more_columns_than_metadata_can_tell(world: World) -> None:
    names = [secrets.token_hex(12) for _ in range(80)]
    source = world.source(world.lake.put(as_csv([tuple("x" * 80)], names)), context={})
    with pytest.raises(ConfigurationError, match=r"what there is to say of its 80 columns takes"):
        mask(world, source, target(world), dict.fromkeys(names, "tokenize"))


def test_plaintext_http_is_refused_before_a_byte(world: World) -> None:
    import boto3

    plain = boto3.client("s3", endpoint_url="http://127.0.0.1:9", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b")  # fmt: skip
    to = ObjectTarget(plain, lambda arn: world.lake.kms, f"s3://{BUCKET}/x.csv", kms_keys=[world.lake.key])
    with pytest.raises(SecureProviderError):
        mask(world, world.table_source(), to)


def test_it_streams(world: World) -> None:
    """A batch is taken only when the one before it is on its way."""
    taken: list[int] = []

    class Endless:
        where = "crm.customers"
        transport_ahead = PostgresSource(world.database.connect, "crm.customers").transport_ahead

        def open(self, declared: Any, rules: Any = ()) -> Any:
            opened = world.table_source().open(declared, rules)

            class Opened:
                def __getattr__(self, name: str) -> Any:
                    return getattr(opened, name)

                def batches(self) -> Iterator[Any]:
                    for number in range(400):
                        taken.append(number)
                        yield pa.RecordBatch.from_pylist(
                            [{name: "x" * 1000 if name == "notes" else "1" for name in HEADER}] * 1000
                        )

            return Opened()

    client, parts = world.lake.aws.client("s3"), []

    def count(**_: Any) -> None:
        parts.append(len(taken))
        if len(parts) == 2:
            raise KeyError("enough")

    client.meta.events.register("before-call.s3.UploadPart", count)
    to = ObjectTarget(
        client, lambda arn: world.lake.kms, f"s3://{BUCKET}/out/stream.csv", kms_keys=[world.lake.key]
    )
    with pytest.raises(KeyError, match="enough"):
        mask(world, Endless(), to, COLUMNS_OPEN)
    assert len(taken) < 60  # of 400: about 32 MB of the 400 MB
    assert uploads(world) == []
    assert threading.active_count() < 20

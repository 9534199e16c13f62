"""Several objects as one source: all of them in one transaction, or none."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
from dataclasses import replace
from typing import Any

import pytest
from cryptography.fernet import Fernet

from airflow_secure_provider.errors import (
    ConfigurationError,
    ContractError,
    DecryptionError,
    FormatError,
    SecureProviderError,
    StoreError,
)
from airflow_secure_provider.transfer import S3Objects

from .world import BUCKET, COLUMNS, HEADER, World, as_csv, customers


class Folder:
    def __init__(self, world: World) -> None:
        self.world = world
        self.name = f"days/{secrets.token_hex(6)}/"

    @property
    def uri(self) -> str:
        return f"s3://{BUCKET}/{self.name}"

    def put(self, name: str, rows: Any, *, body: bytes | None = None, **settings: Any) -> str:
        data = self.world.lake.encrypt(as_csv(rows)).data if body is None else body
        self.world.lake.s3.put_object(Bucket=BUCKET, Key=self.name + name, Body=data, **settings)
        return self.uri + name

    def source(self, uris: Any = None, **settings: Any) -> S3Objects:
        return S3Objects(replace(self.world.source(self.uri), **settings), uris)


@pytest.fixture
def folder(world: World) -> Folder:
    made = Folder(world)
    made.put("2.csv", customers(20, first=101))
    made.put("1.csv", customers(30, first=1))
    made.put("3.csv.gz", (), body=world.lake.encrypt(gzip.compress(as_csv(customers(10, first=201)))).data)
    made.put("", (), body=b"")  # the marker of a folder, as the console makes it
    return made


def test_all_under_a_prefix(world: World, folder: Folder) -> None:
    report = world.load(folder.source())
    assert report.rows == 60
    assert world.query("SELECT count(DISTINCT id) FROM crm.customers") == [(60,)]
    assert report.source.dataset.uri == folder.uri
    assert report.source.at_rest.scheme == "client-side"
    assert world.query("SELECT source, rows FROM secure_provider.load_manifest") == [(folder.uri, 60)]
    assert report.bytes_read > 6_000


def test_the_same_objects_once_and_another_one_makes_them_others(world: World, folder: Folder) -> None:
    world.load(folder.source())
    assert world.load(folder.source()).already_loaded
    folder.put("4.csv", customers(5, first=301))
    assert world.load(folder.source(), mode="replace").rows == 65


def test_a_list(world: World, folder: Folder) -> None:
    uris = [f"{folder.uri}2.csv", f"{folder.uri}1.csv"]
    assert world.load(folder.source(uris)).rows == 50


def manifest(folder: Folder, entries: Any) -> S3Objects:
    uri = folder.put("all.manifest", (), body=json.dumps({"entries": entries}).encode())
    return replace(folder.source(), each=folder.world.source(uri), manifest=True)


def test_a_manifest(world: World, folder: Folder) -> None:
    size = len(world.lake.s3.get_object(Bucket=BUCKET, Key=f"{folder.name}1.csv")["Body"].read())
    source = manifest(
        folder,
        [
            {"url": f"{folder.uri}2.csv", "mandatory": False},
            {"url": f"{folder.uri}1.csv", "meta": {"content_length": size}},
        ],
    )
    report = world.load(source)
    assert (report.rows, report.source.dataset.uri) == (50, f"{folder.uri}all.manifest")
    assert world.load(source).already_loaded


@pytest.mark.parametrize(
    ("entries", "kind", "says"),
    [
        (
            [{"url": "1.csv", "meta": {"content_length": 7}}],
            FormatError,
            r"1\.csv has .* bytes, and its manifest .* states 7",
        ),
        ([{"url": "gone.csv", "mandatory": False}], StoreError, "there is no such object"),
        ([], ConfigurationError, "there is no object"),
        ([{"uri": "1.csv"}], FormatError, r"all\.manifest is not a manifest of objects, expected"),
        ([{"url": "1.csv", "meta": {"content_length": "7"}}], FormatError, "is not a manifest"),
        (None, FormatError, "is not a manifest"),
    ],
)
def test_manifests_that_can_not_be_read(
    world: World, folder: Folder, entries: Any, kind: type[SecureProviderError], says: str
) -> None:
    for entry in entries or ():
        entry |= {"url": folder.uri + entry["url"]} if "url" in entry else {}
    before = world.state()
    with pytest.raises(kind, match=says):
        world.load(manifest(folder, entries))
    assert world.state() == before


def test_one_that_is_damaged_spoils_all(world: World, folder: Folder) -> None:
    message = world.lake.encrypt(as_csv(customers(10, first=401)))
    folder.put("9.csv", (), body=message.flipped(message.footer - 20))
    before = world.state()
    with pytest.raises(DecryptionError, match=r"9\.csv does not authenticate"):
        world.load(folder.source())
    assert world.state() == before


def other_columns(folder: Folder) -> None:
    lines = as_csv([row[:5] for row in customers(3, first=501)], HEADER[:5])
    folder.put("9.csv", (), body=folder.world.lake.encrypt(lines).data)


def not_encrypted(folder: Folder) -> None:
    folder.put("9.csv", (), body=as_csv(customers(3, first=501)))


@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (other_columns, FormatError, "its columns are not those of"),
        (not_encrypted, ContractError, r"encryption_context=, kms_key_arns= or a raw AES key expects one"),
    ],
)
def test_one_that_is_different_spoils_all(
    world: World, folder: Folder, spoil: Any, kind: type[SecureProviderError], says: str
) -> None:
    spoil(folder)
    before = world.state()
    with pytest.raises(kind, match=says):
        world.load(folder.source())
    assert world.state() == before


def test_one_that_is_less_encrypted_spoils_all(world: World, folder: Folder) -> None:
    not_encrypted(folder)
    with pytest.raises(ContractError, match=r"9\.csv: it is none \(observed\), and .*1\.csv is client-side"):
        world.load(folder.source(context={}), {**COLUMNS})
    assert world.state()["crm.customers"] == []


@pytest.mark.parametrize(
    ("uris", "kind", "says"),
    [
        ([], ConfigurationError, "there is no object"),
        (["1.csv", "1.csv"], ConfigurationError, "an object stands twice"),
        (["1.csv", "gone.csv"], StoreError, "there is no such object"),
    ],
)
def test_lists_that_can_not_be_read(
    world: World, folder: Folder, uris: list[str], kind: type[SecureProviderError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        world.load(folder.source([folder.uri + name for name in uris]))


def test_a_prefix_without_objects(world: World) -> None:
    empty = S3Objects(world.source(f"s3://{BUCKET}/nothing/here/"))
    with pytest.raises(ConfigurationError, match="s3://lake/nothing/here/: there is no object"):
        world.load(empty)


def test_under_a_key_of_the_customer(world: World, folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    key = secrets.token_bytes(32)
    sse = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}
    uri = folder.put("c.csv", (), body=as_csv(customers(7)), **sse)
    report = world.load(replace(world.source(uri, context={}), customer_key=key))
    assert (report.rows, report.source.at_rest.scheme, report.source.at_rest.evidence) == (
        7,
        "SSE-C",
        "observed",
    )
    assert key.hex() not in repr(world.source(uri)) + caplog.text + str(report)
    assert repr(key) not in repr(replace(world.source(uri), customer_key=key))
    for wrong in (None, bytes(32)):
        with pytest.raises(StoreError, match="it may be under SSE-C, and then needs its key"):
            world.load(replace(world.source(uri, context={}), customer_key=wrong))


def test_a_fernet_file(world: World, folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    token = Fernet(old).encrypt(as_csv(customers(9)))
    uri = folder.put("f.csv", (), body=token)
    source = replace(world.source(uri, context={}), fernet_keys=[new, old])
    report = world.load(source)
    assert (report.rows, report.source.at_rest.scheme) == (9, "client-side")
    assert "is a Fernet file: it is held in memory whole" in caplog.text
    assert old not in repr(source) + caplog.text

    raw = base64.urlsafe_b64decode(token)
    changed = base64.urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1]))
    before = world.state()
    for keys, body, kind, says in (
        ([new], token, DecryptionError, "does not authenticate under any of the 1 Fernet keys"),
        ([old], changed, DecryptionError, "does not authenticate"),
        ([old], token[: len(token) // 2], DecryptionError, "does not authenticate"),
        (["short"], token, ConfigurationError, "a Fernet key is the base64 of 32 bytes"),
        ([old], as_csv(customers(1)), ContractError, "is not a Fernet file"),
        ([], token, FormatError, "name its key in fernet_key_conn_id="),
    ):
        uri = folder.put("f.csv", (), body=body)
        with pytest.raises(kind, match=says):
            world.load(replace(world.source(uri, context={}), fernet_keys=keys))
    assert world.state() == before


def test_fernet_keys_and_other_settings_do_not_go_together(world: World, folder: Folder) -> None:
    """Else one of them would be a check that is not made."""
    key = Fernet.generate_key()
    for body in (Fernet(key).encrypt(as_csv(customers(3))), world.lake.encrypt(as_csv(customers(3))).data):
        uri = folder.put("f.csv", (), body=body)
        others: list[dict[str, Any]] = [{"context": {"dataset": "x"}}, {"context": {}, "key_arns": []}]
        for settings in others:
            source = replace(world.source(uri), fernet_keys=[key.decode()], **settings)
            with pytest.raises(ConfigurationError, match="expect different objects; give one of them"):
                world.load(source)
    with pytest.raises(ContractError, match="is not a Fernet file"):
        world.load(replace(world.source(uri, context={}), fernet_keys=[key.decode()]))


def test_a_large_fernet_file_is_not_taken(
    world: World, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_secure_provider.objects.fernet.MAX_BYTES", 1_000)
    key = Fernet.generate_key()
    uri = folder.put("f.csv", (), body=Fernet(key).encrypt(as_csv(customers(90))))
    with pytest.raises(FormatError, match=r"must be held in memory whole; up to 1,000 are read"):
        world.load(replace(world.source(uri, context={}), fernet_keys=[key.decode()]))

"""Files, queries and APIs, encrypted into S3: read back by the library, and loaded by us."""

from __future__ import annotations

import gzip
import io
import json
import logging
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aws_encryption_sdk
import pyarrow as pa
import pytest
from aws_encryption_sdk.identifiers import CommitmentPolicy
from aws_encryption_sdk.key_providers.kms import KMSMasterKey

from airflow_secure_provider.contract.contract import Contract, from_columns
from airflow_secure_provider.contract.policy import BUILT_IN
from airflow_secure_provider.errors import (
    ConfigurationError,
    ContractError,
    FormatError,
    KeyringError,
    SecureProviderError,
    StoreError,
    StoreUnavailable,
)
from airflow_secure_provider.objects.encryption_sdk_keys import RawAesKey
from airflow_secure_provider.reports import LandingReport
from airflow_secure_provider.stores.http import Authentication, HttpAccess
from airflow_secure_provider.stores.http_authentication import ApiKey, Basic, ClientCredentials
from airflow_secure_provider.transfer import (
    BytesSource,
    EncryptedObject,
    HttpApi,
    LocalFile,
    Pagination,
    QueryAsCsv,
    land,
)
from sandbox.ca import Authority
from tests import api_server
from tests.api_server import API_KEY, CLIENT_ID, CLIENT_SECRET, Api, Fault
from tests.protection.said import everything_said

from .world import BUCKET, CANARY, COLUMNS, HEADER, World, as_csv, customers

CLIENT = aws_encryption_sdk.EncryptionSDKClient(
    commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
)
CONFIDENTIAL = from_columns({"id": {"method": "none", "classification": "confidential"}}, "crm.customers")
PUBLIC = from_columns({"id": {"method": "none", "classification": "public"}}, "crm.customers")


class Landing:
    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = f"landing/{secrets.token_hex(6)}/"

    def target(self, name: str = "x.csv", **settings: Any) -> EncryptedObject:
        lake = self.world.lake
        chosen = {"kms_keys": [lake.key], **settings}
        return EncryptedObject(lake.s3, lambda arn: lake.kms, f"s3://{BUCKET}/{self.folder}{name}", **chosen)

    def land(
        self,
        source: BytesSource,
        target: EncryptedObject | None = None,
        contract: Contract | None = None,
        **more: Any,
    ) -> LandingReport:
        to = target or self.target()
        return land(source, to, contract, BUILT_IN, task="dag/task/run/-1", **more)

    def read(self, name: str = "x.csv") -> tuple[bytes, dict[str, str]]:
        """As the library opens it."""
        body = self.world.lake.s3.get_object(Bucket=BUCKET, Key=self.folder + name)["Body"].read()
        key = KMSMasterKey(key_id=self.world.lake.key, client=self.world.lake.kms)
        plain, header = CLIENT.decrypt(source=body, key_provider=key)
        return bytes(plain), dict(header.encryption_context)

    def objects(self) -> list[str]:
        found = self.world.lake.s3.list_objects_v2(Bucket=BUCKET, Prefix=self.folder)
        return [each["Key"] for each in found.get("Contents", [])]


@pytest.fixture
def landing(world: World) -> Landing:
    return Landing(world)


# --- files


def test_a_file(landing: Landing, tmp_path: Path) -> None:
    content = secrets.token_bytes(40_000_000)  # of more than two parts
    (tmp_path / "x.bin").write_bytes(content)
    to = landing.target(context={"dataset": "crm.customers"})
    report = landing.land(LocalFile(str(tmp_path / "x.bin")), to, CONFIDENTIAL)
    plain, context = landing.read()
    assert plain == content
    assert (
        context.items()
        >= {
            "dataset": "crm.customers",
            "secure-provider:dataset": to.uri,
            "secure-provider:contract": CONFIDENTIAL.ref.digest,
            "secure-provider:run": "dag/task/run/-1",
        }.items()
    )
    assert report.bytes_read == len(content) < report.bytes_written
    assert report.target.status == "protected"
    assert report.target.at_rest.key_id == landing.world.lake.key
    assert report.target.dataset.version
    assert (report.source.dataset.namespace, report.source.status) == ("file", "unknown")
    assert json.dumps(report.as_dict())


def test_what_was_landed_is_loaded(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(as_csv(customers(200)))
    to = landing.target(context={"dataset": "crm.customers"})
    landing.land(LocalFile(str(tmp_path / "x.csv")), to)
    assert landing.world.load(landing.world.source(to.uri)).rows == 200


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_it_is_compressed_as_its_key_says(landing: Landing, tmp_path: Path, ending: str) -> None:
    content = as_csv(customers(50_000))
    (tmp_path / "x.csv").write_bytes(content)
    report = landing.land(LocalFile(str(tmp_path / "x.csv")), landing.target(f"x.csv.{ending}"))
    plain, _ = landing.read(f"x.csv.{ending}")
    codec = {"gz": "gzip", "zst": "zstd"}[ending]
    assert pa.CompressedInputStream(pa.BufferReader(plain), codec).read() == content
    assert report.bytes_read == len(content) > 2 * report.bytes_written
    source = landing.world.source(landing.target(f"x.csv.{ending}").uri, context={})
    assert landing.world.load(source).rows == 50_000


def test_what_is_compressed_already_stays_as_it_is(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    landing.land(LocalFile(str(tmp_path / "x.csv.gz")), landing.target("x.csv.gz"))
    assert gzip.decompress(landing.read("x.csv.gz")[0]) == b"id\n1\n"
    with pytest.raises(
        ConfigurationError, match=r"is compressed with gzip, which the key '.*x\.csv' must end with"
    ):
        landing.land(LocalFile(str(tmp_path / "x.csv.gz")), landing.target("x.csv"))


def test_an_empty_file(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    landing.land(LocalFile(str(tmp_path / "x")))
    assert landing.read()[0] == b""


def test_a_file_that_grows_meanwhile(
    landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"id\n" * 100)
    source = LocalFile(str(path))
    with source.open({}) as opened:
        opened.read(100)
        with path.open("ab") as more:
            more.write(b"1\n")
        while opened.read(1000):
            pass
        with pytest.raises(
            FormatError, match="was changed while it was read: it had 300 bytes, 302 were read"
        ):
            opened.finish()


@pytest.mark.parametrize(
    ("path", "kind", "says"),
    [
        ("x.csv", ConfigurationError, "no absolute path"),
        ("/nowhere/x.csv", StoreError, "can't be read: No such file"),
        ("/tmp", StoreError, "can't be read: Is a directory"),
    ],
)
def test_files_that_can_not_be_read(
    landing: Landing, path: str, kind: type[SecureProviderError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        landing.land(LocalFile(path))
    assert landing.objects() == []


@pytest.mark.parametrize(
    ("settings", "kind", "says"),
    [
        ({"kms_keys": []}, ConfigurationError, "name the keys"),
        ({"kms_keys": "arn"}, ConfigurationError, "name the keys"),
        ({"context": {"secure-provider:run": "x"}}, ConfigurationError, "its beginning is reserved"),
        ({"context": {"aws-crypto-x": "x"}}, ConfigurationError, "its beginning is reserved"),
        ({"kms_keys": ["arn:aws:kms:eu-central-1:123456789012:key/11111111-1111-1111-1111-111111111111"]}, KeyringError, "GenerateDataKey"),
    ],
)  # fmt: skip
def test_targets_that_can_not_be(
    landing: Landing, tmp_path: Path, settings: dict[str, Any], kind: type[SecureProviderError], says: str
) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(kind, match=says):
        landing.land(LocalFile(str(tmp_path / "x")), landing.target(**settings))
    assert landing.objects() == []


def test_under_a_raw_key(landing: Landing, tmp_path: Path) -> None:
    raw = RawAesKey("acme", "k", bytes(32))
    (tmp_path / "x.csv").write_bytes(as_csv(customers(3)))
    to = landing.target(kms_keys=[], raw_key=raw)
    report = landing.land(LocalFile(str(tmp_path / "x.csv")), to)
    assert report.target.at_rest.key_id == "acme/k"
    from dataclasses import replace

    source = replace(landing.world.source(to.uri, context={}), raw_key=raw)
    assert landing.world.load(source).rows == 3


# --- queries


def test_a_query(landing: Landing) -> None:
    world = landing.world
    world.load_rows(customers(300))
    source = QueryAsCsv(
        world.database.connect, "SELECT id, email, amount FROM crm.customers WHERE id <= 200 ORDER BY id"
    )
    report = landing.land(source, contract=CONFIDENTIAL)
    lines = landing.read()[0].decode().splitlines()
    assert (lines[0], len(lines)) == ("id,email,amount", 201)
    assert lines[1].startswith('"1","AQAAAA')
    assert [part.dataset.name for part in report.source.parts] == [f"{world.database.name}.crm.customers"]
    assert report.source.in_transit.verified
    states = {column.name: column for column in report.target.columns}
    assert states["email"].protection == "tokenize"
    to = landing.target()
    lower = {"id": {"method": "none", "type": "integer"}, "email": "none", "amount": "none"}
    with pytest.raises(
        ContractError, match="column 'email' is known as restricted and the contract calls it internal"
    ):
        world.load(world.source(to.uri, context={}), lower)


def test_what_a_query_gave_goes_on_as_it_was(landing: Landing) -> None:
    """Tokens are loaded as tokens, without the keyset."""
    world = landing.world
    world.load_rows(customers(30))
    landing.land(QueryAsCsv(world.database.connect, "SELECT id, email FROM crm.customers"))
    world.execute("CREATE TABLE crm.copied (id bigint, email text)")
    columns = {"id": COLUMNS["id"], "email": COLUMNS["email"]}
    options = world.options(keyset=None)
    assert (
        world.load(
            world.source(landing.target().uri, context={}), columns, "crm.copied", options=options
        ).rows
        == 30
    )
    joined = "SELECT count(*) FROM crm.copied JOIN crm.customers USING (id, email)"
    assert world.query(joined) == [(30,)]


def test_a_query_over_a_connection_that_is_not_verified(landing: Landing) -> None:
    source = QueryAsCsv(lambda: landing.world.database.connect(sslmode="require"), "SELECT 1 AS a")
    with pytest.raises(
        ContractError, match=r"column 'id' is confidential, so the connection to postgres://.*verified"
    ):
        landing.land(source, contract=CONFIDENTIAL)
    with pytest.raises(
        ContractError, match="no contract says what the content is, so it counts as restricted"
    ):
        landing.land(source)
    assert landing.objects() == []
    assert landing.land(source, contract=PUBLIC).source.status == "unknown"


@pytest.mark.parametrize("query", ["SELECT 1/0 AS a", "SELECT nothing", "DROP TABLE crm.customers"])
def test_a_query_that_fails(landing: Landing, query: str) -> None:
    with pytest.raises(SecureProviderError):
        landing.land(QueryAsCsv(landing.world.database.connect, query))
    assert landing.objects() == []


# --- APIs


@pytest.fixture
def api(authority: Authority) -> Iterator[Api]:
    with Api(authority) as api:
        api.records = [
            {"id": n, "email": f"{CANARY}.{n}@example.com", "amount": 1.10, "nested": {"a": [n, None, "ä"]}}
            for n in range(1, 351)
        ]
        yield api


def oauth(api: Api, **settings: Any) -> ClientCredentials:
    chosen = {"extra": {"scope": "read"}, "verify": api.ca, "timeout": 5.0, **settings}
    return ClientCredentials(f"{api.url}/token", CLIENT_ID, CLIENT_SECRET, **chosen)


class Naps:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def source(
    api: Api,
    endpoint: str = "/secure/by/link",
    pagination: dict[str, Any] | None = None,
    records: str | None = "",
    authentication: Authentication | None = None,
    **settings: Any,
) -> HttpApi:
    access = HttpAccess(api.url, authentication or oauth(api), api.ca, timeout=3.0)
    how = Pagination.of(pagination) if pagination else None
    return HttpApi(access, endpoint, records=records, pagination=how, **{"sleep": Naps(), **settings})


WAYS: list[tuple[str, dict[str, Any], str, int]] = [
    ("/secure/by/link", {"type": "link"}, "", 4),
    ("/secure/by/url", {"type": "url", "at": "paging.next"}, "data.items", 4),
    ("/secure/by/cursor", {"type": "cursor", "at": "meta.next", "param": "after"}, "items", 4),
    ("/secure/by/page", {"type": "page", "param": "page"}, "", 5),
    ("/secure/by/offset", {"type": "offset", "param": "offset"}, "", 5),
]


@pytest.mark.parametrize(("endpoint", "pagination", "records", "pages"), WAYS)
def test_pages(
    landing: Landing, api: Api, endpoint: str, pagination: dict[str, Any], records: str, pages: int
) -> None:
    report = landing.land(source(api, endpoint, pagination, records), landing.target("x.jsonl"))
    lines = landing.read("x.jsonl")[0].decode().splitlines()
    assert [json.loads(line) for line in lines] == api.records
    assert report.counts == {"requests": pages, "pages": pages, "records": 350}
    assert report.source.in_transit.verified
    assert report.source.dataset.namespace == api.url
    assert report.source.dataset.name == endpoint
    assert len(api.tokens) == 1


def test_one_answer_as_it_is(landing: Landing, api: Api) -> None:
    report = landing.land(source(api, "/file.bin", records=None), landing.target("x.bin"))
    assert landing.read("x.bin")[0] == b"".join(json.dumps(each).encode() for each in api.records)
    assert report.counts == {"requests": 1}


def test_records_are_loaded(landing: Landing, api: Api) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in customers(120)]
    api.records = [{**row, "id": int(row["id"] or 0)} for row in rows]
    to = landing.target("x.jsonl")
    landing.land(source(api, pagination={"type": "link"}), to)
    assert landing.world.load(landing.world.source(to.uri, context={})).rows == 120


def test_numbers_and_texts_stay_as_they_were_written(landing: Landing, api: Api) -> None:
    written = '{"a":0.10,"b":1e3,"c":12345678901234567890123,"d":0.1234567890123456789,"e":"0.10","f":"\\"1.5","g":-0.0}'
    api.faults = [api_server.body(f"[{written}]".encode())]
    landing.land(source(api, "/by/link", authentication=ApiKey(API_KEY)))
    assert landing.read()[0].decode() == written + "\n"
    api.faults = [api_server.body(b'[{"half": "\\ud800", "a": 0.10}]')]
    landing.land(source(api, "/by/link", authentication=ApiKey(API_KEY)))
    assert landing.read()[0] == b'{"half":"\\ud800","a":0.10}\n'


@pytest.mark.parametrize("in_body", [False, True])
def test_client_credentials(landing: Landing, api: Api, in_body: bool) -> None:
    told: list[str] = []
    who = oauth(api, in_body=in_body, on_token=told.append)
    landing.land(source(api, authentication=who))
    assert list(api.tokens) == told
    assert api.forms[0]["scope"] == "read"
    assert ("client_secret" in api.forms[0]) == in_body


@pytest.mark.parametrize(
    "who",
    [ApiKey(API_KEY), ApiKey(API_KEY, "x-api-key"), Basic("user", "pass word")],
    ids=["key", "named", "basic"],
)
def test_other_credentials(landing: Landing, api: Api, who: Authentication) -> None:
    endpoint = "/by/link" if isinstance(who, Basic) else "/secure/by/link"
    landing.land(source(api, endpoint, authentication=who))
    sent = api.seen[0][1]
    assert sent.get("Authorization") == ("Basic dXNlcjpwYXNzIHdvcmQ=" if isinstance(who, Basic) else None)
    assert CANARY not in repr(who)
    assert API_KEY not in repr(who) + repr(source(api, authentication=who))
    assert "pass word" not in repr(who)


def test_a_token_is_taken_anew_before_it_expires(landing: Landing, api: Api) -> None:
    """Half a second before: no request is made with one that has expired."""
    api.life = 1.0
    api.faults = [api_server.nothing, lambda request: bool(time.sleep(0.6))]
    landing.land(source(api, pagination={"type": "link"}))
    assert len(api.tokens) == 2
    assert len(api.seen) == 4


def test_a_token_that_is_not_accepted_any_more(landing: Landing, api: Api) -> None:
    api.faults = [api_server.nothing, api_server.nothing, api_server.forget_tokens]
    report = landing.land(source(api, pagination={"type": "link"}))
    assert report.counts["records"] == 350
    assert len(api.forms) == 2


@pytest.mark.parametrize(
    ("fault", "paused"),
    [
        (api_server.status(429, Retry_After="7"), 7.0),
        (api_server.status(429), 1.0),
        (api_server.status(503, Retry_After="nonsense"), 1.0),
        (api_server.status(500), 1.0),
        (api_server.cut, 1.0),
        (api_server.hang_up, 1.0),
    ],
    ids=["429-7s", "429", "503", "500", "cut", "hang-up"],
)
@pytest.mark.parametrize("before", [0, 2])
def test_faults_that_pass(landing: Landing, api: Api, fault: Fault, paused: float, before: int) -> None:
    who = oauth(api)
    who.headers()
    api.faults = [api_server.nothing] * before + [fault]
    naps = Naps()
    report = landing.land(source(api, pagination={"type": "link"}, authentication=who, sleep=naps))
    assert (report.counts["records"], report.counts["pages"]) == (350, 4)
    assert naps.seconds == [paused]


def test_the_token_endpoint_is_asked_again_too(landing: Landing, api: Api) -> None:
    api.faults = [api_server.status(503), api_server.hang_up]
    naps = Naps()
    assert landing.land(source(api, sleep=naps)).counts["records"] == 100
    assert naps.seconds == [1.0, 2.0]


def test_retry_after_may_be_a_date(landing: Landing, api: Api) -> None:
    from email.utils import formatdate

    api.faults = [
        api_server.nothing,
        api_server.status(429, Retry_After=formatdate(time.time() + 20, usegmt=True)),
    ]
    naps = Naps()
    landing.land(source(api, sleep=naps))
    assert 15 < naps.seconds[0] <= 20


def redirect(request: api_server.Handler) -> bool:
    request.answer(302, {}, {"Location": f"{request.api.url}/elsewhere"})
    return True


def elsewhere(request: api_server.Handler) -> bool:
    request.answer(200, [{"id": 1}], {"Link": '<https://attacker.example/steal>; rel="next"'})
    return True


def round_and_round(request: api_server.Handler) -> bool:
    request.answer(200, [{"id": len(request.api.seen)}], {"Link": '</secure/by/link>; rel="next"'})
    return True


def same_again(request: api_server.Handler) -> bool:
    request.answer(200, [{"id": 1}], {"Link": f'</secure/by/link?start={len(request.api.seen)}>; rel="next"'})
    return True


def endless(request: api_server.Handler) -> bool:
    number = len(request.api.seen)
    request.answer(200, [{"id": number}], {"Link": f'</secure/by/link?start={number}>; rel="next"'})
    return True


@pytest.mark.parametrize(
    ("faults", "settings", "kind", "says"),
    [
        ([api_server.status(403)], {}, StoreError, "answered 403; the credentials of the connection do not allow it"),
        ([api_server.status(404)], {}, StoreError, "answered 404; there is nothing: check endpoint="),
        ([api_server.status(400)], {}, StoreError, "answered 400; the API does not take the request"),
        ([api_server.status(204)], {}, StoreError, "answered 204; only 200 is an answer"),
        ([api_server.status(401), api_server.nothing, api_server.status(401)], {}, StoreError, "answered 401; the credentials of the connection are not"),
        ([api_server.status(503)] * 7, {}, StoreUnavailable, "answered 503, also when asked again 6 times"),
        ([api_server.cut] * 7, {}, StoreUnavailable, r"broke \(ChunkedEncodingError\), also when asked again 6 times"),
        ([api_server.status(429, Retry_After="3600")], {}, StoreUnavailable, "asks to come again in 3,600 s"),
        ([redirect], {}, StoreError, "answered 302; redirects are not followed"),
        ([elsewhere], {}, StoreError, r"sends on to https://attacker\.example:443, which would get its credentials"),
        ([round_and_round] * 9, {}, FormatError, "page 3 is one that was there before"),
        ([same_again] * 9, {}, FormatError, "page 2 is one that was there before"),
        ([endless] * 9, {"pagination": {"type": "link", "max_pages": 5}}, FormatError, "more than 5 pages"),
        ([api_server.body(b"<html>")], {}, FormatError, "page 1 is not JSON"),
        ([api_server.body(b'[{"a": NaN}]')], {}, FormatError, "page 1 is not JSON"),
        ([api_server.body(b"[" * 100_000)], {}, FormatError, "page 1 is not JSON"),
        ([api_server.body(b'{"items": []}')], {}, FormatError, "has no list of JSON objects which is the page itself"),
        ([api_server.body(b"[1]")], {}, FormatError, "has no list of JSON objects"),
        ([api_server.body(b'{"data": 1}')], {"records": "data.items"}, FormatError, r"has no list of JSON objects at 'data\.items'"),
        ([], {"most_page_bytes": 1_000}, FormatError, "a page of over 1,000 bytes"),
        ([], {"records": None}, ConfigurationError, r"pagination= puts records together"),
    ],
)  # fmt: skip
def test_faults_that_stay(
    landing: Landing,
    api: Api,
    faults: list[Fault],
    settings: dict[str, Any],
    kind: type[SecureProviderError],
    says: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    api.faults = [api_server.nothing, *faults]
    chosen = {"pagination": {"type": "link"}, **settings}
    with pytest.raises(kind, match=says) as raised:
        landing.land(source(api, "/secure/by/link?secret=q-canary", **chosen))
    said = everything_said(raised.value) + caplog.text
    for secret in (
        CANARY,
        CLIENT_SECRET,
        *api.tokens,
        "q-canary" if "q-canary" in str(raised.value) else CANARY,
    ):
        assert secret not in said
    assert landing.objects() == []


def test_a_cut_in_one_answer_as_it_is(landing: Landing, api: Api) -> None:
    """It has begun to be written: the task is what is tried again."""
    api.faults = [api_server.nothing, api_server.cut]
    with pytest.raises(StoreUnavailable, match=r"the connection broke after 0 bytes"):
        landing.land(source(api, "/file.bin", records=None))
    assert landing.objects() == []


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (api_server.status(400), StoreError, "answered 400 and gave no bearer token"),
        (api_server.body(b"{}"), StoreError, "answered 200 and gave no bearer token"),
        (api_server.body(b'{"access_token": "x", "token_type": "mac"}'), StoreError, "gave no bearer token"),
        (api_server.body(b"no json"), StoreError, "gave no bearer token"),
    ],
)
def test_a_token_endpoint_that_gives_none(
    landing: Landing, api: Api, answer: Fault, kind: type[SecureProviderError], says: str
) -> None:
    api.faults = [answer]
    with pytest.raises(kind, match=says) as raised:
        landing.land(source(api))
    assert CLIENT_SECRET not in everything_said(raised.value)


def test_a_wrong_secret(landing: Landing, api: Api) -> None:
    who = ClientCredentials(f"{api.url}/token", CLIENT_ID, "wrong", {}, verify=api.ca)
    with pytest.raises(StoreError, match=r"answered 401 and gave no bearer token; check login \(client id\)"):
        landing.land(source(api, authentication=who))


def test_connections_that_are_not_safe(landing: Landing, api: Api, authority: Authority) -> None:
    with Api(authority, tls=False) as plain:
        access = HttpAccess(plain.url, ApiKey(API_KEY))
        with pytest.raises(ConfigurationError, match="would get the credentials over plaintext http"):
            landing.land(HttpApi(access, "/by/link", records=""))
        with pytest.raises(ConfigurationError, match="would get the client's secret over plaintext http"):
            ClientCredentials(f"{plain.url}/token", "a", "b", {})
        bare = HttpApi(HttpAccess(plain.url), "/by/link", records="")
        with pytest.raises(ContractError, match=r"needs TLS with a verified peer; observed plaintext"):
            landing.land(bare)
        assert plain.seen == []
        assert landing.land(bare, contract=PUBLIC).source.status == "exposed"
    with pytest.raises(ConfigurationError, match=r"would get the credentials unverified"):
        landing.land(HttpApi(HttpAccess(api.url, ApiKey(API_KEY), verify=False), "/by/link", records=""))
    with pytest.raises(StoreError, match=r"its certificate does not verify; name the CA file"):
        landing.land(HttpApi(HttpAccess(api.url, ApiKey(API_KEY)), "/by/link", records=""))
    unverified = HttpApi(HttpAccess(api.url, verify=False), "/by/link", records="")
    with (
        pytest.warns(match="Unverified HTTPS request"),
        pytest.raises(ContractError, match="an unverified peer"),
    ):
        landing.land(unverified)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "pagination type None, expected one of link, url, cursor, page, offset"),
        ({"type": "next"}, "pagination type 'next'"),
        ({"type": "url"}, "needs 'at'; it takes at"),
        ({"type": "link", "at": "x"}, "does not take 'at'; it takes nothing"),
        ({"type": "page", "param": "p", "first": "1"}, "whole numbers from 0"),
        ({"type": "page", "param": ""}, "are texts"),
        ({"type": "link", "max_pages": True}, "whole numbers"),
    ],
)
def test_what_is_no_pagination(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Pagination.of(given)


@pytest.mark.parametrize(
    "url", ["api.example.com", "ftp://x/y", "https://user:pw@host/", "https://host:port/", "https:///x"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of an API") as raised:
        HttpAccess(url).origin  # noqa: B018
    assert "pw" not in str(raised.value)


def test_nothing_lies_in_clear_on_the_disk(
    landing: Landing, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)
    monkeypatch.setattr("tempfile.mkstemp", refused)
    real = io.open

    def only_reading(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        assert not set(mode) & set("wax+"), file
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr("builtins.open", only_reading)
    assert landing.land(source(api, pagination={"type": "link"})).counts["records"] == 350

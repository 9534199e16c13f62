"""The network between the worker and its stores: cut, reset, stalled and slow. Afterwards it is all or nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import boto3
import psycopg
import pytest
from botocore.config import Config
from psycopg.conninfo import make_conninfo

from airflow_secure_provider.errors import StoreError, StoreUnavailable
from airflow_secure_provider.stores import postgres, s3
from tests.fault_proxy import Fault, FaultProxy

from .world import World, as_csv, customers

ROWS = 30_000  # a message of some 5 MB


@pytest.fixture(scope="module")
def message(lake: Any) -> bytes:
    return bytes(lake.encrypt(as_csv(customers(ROWS)), frame_length=65_536).data)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAUSES", (0.01, 0.02, 0.03))


def client(world: World, port: int, read_timeout: float = 30.0) -> Any:
    aws = world.lake.aws
    config = Config(
        s3={"addressing_style": "path"},
        proxies={},
        read_timeout=read_timeout,
        retries={"max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(aws.access_key, aws.secret_key, region_name=aws.region)
    return session.client(
        "s3", endpoint_url=f"https://127.0.0.1:{port}", verify=str(aws.ca_pem), config=config
    )


@pytest.fixture
def before_s3(world: World) -> Iterator[Any]:
    """Makes proxies in front of S3."""
    made: list[FaultProxy] = []

    def proxy(*faults: Fault) -> FaultProxy:
        made.append(FaultProxy("127.0.0.1", int(world.lake.aws.endpoint_url.rpartition(":")[2]), faults))
        return made[-1]

    yield proxy
    for each in made:
        each.__exit__()


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(1_000_000)],
        [Fault(1_000_000, "close")],
        [Fault(200_000), Fault(300_000, "close"), Fault(700_000), Fault(800_000), Fault(900_000)],
        [Fault(3_000_000, "drip")],
        [Fault(1_000_000, "stall")],
    ],
    ids=["reset", "closed", "again and again", "slow", "stalled"],
)
def test_a_read_goes_on_where_it_broke(
    world: World, before_s3: Any, message: bytes, faults: list[Fault], caplog: pytest.LogCaptureFixture
) -> None:
    uri = world.lake.put(message)
    proxy = before_s3(*faults)
    report = world.load(world.source(uri, client=client(world, proxy.port, read_timeout=1.0)))
    assert (report.rows, proxy.struck) == (ROWS, len(faults))
    assert world.query("SELECT count(*), count(DISTINCT id) FROM crm.customers") == [(ROWS, ROWS)]
    resumed = caplog.text.count("the connection to S3 broke after")
    assert resumed == (0 if faults[0].kind == "drip" else len(faults))


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("kind", ["reset", "close", "stall"])
def test_s3_goes_away(world: World, before_s3: Any, message: bytes, kind: str, mode: str) -> None:
    uri = world.lake.put(message)
    world.load_rows(customers(3, first=9_000_001))
    before = world.state()
    proxy = before_s3(Fault(2_000_000, kind))
    proxy.on_fault = proxy.close
    with pytest.raises(StoreUnavailable, match=r"the connection to S3 broke after .* nothing was committed"):
        world.load(world.source(uri, client=client(world, proxy.port, read_timeout=1.0)), mode=mode)
    assert proxy.struck == 1
    assert world.state() == before
    assert world.load(uri, mode=mode).rows == ROWS


def test_it_gives_up_when_nothing_comes_any_more(world: World, before_s3: Any, message: bytes) -> None:
    uri = world.lake.put(message)
    proxy = before_s3(Fault(1_000_000), *[Fault(6_000)] * 50)
    before = world.state()
    with pytest.raises(StoreUnavailable, match=r"the connection to S3 broke after [\d,]+ bytes"):
        world.load(world.source(uri, client=client(world, proxy.port)))
    assert world.state() == before
    assert world.load(uri).rows == ROWS


def test_an_object_that_changes_meanwhile_is_not_mixed(world: World, before_s3: Any, message: bytes) -> None:
    uri = world.lake.put(message)
    proxy = before_s3(Fault(1_000_000))
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    proxy.on_fault = lambda: world.lake.s3.put_object(Bucket=bucket, Key=key, Body=message + b"\0")
    before = world.state()
    with pytest.raises(StoreError, match="the object was overwritten while this task read it"):
        world.load(world.source(uri, client=client(world, proxy.port)))
    assert world.state() == before


def test_a_connection_to_postgres_that_breaks(world: World, message: bytes) -> None:
    """Wherever that is: while it is made, in the COPY, and around the commit."""
    server = world.database.server
    uri = world.lake.put(message)
    (volume,) = world.declared.values()

    def load(proxy: FaultProxy) -> Any:
        conninfo = make_conninfo(world.database.conninfo(), port=proxy.port)
        declared = {f"postgres://127.0.0.1:{proxy.port}": volume}
        options = world.options(declared_at_rest=declared)
        return world.load(uri, target={"connect": lambda: psycopg.connect(conninfo)}, options=options)

    with FaultProxy(server.host, server.port) as proxy:
        assert load(proxy).rows == ROWS
    world.execute(TABLE_AGAIN)
    empty = world.state()
    for part in (0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99):
        kind = "reset" if part in (0.5, 0.9, 0.98) else "close"
        with FaultProxy(server.host, server.port, [Fault(int(proxy.passed * part), kind)]) as broken:
            with pytest.raises(StoreError) as caught:
                load(broken)
            assert broken.struck == 1
        assert isinstance(caught.value, StoreUnavailable), caught.value
        # Either before it or after it, which the worker can't know at the very end.
        state = world.state()
        assert state == empty or len(state["crm.customers"] or []) == ROWS
        if state != empty:
            assert world.load(uri).already_loaded
            world.execute(TABLE_AGAIN)
    assert world.load(uri).rows == ROWS


TABLE_AGAIN = """
TRUNCATE crm.customers, secure_provider.load_manifest RESTART IDENTITY; DELETE FROM secure_provider.column_state
"""


@pytest.mark.parametrize("own", [{}, {"keepalives_idle": 7}])
def test_a_server_that_is_gone_is_noticed(world: World, own: dict[str, int]) -> None:
    """The kernel asks after it; the connection's own setting goes before."""
    connection = postgres.prepare(world.database.connect(**own))
    with connection, socket.socket(fileno=os.dup(connection.fileno())) as there:
        assert there.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert there.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == own.get("keepalives_idle", 60)


def test_a_lost_answer_to_commit(world: World, message: bytes) -> None:
    """The worker can't know; the next run finds the manifest row and loads nothing twice."""
    uri = world.lake.put(message)

    class Losing(psycopg.Connection[Any]):
        """Loses its connection after the server has committed and before it hears of it."""

        def transaction(self, *given: Any, **named: Any) -> Any:
            inner = super().transaction(*given, **named)
            connection = self

            class Transaction:
                def __enter__(self) -> Any:
                    return inner.__enter__()

                def __exit__(self, *problem: Any) -> Any:
                    inner.__exit__(*problem)
                    rows = connection.execute("SELECT count(*) FROM secure_provider.load_manifest").fetchone()
                    if rows and rows[0] and problem[0] is None:
                        raise psycopg.OperationalError("server closed the connection unexpectedly")

            return Transaction()

    with pytest.raises(StoreUnavailable):
        world.load(uri, target={"connect": lambda: Losing.connect(world.database.conninfo())})
    again = world.load(uri)
    assert (again.rows, again.already_loaded) == (0, True)
    assert world.query("SELECT count(*), count(DISTINCT id) FROM crm.customers") == [(ROWS, ROWS)]

"""Faults on the real servers. After each the target is as before or as after, and the next run completes."""

from __future__ import annotations

import random
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from airflow_secure_provider.errors import (
    KeyringError,
    KeyringUnavailable,
    SecureProviderError,
    StoreError,
    StoreUnavailable,
    TransientError,
)
from sandbox.ca import Authority
from sandbox.postgres import Postgres
from tests.kms_gate import KmsGate

from .loader import Settings
from .test_kill import loading
from .world import CANARY, Lake, World, as_csv, copied_rows, customers, wait_until

_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def sum_of(world: World) -> list[tuple[Any, ...]]:
    """Row count and checksum of all that is not made with a fresh nonce."""
    return world.query(
        "SELECT count(*), md5(string_agg(concat_ws('|', id, email, encode(ssn, 'hex'), amount), ',' ORDER BY id)) "
        "FROM crm.customers"
    )


# --- SIGKILL ---------------------------------------------------------------------------------------------


def _seeds(count: int, everyday: int) -> list[Any]:
    return [pytest.param(seed, marks=() if seed < everyday else pytest.mark.long) for seed in range(count)]


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("seed", _seeds(10, 2))
def test_killed_at_any_point(world: World, mode: str, seed: int) -> None:
    rows = 60_000
    world.load_rows(customers(50, first=9_000_001))
    before = sum_of(world)
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(rows)), frame_length=1 << 16).data)
    # Before the first row, while rows travel, or about the commit.
    point = random.Random(seed).uniform(0, 1.15)
    with loading(Settings.of(world, uri, mode, hold_at_batch=0)) as child:
        if point > 0.1:
            wait_until(
                lambda: copied_rows(world.database) > min(point, 0.99) * rows or child.poll() is not None
            )
        if point > 1:
            time.sleep(point - 1)
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    wait_until(lambda: world.query(_OTHERS) == [(0,)])
    left = sum_of(world)
    kept = 0 if mode == "replace" else 50
    assert left == before or left[0][0] == rows + kept
    with loading(Settings.of(world, uri, mode, hold_at_batch=0)) as child:
        assert child.wait(60) == 0
    after = sum_of(world)
    assert after[0][0] == rows + kept
    assert left in (before, after)


# --- the server's disk ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(
    lake: Lake, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[tuple[World, Postgres]]:
    """A server of its own, whose files can be kept from growing."""
    with Postgres(tmp_path_factory.mktemp("small"), authority) as server:
        with server.temporary_database() as database:
            yield World.made(lake, database), server


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_the_servers_disk_is_full(small_disk: tuple[World, Postgres], mode: str) -> None:
    """No file of the server may grow over 20 MB: what extends the table gets the kernel's error, as on a full disk."""
    world, server = small_disk
    world.load_rows(customers(100, first=9_000_001))
    before = sum_of(world)
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(100_000)), frame_length=1 << 20).data)
    pid = int((server._data / "postmaster.pid").read_text().splitlines()[0])
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(
        pid, resource.RLIMIT_FSIZE, (20_000_000, unlimited[1])
    )  # for the sessions that begin now
    try:
        with pytest.raises(StoreError) as raised:
            world.load(uri, mode=mode)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    assert CANARY not in str(raised.value)
    assert "crm.customers: PostgreSQL answered" in str(raised.value)
    assert sum_of(world) == before
    assert world.load(uri, mode=mode).rows == 100_000
    assert sum_of(world)[0][0] == 100_000 + (100 if mode == "append" else 0)


# --- AWS ------------------------------------------------------------------------------------------------


def answering(world: World, service: str, action: str, code: str, times: int = 100) -> Any:
    """A client whose first answers to an action are this error."""
    client = world.lake.aws.client(service)
    left = [code] * times

    def answer(**_: Any) -> Any:
        if not left:
            return None
        return AWSResponse("", 400, {}, None), {"Error": {"Code": left.pop(), "Message": "no"}}

    client.meta.events.register(f"before-call.{service}.{action}", answer)
    return client


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestExpired"])
@pytest.mark.parametrize("action", ["HeadObject", "GetObject"])
def test_a_session_that_has_expired(world: World, code: str, action: str) -> None:
    """The next try takes new credentials from the connection."""
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(50))).data)
    source = replace(world.source(uri), client=answering(world, "s3", action, code))
    before = world.state()
    with pytest.raises(StoreUnavailable, match=rf"{action} answered {code}"):
        world.load(source)
    assert world.state() == before
    assert world.load(uri).rows == 50


def test_a_session_that_has_expired_for_kms(world: World) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(50))).data)
    kms = answering(world, "kms", "Decrypt", "ExpiredTokenException")
    with pytest.raises(KeyringUnavailable, match="ExpiredTokenException"):
        world.load(replace(world.source(uri), kms_client=lambda arn: kms))
    assert world.load(uri).rows == 50


def gated(world: World, gate: KmsGate) -> Any:
    return world.lake.aws.client("kms", endpoint_url=gate.url)


def test_kms_that_has_had_enough_is_asked_again(world: World, authority: Authority) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(50))).data)
    with KmsGate(world.lake.aws, authority, ["ThrottlingException"]) as gate:
        kms = gated(world, gate)
        assert world.load(replace(world.source(uri), kms_client=lambda arn: kms)).rows == 50
        assert gate.asked == 2


def test_kms_that_has_had_enough_for_longer_fails_the_try(world: World, authority: Authority) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(50))).data)
    with KmsGate(world.lake.aws, authority, ["ThrottlingException"] * 50) as gate:
        kms = gated(world, gate)
        with pytest.raises(TransientError, match="ThrottlingException; it may work later"):
            world.load(replace(world.source(uri), kms_client=lambda arn: kms))
    assert world.load(uri).rows == 50


def test_kms_that_does_not_allow_is_asked_once(world: World, authority: Authority) -> None:
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(50))).data)
    before = world.state()
    with KmsGate(world.lake.aws, authority, ["AccessDeniedException"] * 50) as gate:
        kms = gated(world, gate)
        with pytest.raises(KeyringError, match="AccessDeniedException; allow kms:Decrypt") as raised:
            world.load(replace(world.source(uri), kms_client=lambda arn: kms))
        assert not isinstance(raised.value, TransientError)
        assert gate.asked == 1
    assert world.state() == before


# --- the object -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flips", [pytest.param(40, id="40"), pytest.param(1_000, id="1000", marks=pytest.mark.long)]
)
def test_random_flips_in_a_large_object(world: World, flips: int) -> None:
    message = world.lake.encrypt(as_csv(customers(30_000)), frame_length=1 << 14)
    assert len(message.data) > 3_000_000
    world.load_rows(customers(10, first=9_000_001))
    before = world.state()
    chosen = random.Random(flips).sample(range(len(message.data)), flips)
    for position in chosen:
        body = message.flipped(position, 1 << position % 8)
        with pytest.raises(SecureProviderError) as raised:
            world.load(body, mode="replace" if position % 2 else "append")
        assert CANARY not in str(raised.value), position
    assert world.state() == before
    assert world.load(message.data).rows == 30_000


def test_truncated_at_every_frame(world: World) -> None:
    message = world.lake.encrypt(as_csv(customers(1_000)), frame_length=4096)
    whole = message.FRAME_HEAD + message.frame_length + message.TAG
    before = world.state()
    assert message.frames > 20
    for number in range(message.frames + 1):
        with pytest.raises(SecureProviderError, match=r"truncated|malformed"):
            world.load(message.data[: message.header + number * whole])
    assert world.state() == before


def test_the_checksum_sees_a_changed_row(world: World) -> None:
    world.load_rows(customers(10))
    before = sum_of(world)
    world.execute("UPDATE crm.customers SET amount = 0 WHERE id = 1")
    assert sum_of(world) != before

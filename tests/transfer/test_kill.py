"""SIGKILL halfway: nothing was written, and a retry loads each row once."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from sandbox.environment import REPOSITORY

from .loader import Settings
from .world import World, as_csv, copied_rows, customers, wait_until

ROWS = 40_000
BATCHES = ROWS // 1_000


@contextlib.contextmanager
def loading(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.transfer.loader"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as child:
        assert child.stdin is not None
        child.stdin.write(json.dumps(asdict(settings)) + "\n")
        child.stdin.flush()
        try:
            yield child
        finally:
            child.kill()


def said(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_killed_load_leaves_nothing_and_is_repeated(world: World, mode: str) -> None:
    world.load_rows(customers(3, first=9_000_001))
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(ROWS)), frame_length=1 << 16).data)
    before = world.state()

    with loading(Settings.of(world, uri, mode, hold_at_batch=BATCHES // 2)) as child:
        assert said(child) == "halfway"
        wait_until(lambda: copied_rows(world.database) > ROWS // 4)
        assert world.state() == before  # nobody else sees the rows either
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
    wait_until(lambda: world.query(_OTHERS) == [(0,)])  # the server has noticed, and rolled back
    assert world.state() == before

    for expected in (f"loaded {ROWS}", "loaded 0"):
        with loading(Settings.of(world, uri, mode, hold_at_batch=0)) as child:
            assert said(child) == expected
            assert child.wait(30) == 0
    left = 0 if mode == "replace" else 3
    assert world.query(_COUNTS) == [(ROWS + left, ROWS + left, ROWS)]


def test_a_kill_between_two_loaders_of_one_object(world: World) -> None:
    """The second one waits for the first, sees it die, and loads every row."""
    uri = world.lake.put(world.lake.encrypt(as_csv(customers(ROWS)), frame_length=1 << 16).data)
    with loading(Settings.of(world, uri, "append", hold_at_batch=BATCHES // 2)) as first:
        assert said(first) == "halfway"
        with loading(Settings.of(world, uri, "append", hold_at_batch=0)) as second:
            wait_until(lambda: world.query(_WAITING) == [(1,)])
            first.kill()
            assert said(second) == f"loaded {ROWS}"
            assert second.wait(30) == 0
    assert world.query(_COUNTS) == [(ROWS, ROWS, ROWS)]


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_WAITING = f"{_OTHERS} AND wait_event_type = 'Lock'"
_COUNTS = f"SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id <= {ROWS}) FROM crm.customers"

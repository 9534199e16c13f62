"""``make demo KEEP=1`` for real: what it prints leads there, and SIGTERM takes all of it away."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest

from sandbox.environment import REPOSITORY
from sandbox.guard import descendants
from tests.waiting import eventually

pytestmark = [pytest.mark.airflow, pytest.mark.long]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(tmp_path / "told", "wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.demo"],
            cwd=REPOSITORY,
            env={**os.environ, "KEEP": "1"},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def test_it_stays_up_until_it_is_stopped(demo: subprocess.Popen[bytes], tmp_path: Path) -> None:
    def told() -> str:
        return (tmp_path / "told").read_text()

    assert eventually(lambda: "Still up" in told() or demo.poll() is not None, 150), told()
    assert demo.poll() is None, told()
    access = Path(one(r"Passwords +(/\S+)", told()))
    assert stat.S_IMODE(access.stat().st_mode) == 0o600
    given = dict(line.removeprefix("export ").split("=", 1) for line in access.read_text().splitlines())
    given = {name: shlex.split(value)[0] for name, value in given.items()}
    for name in ("PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN"):
        assert len(given[name]) > 20
        assert given[name] not in told()

    url = one(r"Airflow +(http://127\.0\.0\.1:\d+)", told())
    token = fetched(f"{url}/auth/token")["access_token"]
    runs = fetched(f"{url}/api/v2/dags/secure_customers/dagRuns", token)["dag_runs"]
    assert [run["state"] for run in runs] == ["success"]
    conninfo = one(r"PostgreSQL +(.+)", told())
    with psycopg.connect(conninfo, password=given["PGPASSWORD"]) as connection:
        assert connection.execute("SELECT count(*) FROM crm.customers").fetchone() == (200_000,)
    s3 = boto3.client(
        "s3",
        endpoint_url=one(r"S3 and KMS +(https://\S+)", told()),
        verify=one(r"Their CA +(/\S+)", told()),
        region_name=given["AWS_DEFAULT_REGION"],
        aws_access_key_id=given["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=given["AWS_SECRET_ACCESS_KEY"],
    )
    assert s3.list_objects_v2(Bucket="customer-lake")["KeyCount"] == 2
    events = Path(one(r"Lineage +(/\S+)", told()))
    assert '"COMPLETE"' in events.read_text()

    started = [pid for generation in descendants(demo.pid) for pid in generation]
    assert len(started) > 6
    number = int(one(r"Ctrl-C, or kill (\d+)", told()))
    assert number == demo.pid
    os.kill(number, signal.SIGTERM)

    assert demo.wait(60) == 0, told()
    assert "everything is stopped and removed" in told()
    assert not access.parent.exists()
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def one(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    assert len(found) == 1, (pattern, text)
    return str(found[0])


def fetched(url: str, token: str | None = None) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.loads(answer.read())

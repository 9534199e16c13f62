"""The tutorial, and the walks that go on from it, as a reader goes them: block by block, out of the docs."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import yaml

from sandbox.environment import REPOSITORY, Process

pytestmark = [pytest.mark.airflow, pytest.mark.slow]

TUTORIAL = (REPOSITORY / "docs/tutorial/first-load.md").read_text()
SCAN = (REPOSITORY / "docs/howto/scan.md").read_text()
WALK = SCAN.partition("\n## A walk\n")[2].partition("\n## ")[0]
LINEAGE = (REPOSITORY / "docs/howto/lineage.md").read_text()
GRAPH = LINEAGE.partition("\n## Ten minutes, without a server\n")[2].partition("\n## ")[0]
_BLOCK = re.compile(r"(?P<before>.*?)^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./]+\.(?:py|yaml))`")


@dataclass(frozen=True)
class Block:
    """:ivar file: what the words before it call the file that it is saved as."""

    language: str
    text: str
    file: str | None


def blocks(page: str, language: str) -> list[Block]:
    found = []
    for each in _BLOCK.finditer(page):
        files = _FILE.findall(each["before"])
        found.append(Block(each["language"], each["text"], files[-1] if files else None))
    return [block for block in found if block.language == language]


@dataclass(frozen=True)
class Reader:
    """Whoever types what the page says, into one shell."""

    folder: Path
    environment: dict[str, str]

    def save(self, page: str, language: str) -> None:
        for block in blocks(page, language):
            assert block.file is not None, f"how is this file called? {block.text[:80]}"
            path = self.folder / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text)

    def type(self, commands: Sequence[Block], status: int = 0) -> str:
        """:return: what they say, on both streams."""
        known = self.folder / "shell.env"
        text = "".join(block.text for block in commands)
        script = (
            f"set -euo pipefail\n. {shlex.quote(str(known))}\n{text}\nexport -p > {shlex.quote(str(known))}\n"
        )
        known.touch(mode=0o600)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == status, done.stdout[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """In a folder of its own, with the servers of the tutorial's second terminal."""
    folder = tmp_path_factory.mktemp("first-load")
    kept = {name: os.environ[name] for name in ("TMPDIR", "PGBIN", "LANG") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    reader = Reader(folder, {**kept, "PATH": path, "HOME": str(folder)})
    reader.save(TUTORIAL, "python")
    reader.save(TUTORIAL, "yaml")
    log = folder / "servers.log"
    servers = Process(
        "servers",
        [sys.executable, "servers.py"],
        log=log,
        environment=reader.environment,
        directory=folder,
        grace_seconds=15,
    ).start()
    try:
        servers.wait_until_ready(lambda: log.exists() and "ready" in log.read_text(), 60)
        yield reader
    finally:
        servers.stop()


@pytest.fixture(scope="module")
def told(reader: Reader) -> str:
    """What the tutorial's commands say."""
    install, folder, *rest = blocks(TUTORIAL, "sh")
    assert install.text == "make install\n"
    assert "activate" in folder.text
    return reader.type(rest)


def said(page: str, beginning: str) -> str:
    """The block of output that begins so."""
    (found,) = [block.text for block in blocks(page, "") if block.text.startswith(beginning)]
    return found


def test_the_tutorial(told: str) -> None:
    assert "committed: 3 rows" in told
    assert said(TUTORIAL, '"id","email"') in told
    assert said(TUTORIAL, "COMPLETE") in told
    assert said(TUTORIAL, "keyset ").splitlines()[0] in told


@pytest.mark.usefixtures("told")
def test_from_an_unknown_csv_to_a_protected_load(reader: Reader) -> None:
    reader.save(WALK, "python")
    the_file, a_scan, *the_rest = blocks(WALK, "sh")

    reader.type([the_file])
    findings = reader.type([a_scan], status=3)  # columns are left to the reader
    assert findings == said(WALK, "nothing member_no")

    contract = reader.folder / "dags/members.odcs.yaml"
    _look(contract, WALK)
    told = reader.type(the_rest)
    assert "committed: 4 rows" in told
    assert said(WALK, '"member_no","mail"') in told

    with (reader.folder / "members.csv").open(newline="") as file:
        members = list(csv.DictReader(file))
    secret = {
        value for row in members for name, value in row.items() if name not in ("member_no", "fee") and value
    }
    assert len(secret) == 23  # of one there are no remarks
    with psycopg.connect(_dsn(reader)) as connection:
        stored = connection.execute("SELECT m.*, m::text FROM crm.members m ORDER BY member_no").fetchall()
        types = dict(
            connection.execute(
                "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
                "WHERE attrelid = 'crm.members'::regclass AND attnum > 0"
            ).fetchall()
        )
    assert [(str(row[0]), str(row[7])) for row in stored] == [
        (row["member_no"], row["fee"]) for row in members
    ]
    assert {name for name, kind in types.items() if kind == "bytea"} == set(members[0]) - {"member_no", "fee"}
    assert [row[6] is None for row in stored] == [False, True, False, False]
    text = "".join(row[8] for row in stored)
    for value in secret:
        assert value not in text
        assert value.encode().hex() not in text
    for path in [*(reader.folder / "airflow").rglob("*"), reader.folder / "events.jsonl"]:
        if path.is_file():
            content = path.read_bytes()
            assert not [value for value in secret if value.encode() in content], path.name


def test_without_the_look_there_is_no_load(reader: Reader, told: str) -> None:
    assert told
    reader.type(
        [Block("sh", "airflow-secure scan people.csv -o dags/unseen.odcs.yaml || test $? = 3\n", None)]
    )
    dag = reader.folder / "dags/first_load.py"
    text = dag.read_text()
    (reader.folder / "dags/unseen.py").write_text(
        text.replace("people.odcs", "unseen.odcs").replace('"first_load"', '"unseen"')
    )
    said = reader.type([Block("sh", "! airflow dags test unseen 2>&1\n", None)])
    assert "have no classification" in said


@pytest.mark.usefixtures("told")
def test_from_airflow_cfg_to_the_graph(reader: Reader) -> None:
    reader.save(GRAPH, "python")
    *steps, in_airflow = blocks(GRAPH, "sh")
    assert "airflow standalone" in in_airflow.text  # the page has tests of its own
    told = reader.type(steps)
    assert re.search(r"^ok +lineage +OpenLineage, file$", told, re.MULTILINE)
    shown = said(GRAPH, "2026-").splitlines()
    assert _without_places("\n".join(shown)) in _without_places(told)
    assert '<br/>exposed"]:::exposed' in told
    assert "eve@example.com" not in (reader.folder / "lineage.jsonl").read_text()
    assert "crm.people" in (reader.folder / "lineage.jsonl").read_text()  # and ours


def _without_places(text: str) -> str:
    """Without times and ports."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|127\.0\.0\.1:\d+", "…", text)


def _look(contract: Path, page: str) -> None:
    """Put the columns that the page shows in the place of those that the scan has made."""
    (shown,) = blocks(page, "yaml")
    looked = {each["name"]: each for each in yaml.safe_load(shown.text)}
    body = yaml.safe_load(contract.read_text())
    (schema,) = body["schema"]
    left = {each["name"] for each in schema["properties"] if "classification" not in each}
    assert left == set(looked)
    schema["properties"] = [looked.get(each["name"], each) for each in schema["properties"]]
    contract.write_text(yaml.safe_dump(body, sort_keys=False))


def _dsn(reader: Reader) -> str:
    return reader.type([Block("sh", 'printf "%s" "$DSN"\n', None)])

"""Lineage in airflow.cfg."""

from __future__ import annotations

import configparser
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.lineage.transport import SecureTransport, transport_of


def setup(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["lineage", "setup", *map(str, arguments)])


def section(text: str) -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return dict(parser["openlineage"])


@pytest.mark.parametrize(
    ("arguments", "inner"),
    [
        (["--http", "https://marquez:5000"], {"type": "http", "url": "https://marquez:5000"}),
        (["--marquez", "https://marquez:5000"], {"type": "http", "url": "https://marquez:5000"}),
        (["--file", "/x/events.jsonl"], {"type": "file", "log_file_path": "/x/events.jsonl", "append": True}),
        (
            ["--kafka", "k1:9092,k2:9092", "--topic", "lineage"],
            {"type": "kafka", "topic": "lineage", "config": {"bootstrap.servers": "k1:9092,k2:9092"}},
        ),
    ],
)
def test_what_is_printed_works(tmp_path: Path, arguments: list[str], inner: dict[str, Any]) -> None:
    outcome = setup(*arguments, "--spool", tmp_path / "100%")
    assert outcome.exit_code == 0, outcome.output
    told = section(outcome.stdout)
    configured = json.loads(told["transport"])
    assert configured["transport"] == inner
    assert configured["spool"] == str(tmp_path / "100%")
    assert configured.get("server") == ("marquez" if "--marquez" in arguments else None)
    if inner["type"] != "kafka":  # whose client is an extra of OpenLineage's
        assert isinstance(transport_of(configured), SecureTransport)
    from airflow.sdk._shared.module_loading import import_string

    for name in told["extractors"].split(";"):
        assert import_string(name).get_operator_classnames()


CFG = """# mine
[core]
parallelism = 4

[openlineage]
# namespace = none
namespace = prod
transport = {"type": "http",
    "url": "http://old"}
# transport = commented
disabled = False

[secrets]
backend = x
"""


def test_it_is_set_in_place(tmp_path: Path) -> None:
    cfg = tmp_path / "airflow.cfg"
    cfg.write_text(CFG)
    cfg.chmod(0o640)
    for _ in range(2):  # the second time changes nothing
        outcome = setup("--http", "https://m", "--spool", "/var/spool", "--write", cfg)
        assert outcome.exit_code == 0, outcome.output
    text = cfg.read_text()
    assert oct(cfg.stat().st_mode & 0o777) == "0o640"
    told = section(text)
    assert json.loads(told["transport"])["transport"]["url"] == "https://m"
    assert (told["namespace"], told["disabled"]) == ("prod", "False")
    for kept in (
        "# mine",
        "# namespace = none",
        "# transport = commented",
        "[secrets]\nbackend = x",
        "parallelism = 4",
    ):
        assert kept in text
    assert "old" not in text
    assert text.count("\ntransport = ") == 1


@pytest.mark.parametrize("before", ["", "[core]\nx = 1\n"])
def test_a_new_section(tmp_path: Path, before: str) -> None:
    cfg = tmp_path / "airflow.cfg"
    cfg.write_text(before)
    assert setup("--file", "/x", "--spool", "/var/spool", "--write", cfg).exit_code == 0
    assert "transport" in section(cfg.read_text())
    assert cfg.read_text().startswith(before)


def test_a_variable_that_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", "{}")
    cfg = tmp_path / "airflow.cfg"
    cfg.touch()
    outcome = setup("--file", "/x", "--spool", "/var/spool", "--write", cfg)
    assert outcome.stderr == "AIRFLOW__OPENLINEAGE__TRANSPORT is set and goes before the file: unset it\n"


def test_no_file_is_made(tmp_path: Path) -> None:
    """With one that has this section only Airflow would write none, and each process would make up its own jwt_secret."""
    outcome = setup("--file", "/x", "--spool", "/var/spool", "--write", tmp_path / "airflow.cfg")
    assert outcome.exit_code == 1
    assert "airflow db migrate" in outcome.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--spool", "/x"],
        ["--http", "https://a", "--file", "/b", "--spool", "/x"],
        ["--http", "https://a", "--marquez", "https://a", "--spool", "/x"],
        ["--kafka", "a:1", "--spool", "/x"],
        ["--http", "https://a"],
        ["--marquez", "127.0.0.1:5000", "--spool", "/x"],
        ["--http", "https://", "--spool", "/x"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert setup(*arguments).exit_code == 2


def test_what_is_refused_or_warned_of() -> None:
    assert "absolute path" in setup("--file", "/x", "--spool", "relative").output
    assert "plaintext http" in setup("--http", "http://m", "--spool", "/x").stderr

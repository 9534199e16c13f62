"""What holds for every rule: suppressions, files that can't be read, what is never shown, what code hosts read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.contract.registry import Registry
from airflow_secure_provider.errors import ConfigurationError
from airflow_secure_provider.inspection.dags.checking import Report, check_paths
from airflow_secure_provider.inspection.dags.datasets import tables_of
from airflow_secure_provider.inspection.dags.rules import RULES

SEEDED = Path(__file__).parent / "seeded"
CANARY = "k4naRy-7Qx2"


@pytest.fixture
def dag(tmp_path: Path) -> Any:
    def check(text: str, registry: Registry | None = None) -> Report:
        (tmp_path / "dag.py").write_text(text)
        return check_paths([tmp_path], registry)

    return check


def rules(report: Report) -> list[str]:
    return [each.rule for each in report.alarms]


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments)], env=environment)


@pytest.mark.parametrize(
    "text",
    [
        'PASSWORD = "Winter-2026"  # secure: ignore SP104 (of the sandbox only)\n',
        '# secure: ignore SP104 (of the sandbox only)\nPASSWORD = "Winter-2026"\n',
        'connect(\n    a=1,\n    password="Winter-2026",  # secure: ignore SP104, SP105 (of the sandbox only)\n)\n',
        '# secure: ignore-file SP104 (a sandbox)\nx = 1\n\nPASSWORD = "Winter-2026"\n',
    ],
)
def test_a_suppression_with_a_reason_answers(dag: Any, text: str) -> None:
    report = dag(text)
    assert rules(report) == []
    ((alarm, reason),) = report.suppressed
    assert alarm.rule == "SP104"
    assert "sandbox" in reason
    assert not report.failed


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("# secure: ignore SP104", ["SP104", "SP190"]),
        ("# secure: ignore SP104 ( )", ["SP104", "SP190"]),
        ("# secure: ignore (I know)", ["SP104", "SP190"]),
        ("# secure: ignore SP999 (I know)", ["SP104", "SP190"]),
        ("# secure: ignore SP108 (another rule)", ["SP104"]),
        ("# secure: ignore SP190 (no)", ["SP104"]),
    ],
)
def test_a_suppression_that_says_too_little_counts_for_nothing(
    dag: Any, comment: str, expected: list[str]
) -> None:
    assert sorted(rules(dag(f'PASSWORD = "Winter-2026"  {comment}\n'))) == expected


def test_a_suppression_in_a_text_is_none(dag: Any) -> None:
    assert rules(dag('X = "# secure: ignore-file SP104 (no)"\nPASSWORD = "Winter-2026"\n')) == ["SP104"]


@pytest.mark.parametrize(
    "content", [b"def broken(:\n", b"# coding: unknown\n", b"x = '\xff'\n", b"\0", b"(" * 500]
)
def test_a_file_that_cant_be_parsed_is_told_of(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.py").write_bytes(content)
    (tmp_path / "good.py").write_text("x = 1\n")
    done = run(tmp_path, "--rule", "SP104")
    assert done.exit_code == 2
    assert "bad.py" in done.output
    assert "SP100" in done.output
    assert "2 files checked" in done.output


def test_an_odd_escape_is_no_matter(dag: Any) -> None:
    assert rules(dag('X = "\\d"\n')) == []


def test_archives_are_read_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "dags.zip", "w") as archive:
        archive.writestr("inner/dag.py", 'PASSWORD = "Winter-2026"\n')
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    report = check_paths([tmp_path], None)
    assert [(Path(each.path).name, each.rule) for each in report.alarms] == [
        ("broken.zip", "SP100"),
        ("dag.py", "SP104"),
    ]
    assert "dags.zip/inner/dag.py" in report.alarms[1].path


def test_nothing_to_check_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no Python file"):
        check_paths([tmp_path], None)
    assert run(tmp_path).exit_code == 1
    assert run(tmp_path / "nowhere").exit_code == 1
    assert run(SEEDED, "--rule", "SP1").exit_code == 1


@pytest.mark.parametrize("form", ["text", "json", "sarif"])
def test_no_secret_is_ever_shown(tmp_path: Path, form: str) -> None:
    (tmp_path / "dag.py").write_text(
        f'''
import psycopg, requests
PASSWORD = "{CANARY}"
A = {{"k4naRy7Qx2": {{"token": "{CANARY}{CANARY}"}}, "k4naRy7Qx2_token": "{CANARY}{CANARY}", "password": "{CANARY}", "{CANARY}": {{"token": "{CANARY}{CANARY}"}}}}
psycopg.connect(f"postgresql://etl:{CANARY}@db.example.com/crm?sslmode=require", password=PASSWORD)
requests.get("http://etl:{CANARY}@api.example.com/?token={CANARY}", verify=False)
Bash(task_id="b", bash_command="PGPASSWORD={CANARY} psql; curl -k -u etl:{CANARY} http://x.example.com/{CANARY}")
connection.set_password("{CANARY}")
'''
    )
    (tmp_path / "broken.py").write_text(f'password = "{CANARY}')
    done = run(tmp_path, "--format", form)
    for rule in ("SP100", "SP104", "SP105", "SP106", "SP107", "SP108"):
        assert rule in done.output
    assert done.exit_code == 2
    assert CANARY not in done.output
    assert "k4naRy7Qx2" not in done.output


def test_status_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SEEDED)
    done = run("s14_sslmode.py", "--contracts", "contracts")
    assert done.exit_code == 1
    assert done.output.startswith("s14_sslmode.py:10: error SP106 sslmode=require")
    assert "verify-full and sslrootcert" in done.output
    assert run("s14_sslmode.py", "--ignore", "SP106").exit_code == 0
    assert run("s14_sslmode.py", "--rule", "SP104").exit_code == 0
    assert run("s24_landed.py").exit_code == 0  # a note
    told = json.loads(run("s14_sslmode.py", "--json").output)
    assert told["ok"] is False
    assert [(each["rule"], each["place"]["line"]) for each in told["alarms"]] == [("SP106", 10)]


def test_options_of_the_other_check_are_refused() -> None:
    assert "needs a PATH" in run("--rule", "SP104").output
    assert "goes without a PATH" in run(SEEDED, "--bucket", "lake").output


def test_contracts_come_from_airflows_configuration(tmp_path: Path) -> None:
    file = SEEDED / "s05_confidential.py"
    home = tmp_path / "airflow"
    home.mkdir()
    assert "SP102" not in run(file, AIRFLOW_HOME=str(home)).output
    assert "note SP103" in run(file, AIRFLOW_HOME=str(home)).output
    (home / "airflow.cfg").write_text(f"[secure_provider]\ncontracts = {SEEDED / 'contracts'}\nx = 50%\n")
    assert "SP102" in run(file, AIRFLOW_HOME=str(home)).output
    empty = tmp_path / "none"
    empty.mkdir()
    done = run(file, AIRFLOW_HOME=str(home), AIRFLOW__SECURE_PROVIDER__CONTRACTS=str(empty))
    assert "warning SP103" in done.output
    assert done.exit_code == 1


def test_it_needs_no_airflow() -> None:
    code = (
        "import sys; sys.modules['airflow'] = None; from airflow_secure_provider.cli import main; "
        f"main(['check', {str(SEEDED / 's05_confidential.py')!r}, '--contracts', {str(SEEDED / 'contracts')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert b"SP102" in done.stdout, done.stderr
    assert done.returncode == 1


def test_sarif(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(SEEDED.parent)
    (tmp_path / "answered.py").write_text('PASSWORD = "Winter-2026"  # secure: ignore SP104 (sandbox)\n')
    told = json.loads(
        run(
            "./seeded", tmp_path / "answered.py", "--contracts", "seeded/contracts", "--format", "sarif"
        ).output
    )
    if schema := os.environ.get("SARIF_SCHEMA"):  # OASIS's, for who has it
        jsonschema.validate(told, json.loads(Path(schema).read_text()))
    (ran,) = told["runs"]
    assert told["version"] == "2.1.0"
    known = ran["tool"]["driver"]["rules"]
    assert [each["id"] for each in known] == list(RULES)
    seen = set()
    for result in ran["results"]:
        assert known[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["endLine"] >= place["region"]["startLine"] >= 1
        seen.add((place["artifactLocation"]["uri"], place["region"]["startLine"], result["ruleId"]))
    assert ("seeded/s14_sslmode.py", 10, "SP106") in seen
    (answered,) = [each for each in ran["results"] if "suppressions" in each]
    assert answered["suppressions"] == [{"kind": "inSource", "justification": "sandbox"}]
    assert ran["invocations"] == [{"executionSuccessful": True}]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("INSERT INTO crm.people (id, email) SELECT * FROM staging", {"crm.people", "staging"}),
        ('COPY "crm"."people" (id) FROM STDIN', {"crm.people"}),
        ("SELECT * FROM {{ params.table }} WHERE d = '{{ ds }}'", set()),
        ("{% if x %}SELECT * FROM crm.people{% endif %}", {"crm.people"}),
        ("SELECT 1 -- FROM crm.people", set()),
        ("MERGE into CRM.People p USING x ON (p.id = x.id)", {"crm.people"}),
        ("WITH a AS (SELECT * FROM crm.people) SELECT * FROM a", {"crm.people"}),
        ("SELECT extract(epoch FROM p.seen) FROM crm.people p WHERE a IS DISTINCT FROM b", {"crm.people"}),
        ("SELECT * FROM ((crm.people))", {"crm.people"}),
        ("not sql at all ( FROM crm.people", {"crm.people"}),
    ],
)
def test_tables_of_sql(sql: str, expected: set[str]) -> None:
    assert tables_of(sql) - {"x", "a"} == expected


def test_a_template_file_beside_the_dag_is_read(tmp_path: Path) -> None:
    registry = Registry.read(SEEDED / "contracts")
    (tmp_path / "export.sql").write_text("SELECT * FROM crm.people")
    (tmp_path / "dag.py").write_text(
        "from airflow.providers.amazon.aws.transfers.sql_to_s3 import SqlToS3Operator\n"
        "SqlToS3Operator(task_id='x', query='export.sql', s3_bucket='open-data', s3_key='x.csv')\n"
    )
    assert rules(check_paths([tmp_path], registry)) == ["SP101"]

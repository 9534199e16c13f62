"""The cluster policy in a real Airflow: what it parses is refused, warned of, or let pass."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .test_dags import FILES, SEEDED, expected

pytestmark = pytest.mark.airflow

CANARY = "k4naRy-7Qx2"
PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
print("PARSED", json.dumps({"errors": bag.import_errors, "dags": sorted(bag.dags)}))
"""
DYNAMIC = """
import json
from pathlib import Path

from airflow.providers.amazon.aws.transfers.s3_to_sql import S3ToSqlOperator
from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param, TaskGroup, task

SETTINGS = json.loads((Path(__file__).parent / "settings.json").read_text())

with DAG("of_a_file", schedule=None):
    with TaskGroup("group"):
        GenericTransfer(
            task_id="copy",
            sql="SELECT code FROM ref.countries",
            destination_table=SETTINGS["table"],
            source_conn_id="a",
            destination_conn_id="b",
        )

with DAG("of_a_loop", schedule=None):
    for table in SETTINGS["tables"]:
        GenericTransfer(
            task_id=f"copy_{table}",
            sql=f"SELECT * FROM crm.{table}",
            destination_table="ref.countries",
            source_conn_id="a",
            destination_conn_id="b",
        )

with DAG("mapped", schedule=None):
    S3ToSqlOperator.partial(task_id="load", s3_bucket="customer-lake", table="ref.countries", parser=print).expand(
        s3_key=SETTINGS["keys"]
    )

with DAG("secret", schedule=None, params={"given": Param({"api_token": SETTINGS["token"]})}):
    BashOperator(task_id="run", bash_command="true", env={"CRM_PASSWORD": SETTINGS["password"]})

with DAG("answered", schedule=None):
    GenericTransfer(  # secure: ignore SP101 (approved for the migration)
        task_id="migrate",
        sql=SETTINGS["sql"],
        destination_table="ref.countries",
        source_conn_id="a",
        destination_conn_id="b",
    )

with DAG("mapped_function", schedule=None):
    @task
    def work(url, other):
        return url

    work.partial(other="https://b.example.com").expand(url=[SETTINGS["url"]])

with DAG("fine", schedule=None):
    GenericTransfer(
        task_id="copy_countries",
        sql="SELECT code FROM ref.countries",
        destination_table="ref.countries",
        source_conn_id="a",
        destination_conn_id="b",
    )
"""
SETTINGS = {
    "table": "crm.people",
    "tables": ["people", "invoices"],
    "keys": ["people/a.csv"],
    "token": f"{CANARY}{CANARY}",
    "password": CANARY,
    "sql": "SELECT * FROM crm.people",
    "url": "http://api.internal.example.com/x",
}


def parse(folder: Path, home: Path, policy: str, **more: str) -> tuple[dict[str, Any], str]:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__SECURE_PROVIDER__DAG_POLICY": policy,
        "AIRFLOW__SECURE_PROVIDER__CONTRACTS": str(SEEDED / "contracts"),
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("PARSED ")]
    return json.loads(told.removeprefix("PARSED ")), done.stdout + done.stderr


def test_what_is_seeded_is_refused_in_its_lines(tmp_path: Path) -> None:
    told, _ = parse(SEEDED, tmp_path, "refuse")
    found = {
        Path(file).name: re.findall(r"^(?:.*/)?(\w+\.py):(\d+): (?:error|warning) (SP\d+)", text, flags=re.M)
        for file, text in told["errors"].items()
    }
    for file in FILES:
        lines = {(file.name, str(line), rule) for line, rule in expected(file) if rule != "SP114"}  # a note
        assert set(found.get(file.name, [])) == lines, told["errors"].get(str(file))
    assert told["dags"] == ["s24"]


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps(SETTINGS))
    return folder


def write_each(folder: Path) -> None:
    """A DAG a file: the import error of a file is that of its first DAG."""
    head, *dags = DYNAMIC.split("\nwith DAG(")
    for each in dags:
        name = each.split('"')[1]
        (folder / f"{name}.py").write_text(f"{head}\nwith DAG({each}")


def test_values_that_only_a_parsed_dag_has(dynamic: Path, tmp_path: Path) -> None:
    write_each(dynamic)
    told, shown = parse(dynamic, tmp_path / "home", "refuse")
    errors = {Path(file).stem: text for file, text in told["errors"].items()}
    assert told["dags"] == ["answered", "fine"], errors
    assert "SP101 task 'group.copy': GenericTransfer moves crm.people" in errors["of_a_file"]
    assert re.search(r"of_a_file\.py:\d+: error SP101", errors["of_a_file"])
    assert "SP101 task 'copy_people'" in errors["of_a_loop"]
    assert "SP102 task 'copy_invoices'" in errors["of_a_loop"]
    assert "SP101 task 'load'" in errors["mapped"]
    assert "people/a.csv" in errors["mapped"]
    assert "SP104 task 'run'" in errors["secret"]
    assert "SP104 the DAG's params" in errors["secret"]
    assert "SP108 task 'work'" in errors["mapped_function"]
    assert CANARY not in shown


def test_warn_lets_pass_and_says_so(dynamic: Path, tmp_path: Path) -> None:
    write_each(dynamic)
    told, shown = parse(dynamic, tmp_path / "home", "warn")
    assert told["errors"] == {}
    assert len(told["dags"]) == 7
    assert "SP101 task 'group.copy'" in shown
    assert CANARY not in shown


def test_off_looks_at_nothing(dynamic: Path, tmp_path: Path) -> None:
    write_each(dynamic)
    told, shown = parse(dynamic, tmp_path / "home", "off")
    assert told["errors"] == {}
    assert "SP1" not in shown


def test_what_is_set_wrong_is_no_pass(dynamic: Path, tmp_path: Path) -> None:
    (dynamic / "one.py").write_text(
        "from airflow.sdk import DAG\nwith DAG('one', schedule=None):\n    pass\n"
    )
    home = tmp_path / "home"
    told, _ = parse(dynamic, home, "strict")
    assert "must be one of off, warn, refuse" in "".join(told["errors"].values())
    told, _ = parse(dynamic, home, "refuse", AIRFLOW__SECURE_PROVIDER__CONTRACTS="/nowhere")
    assert "is no folder that can be read" in "".join(told["errors"].values())
    told, _ = parse(dynamic, home, "refuse", AIRFLOW__SECURE_PROVIDER__DAG_POLICY_IGNORE="SP1")
    assert "which is no rule" in "".join(told["errors"].values())


def test_a_contract_that_can_t_be_read_refuses_all(dynamic: Path, tmp_path: Path) -> None:
    """What it describes may be restricted, and the operators refuse as well."""
    write_each(dynamic)
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "people.odcs.yaml").write_text("kind: DataContract\nschema: [")
    told, _ = parse(dynamic, tmp_path / "home", "refuse", AIRFLOW__SECURE_PROVIDER__CONTRACTS=str(contracts))
    assert told["dags"] == []
    assert len(told["errors"]) == 7
    assert all("people.odcs.yaml' can't be read, so nobody knows" in text for text in told["errors"].values())


OF_ITS_OWN = """
from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
from airflow.sdk import DAG

def derived(name):
    return type(name, (GenericTransfer,), {})

with DAG("of_its_own", schedule=None):
    derived("Mine")(
        task_id="copy", sql="SELECT * FROM crm.people", destination_table="a.b", source_conn_id="a", destination_conn_id="b"
    )
"""


def test_a_class_of_one_s_own_goes_by_what_it_is_of(dynamic: Path, tmp_path: Path) -> None:
    (dynamic / "own.py").write_text(OF_ITS_OWN)
    told, _ = parse(dynamic, tmp_path / "home", "refuse")
    assert "SP101 task 'copy': GenericTransfer moves crm.people" in "".join(told["errors"].values())


def test_ignored_rules_refuse_nothing(dynamic: Path, tmp_path: Path) -> None:
    write_each(dynamic)
    told, _ = parse(
        dynamic, tmp_path / "home", "refuse", AIRFLOW__SECURE_PROVIDER__DAG_POLICY_IGNORE="SP101, SP104,SP108"
    )
    assert [Path(each).stem for each in told["errors"]] == ["of_a_loop"]
    assert "SP102" in "".join(told["errors"].values())

"""What Airflow sees of the package."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_secure_provider
from airflow_secure_provider.provider_info import get_provider_info

ROOT = Path(__file__).parent.parent


def airflow(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *arguments], capture_output=True, check=True, timeout=120
    )
    return done.stdout.decode()


def test_the_version_is_the_distributions() -> None:
    assert importlib.metadata.version("airflow-secure-provider") == airflow_secure_provider.__version__


def test_the_provider_names_its_distribution() -> None:
    assert get_provider_info()["package-name"] == "airflow-secure-provider"


def test_defaults_survive_airflows_formatting() -> None:
    for section in get_provider_info()["config"].values():
        for name, option in section["options"].items():
            assert option["default"].format() == option["default"], name


@pytest.mark.parametrize(
    "name",
    [each for key in ("secrets-backends", "cli") for each in get_provider_info()[key]]
    + [each["plugin-class"] for each in get_provider_info()["plugins"]],
)
def test_what_it_names_is_there(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(importlib.import_module(module), attribute)


def test_both_entry_points_are_there() -> None:
    groups = {
        entry.group: entry.value
        for entry in importlib.metadata.distribution("airflow-secure-provider").entry_points
        if entry.group != "console_scripts"
    }
    assert set(groups) == {"apache_airflow_provider", "airflow.plugins"}


@pytest.mark.airflow
def test_airflow_lists_the_provider() -> None:
    listed = json.loads(airflow("providers", "list", "-o", "json"))
    assert [each["version"] for each in listed if each["package_name"] == "airflow-secure-provider"] == [
        "0.1.0"
    ]


@pytest.mark.airflow
def test_airflow_shows_the_plugin_and_its_listener() -> None:
    plugins = json.loads(airflow("plugins", "-o", "json"))
    (ours,) = [each for each in plugins if each["name"] == "secure_provider"]
    assert "airflow_secure_provider.lineage.listener" in json.dumps(ours)


@pytest.mark.airflow
def test_airflow_describes_the_configuration() -> None:
    described = airflow("config", "list", "--section", "secure_provider", "--include-descriptions")
    assert "declared_at_rest" in described
    assert "What encrypts stores" in described


def test_a_dag_file_loads_no_arrow_and_no_driver() -> None:
    code = (
        "import sys; from airflow_secure_provider.operators import EncryptedS3ToPostgresOperator, MaskColumnsOperator; "
        "print([m for m in ('pyarrow', 'numpy', 'boto3', 'psycopg', 'hvac', 'openlineage') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.strip().splitlines()[-1] == b"[]"


def test_locks_pin_everything_with_hashes_and_name_no_index() -> None:
    locks = sorted((ROOT / "requirements").glob("lock-py*.txt"))
    assert len(locks) == 3
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text
        assert "index-url" not in text
        pins = re.findall(r"^[A-Za-z0-9_.\[\],-]+==[^ ]+ .*\\$", text, flags=re.MULTILINE)
        assert len(pins) > 150
        assert text.count("--hash=sha256:") >= len(pins)

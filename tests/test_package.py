"""What Airflow sees of the package."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
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


def test_all_entry_points_are_there() -> None:
    groups = {
        entry.group: entry.value
        for entry in importlib.metadata.distribution("airflow-secure-provider").entry_points
        if entry.group != "console_scripts"
    }
    assert set(groups) == {"apache_airflow_provider", "airflow.plugins", "airflow.policy"}


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
    assert "/data-protection" in json.dumps(ours)


@pytest.mark.airflow
def test_airflow_describes_the_configuration() -> None:
    described = airflow("config", "list", "--section", "secure_provider", "--include-descriptions")
    assert "declared_at_rest" in described
    assert "What encrypts stores" in described


def test_the_wheel_holds_what_the_page_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("templates", "static"):
        files = [
            path for path in (ROOT / "airflow_secure_provider" / "ui" / folder).iterdir() if path.is_file()
        ]
        assert files
        assert {str(path.relative_to(ROOT)) for path in files} <= packed


def test_the_plugin_loads_the_page_only_when_it_is_asked_for() -> None:
    """Every Airflow process loads the plugin; only the API server serves the page."""
    code = (
        "import sys; import airflow_secure_provider.lineage.listener; before = set(sys.modules); "
        "import airflow_secure_provider.plugin; "
        "print(sorted(each for each in set(sys.modules) - before if each.startswith(('fastapi', 'starlette', 'jinja2', "
        "'sqlalchemy', 'airflow.api_fastapi', 'airflow_secure_provider'))))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True, timeout=60
    )
    loaded = ast.literal_eval(done.stdout.decode().splitlines()[-1])
    assert [each for each in loaded if each.startswith("airflow_secure_provider")] == [
        "airflow_secure_provider.plugin",
        "airflow_secure_provider.ui",
        "airflow_secure_provider.ui.views",
    ]
    assert [
        each for each in loaded if each.startswith(("fastapi", "starlette", "jinja2", "airflow.api"))
    ] == []


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

"""docs/reference/dag-rules.md shows what breaks each rule, and what does not; and what is told of good DAGs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from airflow_secure_provider.contract.registry import Registry
from airflow_secure_provider.inspection.dags.checking import check_paths, check_source
from airflow_secure_provider.inspection.dags.rules import RULES
from sandbox.environment import REPOSITORY

from .test_dags import SEEDED

PAGE = (REPOSITORY / "docs/reference/dag-rules.md").read_text()
SECTIONS = {each[:5]: each for each in PAGE.split("\n## ") if re.match(r"SP\d{3}\n", each)}


def test_every_rule_has_its_section_and_level() -> None:
    assert list(SECTIONS) == list(RULES)
    for rule, section in SECTIONS.items():
        assert section.split("\n\n")[1].lower().startswith(f"*{RULES[rule].level.value}")


@pytest.mark.parametrize("rule", [each for each in RULES if each != "SP100"])
def test_the_first_example_breaks_it_and_the_second_nothing(rule: str) -> None:
    registry = Registry.read(SEEDED / "contracts")
    examples = re.findall(r"```python\n(.*?)```", SECTIONS[rule], flags=re.S)
    assert examples
    told = [
        {each.rule for each in check_source(code.encode(), "dag.py", SEEDED, registry)[0]}
        for code in examples
    ]
    assert rule in told[0]
    assert all(each == set() for each in told[1:])


def told_of(*folders: Path) -> set[tuple[str, str]]:
    report = check_paths(folders, None)
    return {
        (Path(each.path).resolve().relative_to(REPOSITORY).as_posix(), each.rule) for each in report.alarms
    }


def test_the_projects_own_dags() -> None:
    stated = set(re.findall(r"^\| `((?:dags|tests)/[^`]+)` \| (SP\d{3}) \|", PAGE, flags=re.M))
    assert told_of(REPOSITORY / "dags", REPOSITORY / "tests/integration/dags") == stated


def test_airflows_installed_examples() -> None:
    (root,) = importlib.util.find_spec("airflow").submodule_search_locations  # type: ignore[union-attr]
    folders = [each for each in Path(root).rglob("example_dags") if each.is_dir()]
    report = check_paths(folders, None)
    assert report.files > 50
    assert [f"{each.path}:{each.place.line} {each.rule} {each.reason}" for each in report.alarms] == []

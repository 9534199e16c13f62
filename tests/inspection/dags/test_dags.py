"""Seeded violations are found in their lines, and their near misses are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_secure_provider.contract.registry import Registry
from airflow_secure_provider.inspection.dags.checking import check_paths
from airflow_secure_provider.inspection.dags.rules import RULES

SEEDED = Path(__file__).parent / "seeded"
FILES = sorted(SEEDED.glob("*.py"))
NOWHERE = {"s25_private_key.py": [(10, "SP104")]}  # a comment would be part of the text


def expected(file: Path) -> list[tuple[int, str]]:
    """``# <- SP101 SP101`` stands in the line that is to be told of."""
    lines = enumerate(file.read_text().splitlines(), start=1)
    found = [
        (number, rule)
        for number, line in lines
        if "# <- " in line
        for rule in re.findall(r"SP\d{3}", line.partition("# <- ")[2])
    ]
    return found or NOWHERE[file.name]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.read(SEEDED / "contracts")


@pytest.mark.parametrize("file", FILES, ids=lambda each: each.stem)
def test_what_is_seeded_is_found_and_nothing_else(file: Path, registry: Registry) -> None:
    report = check_paths([file], registry)
    assert [(each.place.line, each.rule) for each in report.alarms] == expected(file)
    assert all(each.path == file.as_posix() for each in report.alarms)


def test_every_rule_is_seeded() -> None:
    seeded = {rule for file in FILES for _, rule in expected(file)}
    assert len(FILES) >= 20
    assert set(RULES) - seeded == {"SP100", "SP190"}  # of files, in test_checking.py

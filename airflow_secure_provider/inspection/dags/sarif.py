"""A report as SARIF 2.1.0, which code hosts show beside the lines of a change."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from ... import __version__
from .checking import Report
from .model import Alarm, Place
from .rules import RULES, Rule

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(report: Report, root: str) -> dict[str, Any]:
    """
    :param root: the folder that paths are told from, as an absolute path; one outside of it stays absolute.
    """
    rules = list(RULES.values())
    results = [_result(each, None, rules, root) for each in report.alarms]
    results += [_result(each, reason, rules, root) for each, reason in report.suppressed]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "airflow-secure",
                        "semanticVersion": __version__,
                        "rules": [_rule(each) for each in rules],
                    }
                },
                "invocations": [{"executionSuccessful": not report.unread}],
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(each.capitalize() for each in rule.name.split("-")),
        "shortDescription": {"text": _sentence(rule.title)},
        "help": {"text": _sentence(rule.fix)},
        "defaultConfiguration": {"level": rule.level.value},
    }


def _result(alarm: Alarm, suppressed: str | None, rules: list[Rule], root: str) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(alarm.path, root)}
    if alarm.place.line:
        location["region"] = _region(alarm.place)
    told: dict[str, Any] = {
        "ruleId": alarm.rule,
        "ruleIndex": next(n for n, each in enumerate(rules) if each.id == alarm.rule),
        "level": alarm.level.value,
        "message": {"text": f"{_sentence(alarm.reason)} {_sentence(alarm.fix)}"},
        "locations": [{"physicalLocation": location}],
    }
    if suppressed is not None:
        told["suppressions"] = [{"kind": "inSource", "justification": suppressed}]
    return told


def _artifact(path: str, root: str) -> dict[str, str]:
    """Relative to the checkout, or a code host can't find the file."""
    given = PurePosixPath(path)
    if not given.is_absolute():
        given = PurePosixPath(root) / given
    parts: list[str] = []
    for part in given.parts:
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part != "..":
            parts.append(part)
    plain = PurePosixPath(*parts)
    if plain.is_relative_to(root):
        return {"uri": quote(plain.relative_to(root).as_posix())}
    return {"uri": "file://" + quote(plain.as_posix())}


def _region(place: Place) -> dict[str, int]:
    """Lines only: columns that Python tells are bytes."""
    return {"startLine": place.line, "endLine": max(place.line, place.end_line)}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."

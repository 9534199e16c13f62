"""``# secure: ignore SP104 (the reason)``, in the lines of what it is about or alone in the line before them."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .model import Alarm, Place

_COMMENT = re.compile(r"#\s*secure:\s*(?P<what>ignore(?:-file)?)\b(?P<rest>.*)$")
_REST = re.compile(r"^\s+(?P<rules>SP\d{3}(?:\s*,\s*SP\d{3})*)\s*\((?P<reason>[^()]*[^()\s][^()]*)\)\s*$")


@dataclass(frozen=True, slots=True)
class Suppression:
    """:ivar line: that it is about; 0 for the whole file."""

    rules: frozenset[str]
    reason: str
    line: int
    alone: bool

    def covers(self, alarm: Alarm) -> bool:
        if alarm.rule not in self.rules:
            return False
        if not self.line:
            return True
        last = max(alarm.place.line, alarm.place.end_line)
        return alarm.place.line <= self.line <= last or (self.alone and self.line + 1 == alarm.place.line)


def suppressions(text: str, known: Iterable[str]) -> tuple[list[Suppression], list[tuple[Place, str]]]:
    """:return: those that count, and what is wrong with the others."""
    found: list[Suppression] = []
    wrong: list[tuple[Place, str]] = []
    known = set(known)
    for line, column, comment, alone in _comments(text):
        told = _COMMENT.search(comment)
        if told is None:
            continue
        place = Place(line, column, line, column + len(comment) - 1)
        rest = _REST.match(told["rest"])
        if rest is None:
            wrong.append(
                (place, "the suppression counts for nothing: it names no rule, or no reason in brackets")
            )
            continue
        rules = frozenset(each.strip() for each in rest["rules"].split(","))
        unknown = sorted(rules - known)
        if unknown:
            wrong.append((place, f"there is no rule {unknown[0]}"))
        found.append(
            Suppression(
                rules & known, rest["reason"].strip(), 0 if told["what"] == "ignore-file" else line, alone
            )
        )
    return found, wrong


def _comments(text: str) -> Iterator[tuple[int, int, str, bool]]:
    if "secure:" not in text:
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            yield token.start[0], token.start[1] + 1, token.string, alone

"""Columns whose class says that anybody may read them, and whose values look like personal data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..discovery.columns import ColumnLook
from ..discovery.judging import judge
from ..errors import ContractError
from ..model import Classification, Protection
from ..protection.plan import ColumnStep

ON_SUSPECTED_PII = ("warn", "refuse", "ignore")
_OPEN = (Classification.PUBLIC, Classification.INTERNAL)
_FIRST, _LATER = 1024, 256
"""Values of a batch that are looked at: enough to tell what a column holds, and little beside loading the batch."""
_LATER_EVERY = 16


class Suspicion:
    """A look at some values of each batch, before they are stored.

    :param steps: of these the unprotected columns of a public or internal class are looked at.
    :param action: ``warn``, ``refuse`` or ``ignore``.
    :param where: the source, for messages.
    """

    def __init__(self, steps: Sequence[ColumnStep], action: str, where: str) -> None:
        self._refuses = action == "refuse"
        self._where = where
        self._batches = 0
        self._looks = {
            step.rule.name: (ColumnLook(step.rule.name), step.rule.classification)
            for step in steps
            if action != "ignore" and _is_open(step)
        }

    def look(self, batch: Any) -> None:
        """:raises ContractError: if the first batch tells already, and suspicion is to be refused."""
        first = self._batches == 0
        if first or self._batches % _LATER_EVERY == 0:
            for name, (look, _) in self._looks.items():
                look.look(batch.column(name), _FIRST if first else _LATER)
        self._batches += 1
        if first:
            self._refuse()

    def finish(self) -> tuple[str, ...]:
        """What is suspected, for the log and the report. :raises ContractError: if it is to be refused."""
        self._refuse()
        return tuple(
            f"{each}; or is its class right, and on_suspected_pii='ignore'?" for each in self._words()
        )

    def _refuse(self) -> None:
        words = self._words() if self._refuses else []
        if words:
            raise ContractError(f"source {self._where}: " + "; ".join(words))

    def _words(self) -> list[str]:
        found = [(judge(look), level) for look, level in self._looks.values()]
        return [
            f"column {each.column!r} is {level} and unprotected, and looks like {each.kind} ({each.words}): classify it "
            "higher and protect it"
            for each, level in found
            if each.verdict == "found"
        ]


def _is_open(step: ColumnStep) -> bool:
    rule = step.rule
    plain = rule.protection is Protection.NONE and not step.passes and step.revealer is None
    return plain and rule.classification in _OPEN

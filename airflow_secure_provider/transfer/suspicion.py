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
"""Values that are looked at: of a column so many to begin with, however many batches they take, and then of each of _AGAIN. A
look costs about 5 ms a column, since patterns are compiled anew each time; a batch is loaded in some tens of them."""
_AGAIN = frozenset(8**power for power in range(1, 8))


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
        """:raises ContractError: if what was seen tells already, and suspicion is to be refused."""
        again = self._batches in _AGAIN
        self._batches += 1
        looked = False
        for name, (look, _) in self._looks.items():
            if (
                look.looked < _LATER
                and look.unread is None
                and batch.column(name).null_count < batch.num_rows
            ):
                looked = True
                look.look(batch.column(name), _FIRST)
            elif again:
                looked = True
                look.look(batch.column(name), _LATER)
        if looked:
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

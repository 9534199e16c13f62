"""k-anonymity, l-diversity and t-closeness of a table by its equivalence classes, and the coarsening that costs least.

Works on integer codes of distinct values: what a value is never gets here.

k (Sweeney 2002): every class has at least k rows. l (Machanavajjhala et al. 2007, distinct l-diversity): every class has at least l
different values of each sensitive column. t (Li et al. 2007): the distribution of each sensitive column in a class differs from
that in the whole table by at most t, in earth mover's distance: ordered for numbers, equal for all else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]

_MOST_WORK = 40_000_000  # entries times lattice nodes, for a search of all of them
_REACH = 3  # steps to a neighbour that may be better
_DENSE = 4_000_000  # cells of a matrix of classes and sensitive values


@dataclass(frozen=True, slots=True)
class Requirement:
    """
    :param max_suppressed: rows that may be left out.
    """

    k: int
    l_diversity: int = 1
    t_closeness: float = 1.0
    max_suppressed: int = 0


@dataclass(frozen=True, slots=True)
class Entries:
    """The distinct rows of quasi-identifiers and sensitive values, with their numbers.

    :param quasi: n × quasi-identifiers.
    :param sensitive: n × sensitive columns; of a number in its order.
    :param ordered: which sensitive columns are numbers.
    :param rows: how many rows of the load each stands for.
    :param held: how many that the target holds already, and that stay as they are.
    """

    quasi: Codes
    sensitive: Codes
    ordered: Sequence[bool]
    rows: Codes
    held: Codes


@dataclass(frozen=True)
class Hierarchy:
    """
    :param levels: for each level the code of each value's generalisation; level 0 is the value itself.
    """

    levels: tuple[Codes, ...]

    @cached_property
    def losses(self) -> tuple[NDArray[np.float64], ...]:
        """By level and value: how many other values it can't be told from, as a share of all others (Iyengar's loss metric)."""
        most = max(len(self.levels[0]) - 1, 1)
        return tuple((np.bincount(level)[level] - 1) / most for level in self.levels)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one choice of levels comes to.

    :ivar classes: of what is left.
    :ivar suppressed: rows that are left out.
    :ivar loss: from 0 (nothing lost) to 1; a row that is left out is lost wholly.
    :ivar k: the smallest class; 0 if nothing is left.
    """

    levels: tuple[int, ...]
    classes: int
    suppressed: int
    loss: float
    k: int
    l_diversity: int
    t_closeness: float


class Classes:
    """The equivalence classes of a table at any level of its hierarchies."""

    def __init__(self, entries: Entries, hierarchies: Sequence[Hierarchy], need: Requirement) -> None:
        self._entries = entries
        self._hierarchies = hierarchies
        self._need = need
        self._known: dict[tuple[int, ...], Outcome] = {}

    @property
    def total(self) -> int:
        return int(self._entries.rows.sum())

    def at(self, levels: tuple[int, ...]) -> Outcome:
        """With the smallest set of classes left out that is in the way, whether or not that is allowed."""
        if levels not in self._known:
            self._known[levels] = self._evaluate(levels)
        return self._known[levels]

    def left_out(self, levels: tuple[int, ...]) -> NDArray[np.bool_]:
        """Of each entry, whether its class is left out."""
        ids, number = _numbered(self._generalized(levels))
        found: NDArray[np.bool_] = self._out(ids, number)[ids]
        return found

    def allowed(self, outcome: Outcome) -> bool:
        """Nothing but left out rows is no table."""
        something = outcome.classes > 0 or not self.total
        return something and outcome.suppressed <= self._need.max_suppressed and self._meets(outcome)

    def best(self) -> Outcome | None:
        """The allowed choice that loses least; ``None`` if there is none.

        All choices are looked at where that is affordable. Otherwise two walks, from the finest up and from the coarsest down, and
        from where they end to neighbours, as long as one is better.
        """
        ladders = [range(len(each.levels)) for each in self._hierarchies]
        nodes = int(np.prod([len(each) for each in ladders]))
        if nodes * max(len(self._entries.rows), 1) <= _MOST_WORK:
            found = (self.at(levels) for levels in itertools.product(*ladders))
            return min(filter(self.allowed, found), key=lambda each: (each.loss, each.levels), default=None)
        return self._searched()

    # --- one choice -----------------------------------------------------------------------------------------

    def _evaluate(self, levels: tuple[int, ...]) -> Outcome:
        entries = self._entries
        ids, number = _numbered(self._generalized(levels))
        rows, held = self._sizes(ids, number)
        out = self._out(ids, number)
        there = ~out & (rows > 0) | (held > 0)
        sizes = np.where(out, 0, rows) + held
        kept = np.where(out[ids], 0, entries.rows) + entries.held
        return Outcome(
            levels,
            int(np.count_nonzero(there)),
            int(rows[out].sum()),
            self._loss(levels, ids, out),
            int(sizes[there].min()) if there.any() else 0,
            min((int(each[there].min()) for each in self._diversities(ids, number, kept)), default=0)
            if there.any()
            else 0,
            max((float(each[there].max()) for each in self._distances(ids, number, kept)), default=0.0)
            if there.any()
            else 0.0,
        )

    def _sizes(self, ids: Codes, number: int) -> tuple[Codes, Codes]:
        entries = self._entries
        rows = np.bincount(ids, weights=entries.rows, minlength=number).astype(np.int64)
        return rows, np.bincount(ids, weights=entries.held, minlength=number).astype(np.int64)

    def _out(self, ids: Codes, number: int) -> NDArray[np.bool_]:
        """By class. Again and again, since t is about the whole, which changes."""
        rows, held = self._sizes(ids, number)
        out = np.zeros(number, dtype=np.bool_)
        while True:
            in_the_way = self._violating(ids, number, rows, held, out) & ~out & (rows > 0)
            if not in_the_way.any():
                return out
            out |= in_the_way

    def _generalized(self, levels: tuple[int, ...]) -> Codes:
        columns = [
            hierarchy.levels[level][self._entries.quasi[:, index]]
            for index, (hierarchy, level) in enumerate(zip(self._hierarchies, levels, strict=True))
        ]
        return (
            np.stack(columns, axis=1) if columns else np.zeros((len(self._entries.rows), 0), dtype=np.int64)
        )

    def _violating(
        self, ids: Codes, number: int, rows: Codes, held: Codes, out: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        need = self._need
        found: NDArray[np.bool_] = rows + held < need.k
        kept = np.where(out[ids], 0, self._entries.rows) + self._entries.held
        if need.l_diversity > 1:
            for each in self._diversities(ids, number, kept):
                found |= each < need.l_diversity
        if need.t_closeness < 1.0:
            for distance in self._distances(ids, number, kept):
                found |= distance > need.t_closeness + 1e-12
        return found

    def _diversities(self, ids: Codes, number: int, kept: Codes) -> Iterator[Codes]:
        """By class, how many different values of each sensitive column it has."""
        for column in self._entries.sensitive.T:
            width = int(column.max(initial=0)) + 1
            pairs = np.unique(ids[kept > 0] * width + column[kept > 0])
            yield np.bincount(pairs // width, minlength=number)

    def _distances(self, ids: Codes, number: int, kept: Codes) -> Iterator[NDArray[np.float64]]:
        """By class, the earth mover's distance of each sensitive column from the whole."""
        total = max(int(kept.sum()), 1)
        sizes = np.maximum(np.bincount(ids, weights=kept, minlength=number), 1)
        for column, ordered in zip(self._entries.sensitive.T, self._entries.ordered, strict=True):
            values, code = np.unique(column[kept > 0], return_inverse=True)
            here, weights = ids[kept > 0], kept[kept > 0]
            whole = np.bincount(code, weights=weights, minlength=len(values)) / total
            yield _moved(here, code, weights, sizes, whole, ordered)

    def _loss(self, levels: tuple[int, ...], ids: Codes, out: NDArray[np.bool_]) -> float:
        entries = self._entries
        if not self.total or not self._hierarchies:
            return 0.0
        lost = np.zeros(len(entries.rows))
        for index, (hierarchy, level) in enumerate(zip(self._hierarchies, levels, strict=True)):
            lost += hierarchy.losses[level][entries.quasi[:, index]]
        lost = np.where(out[ids], 1.0, lost / len(self._hierarchies))
        return float((lost * entries.rows).sum() / self.total)

    def _meets(self, outcome: Outcome) -> bool:
        """What was there before, and can't be left out, is good enough too."""
        need = self._need
        return not outcome.classes or (
            outcome.k >= need.k
            and (need.l_diversity <= 1 or outcome.l_diversity >= need.l_diversity)
            and outcome.t_closeness <= max(need.t_closeness, 0.0) + 1e-12
        )

    # --- the choice of levels -------------------------------------------------------------------------------

    def _searched(self) -> Outcome | None:
        bottom = tuple(0 for _ in self._hierarchies)
        top = tuple(len(each.levels) - 1 for each in self._hierarchies)
        ends = [self._up(bottom, price) for price in (_saved_for_loss, _least_left_out, _least_lost)]
        ends.append(self._down(top))
        settled = {self._settled(end) for end in ends if end is not None}
        return min(settled, key=lambda each: (each.loss, each.levels), default=None)

    def _up(self, levels: tuple[int, ...], price: Callable[[Outcome, Outcome], Any]) -> Outcome | None:
        """Coarser by one step at a time, the cheapest first, until it is allowed."""
        here = self.at(levels)
        while not self.allowed(here):
            above = [self.at(each) for each in self._neighbours(here.levels, 1)]
            if not above:
                return None
            before = here
            here = min(above, key=lambda each: price(before, each))
        return here

    def _down(self, levels: tuple[int, ...]) -> Outcome | None:
        """Finer where that loses least, as long as it is allowed."""
        here = self.at(levels)
        if not self.allowed(here):
            return None
        while True:
            below = [each for each in map(self.at, self._neighbours(here.levels, -1)) if self.allowed(each)]
            finer = min(below, key=lambda each: each.loss, default=None)
            if finer is None or finer.loss >= here.loss:
                return here
            here = finer

    def _settled(self, here: Outcome) -> Outcome:
        """To a better one that is at most three steps away, as long as there is one."""
        while True:
            near = {here.levels}
            for _ in range(_REACH):
                near |= {other for each in near for step in (1, -1) for other in self._neighbours(each, step)}
            good = [each for each in map(self.at, near) if self.allowed(each)]
            better = min(good, key=lambda each: (each.loss, each.levels), default=here)
            if better.loss >= here.loss:
                return here
            here = better

    def _neighbours(self, levels: tuple[int, ...], step: int) -> Iterator[tuple[int, ...]]:
        for index, level in enumerate(levels):
            if 0 <= level + step < len(self._hierarchies[index].levels):
                yield (*levels[:index], level + step, *levels[index + 1 :])


def _saved_for_loss(before: Outcome, after: Outcome) -> float:
    saved = before.suppressed - after.suppressed
    lost = max(after.loss - before.loss, 1e-9)
    return -saved / lost if saved > 0 else lost


def _least_left_out(before: Outcome, after: Outcome) -> tuple[int, float]:
    return after.suppressed, after.loss


def _least_lost(before: Outcome, after: Outcome) -> float:
    return after.loss


def _numbered(columns: Codes) -> tuple[Codes, int]:
    """A number for each distinct row, from 0 up."""
    if not len(columns):
        return np.zeros(0, dtype=np.int64), 0
    ids = np.zeros(len(columns), dtype=np.int64)
    number = 1
    for column in columns.T:  # each step numbers densely, so that the product stays small
        width = int(column.max()) + 1
        _, ids = np.unique(ids * width + column, return_inverse=True)
        number = int(ids.max()) + 1
    return ids.astype(np.int64), number


def _moved(
    ids: Codes, code: Codes, weights: Codes, sizes: Any, whole: NDArray[np.float64], ordered: bool
) -> NDArray[np.float64]:
    number, values = len(sizes), len(whole)
    if not ordered:
        pairs, place = np.unique(ids * values + code, return_inverse=True)
        share = np.bincount(place, weights=weights) / sizes[pairs // values]
        expected = whole[pairs % values]
        # Σ|q-p| over the values that the class has, and Σp over those that it has not.
        inside = np.bincount(pairs // values, weights=np.abs(share - expected) - expected, minlength=number)
        empty = np.bincount(pairs // values, minlength=number) == 0
        distances: NDArray[np.float64] = np.where(empty, 0.0, 0.5 * (inside + 1.0))
        return distances
    found = np.zeros(number)
    if values < 2:
        return found
    step = max(1, _DENSE // values)
    order = np.argsort(ids, kind="stable")
    ids, code, weights = ids[order], code[order], weights[order]
    for begin in range(0, number, step):
        end = min(begin + step, number)
        first, last = np.searchsorted(ids, [begin, end])
        dense = np.zeros((end - begin, values))
        np.add.at(dense, (ids[first:last] - begin, code[first:last]), weights[first:last])
        there = dense.sum(axis=1) > 0
        dense = dense / sizes[begin:end, None] - whole
        found[begin:end] = np.where(there, np.abs(dense.cumsum(axis=1)).sum(axis=1) / (values - 1), 0.0)
    return found

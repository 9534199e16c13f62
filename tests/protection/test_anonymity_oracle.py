"""k, l, t and what is left out, against a slow reading of the papers in plain Python and exact fractions."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from airflow_secure_provider.protection.anonymity import Classes, Entries, Hierarchy, Requirement

Row = tuple[tuple[int, ...], tuple[int, ...]]


def moved_along(have: Sequence[Fraction], want: Sequence[Fraction]) -> Fraction:
    """Earth carried from pile to pile in order, which is the cheapest way on a line."""
    here, there, cost = list(have), list(want), Fraction(0)
    for source, target in itertools.product(range(len(here)), repeat=2):
        # The order of the pairs is the north-west corner's.
        amount = min(here[source], there[target])
        here[source] -= amount
        there[target] -= amount
        cost += amount * abs(source - target)
    return cost / max(len(here) - 1, 1)


def moved_anywhere(have: Sequence[Fraction], want: Sequence[Fraction]) -> Fraction:
    return 1 - sum((min(pair) for pair in zip(have, want, strict=True)), Fraction(0))


def measured(rows: Sequence[Row], ordered: Sequence[bool]) -> tuple[int, int, Fraction]:
    classes = defaultdict(list)
    for quasi, sensitive in rows:
        classes[quasi].append(sensitive)
    k = min(map(len, classes.values()))
    diverse, distance = [], [Fraction(0)]
    for at, is_number in enumerate(ordered):
        values = sorted({sensitive[at] for _, sensitive in rows})
        whole = Counter(sensitive[at] for _, sensitive in rows)
        for found in classes.values():
            mine = Counter(sensitive[at] for sensitive in found)
            diverse.append(len(mine))
            have = [Fraction(mine[value], len(found)) for value in values]
            want = [Fraction(whole[value], len(rows)) for value in values]
            distance.append((moved_along if is_number else moved_anywhere)(have, want))
    return k, min(diverse), max(distance)


def hierarchy(rng: random.Random, size: int) -> Hierarchy:
    levels = [list(range(size))]
    for _ in range(rng.randint(0, 2)):
        merged = [rng.randint(0, max(levels[-1]) // 2) for _ in range(max(levels[-1]) + 1)]
        named = {code: number for number, code in enumerate(dict.fromkeys(merged[c] for c in levels[-1]))}
        levels.append([named[merged[code]] for code in levels[-1]])
    return Hierarchy(tuple(np.array(level) for level in levels))


@pytest.mark.parametrize("seed", range(120))
def test_a_slow_reading_agrees(seed: int) -> None:
    rng = random.Random(seed)
    sizes = [rng.randint(1, 5) for _ in range(rng.randint(1, 3))]
    ordered = [rng.random() < 0.5 for _ in range(rng.randint(1, 2))]

    def drawn(number: int) -> list[Row]:
        return [
            (tuple(rng.randrange(size) for size in sizes), tuple(rng.randint(0, 3) for _ in ordered))
            for _ in range(number)
        ]

    new, held = drawn(rng.randint(1, 40)), drawn(rng.choice([0, 0, 15]))
    ladders = [hierarchy(rng, size) for size in sizes]
    need = Requirement(
        rng.randint(2, 4), rng.choice([1, 2, 3]), rng.choice([1.0, 0.5, 0.3]), rng.randint(0, len(new))
    )
    keys = sorted({*new, *held})
    entries = Entries(
        np.array([quasi for quasi, _ in keys]),
        np.array([sensitive for _, sensitive in keys]),
        ordered,
        np.array([new.count(key) for key in keys]),
        np.array([held.count(key) for key in keys]),
    )
    classes = Classes(entries, ladders, need)
    for levels in itertools.product(*(range(len(each.levels)) for each in ladders)):

        def coarser(row: Row, at: tuple[int, ...] = levels) -> Row:
            quasi = zip(row[0], ladders, at, strict=True)
            return tuple(int(each.levels[level][code]) for code, each, level in quasi), row[1]

        outcome = classes.at(levels)
        out = {key for key, is_out in zip(keys, classes.left_out(levels), strict=True) if is_out}
        left = [coarser(row) for row in new if row not in out] + [coarser(row) for row in held]
        assert outcome.suppressed == sum(row in out for row in new)
        if not left:
            assert (outcome.k, outcome.classes, classes.allowed(outcome)) == (0, 0, False)
            continue
        k, diverse, distance = measured(left, ordered)
        assert (outcome.k, outcome.l_diversity) == (k, diverse)
        assert outcome.t_closeness == pytest.approx(float(distance), abs=1e-9)
        good = k >= need.k and diverse >= need.l_diversity and float(distance) <= need.t_closeness + 1e-12
        assert classes.allowed(outcome) == (good and outcome.suppressed <= need.max_suppressed)

"""k, l and t against pyCANON, and the choice of levels against all choices."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycanon import anonymity as pycanon

from airflow_secure_provider.protection import anonymity
from airflow_secure_provider.protection.anonymity import Classes, Entries, Hierarchy, Requirement

# Published with the definitions: the patients of Machanavajjhala et al. (2007), 4-anonymous and not 2-diverse, and 3-diverse.
_FIRST = ["130**"] * 4 + ["1485*"] * 4 + ["130**"] * 4
_AGES = ["<30"] * 4 + [">=40"] * 4 + ["3*"] * 4
_DISEASES = [
    "heart",
    "heart",
    "viral",
    "viral",
    "cancer",
    "heart",
    "viral",
    "viral",
    "cancer",
    "cancer",
    "cancer",
    "cancer",
]
FOUR_ANONYMOUS = pd.DataFrame({"zip": _FIRST, "age": _AGES, "disease": _DISEASES})
THREE_DIVERSE = pd.DataFrame(
    {
        "zip": ["1305*"] * 4 + ["1485*"] * 4 + ["1306*"] * 4,
        "age": ["<=40"] * 4 + [">40"] * 4 + ["<=40"] * 4,
        "disease": [
            "heart",
            "viral",
            "cancer",
            "cancer",
            "cancer",
            "heart",
            "viral",
            "viral",
            "heart",
            "viral",
            "cancer",
            "cancer",
        ],
    }
)


def entries(table: pd.DataFrame, quasi: list[str], sensitive: list[str]) -> Entries:
    """One entry a row, which is the longest way to say it."""
    codes = {name: np.unique(table[name], return_inverse=True)[1] for name in table}
    ones = np.ones(len(table), dtype=np.int64)
    return Entries(
        np.stack([codes[name] for name in quasi], axis=1).astype(np.int64),
        np.stack([codes[name] for name in sensitive], axis=1).astype(np.int64)
        if sensitive
        else np.zeros((len(table), 0), np.int64),
        [bool(pd.api.types.is_numeric_dtype(table[name])) for name in sensitive],
        ones,
        ones * 0,
    )


def flat(found: Entries) -> list[Hierarchy]:
    return [Hierarchy((np.arange(column.max() + 1),)) for column in found.quasi.T]


def measured(table: pd.DataFrame, quasi: list[str], sensitive: list[str]) -> anonymity.Outcome:
    found = entries(table, quasi, sensitive)
    return Classes(found, flat(found), Requirement(1)).at((0,) * len(quasi))


@pytest.mark.parametrize(("table", "k", "l"), [(FOUR_ANONYMOUS, 4, 1), (THREE_DIVERSE, 4, 3)])
def test_the_tables_of_the_papers(table: pd.DataFrame, k: int, l: int) -> None:  # noqa: E741 (its name)
    found = measured(table, ["zip", "age"], ["disease"])
    assert (found.k, found.l_diversity, found.classes, found.loss) == (k, l, 3, 0.0)
    assert found.t_closeness == pytest.approx(pycanon.t_closeness(table, ["zip", "age"], ["disease"]))


rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from("abc"),
        st.integers(0, 2),
        st.sampled_from("uvwx"),
        st.integers(0, 9),
    ),
    min_size=2,
    max_size=60,
)


@given(rows)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_values_agree_with_pycanon(drawn: list[tuple[Any, ...]]) -> None:
    table = pd.DataFrame(drawn, columns=["age", "sex", "zip", "disease", "income"])
    quasi, sensitive = ["age", "sex", "zip"], ["disease", "income"]
    if table["income"].nunique() < 2:
        return  # pyCANON divides by zero
    found = measured(table, quasi, sensitive)
    assert found.k == pycanon.k_anonymity(table, quasi)
    assert found.l_diversity == pycanon.l_diversity(table, quasi, sensitive)
    assert found.t_closeness == pytest.approx(pycanon.t_closeness(table, quasi, sensitive))


def test_counted_rows_are_as_good_as_single_ones() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {"a": rng.integers(0, 4, 500), "b": rng.integers(0, 3, 500), "s": rng.integers(0, 5, 500)}
    )
    one = measured(table, ["a", "b"], ["s"])
    grouped = table.groupby(["a", "b", "s"]).size().reset_index(name="n")
    counted = entries(grouped[["a", "b", "s"]], ["a", "b"], ["s"])
    counted = Entries(
        counted.quasi,
        counted.sensitive,
        counted.ordered,
        grouped["n"].to_numpy(),
        grouped["n"].to_numpy() * 0,
    )
    other = Classes(counted, flat(counted), Requirement(1)).at((0, 0))
    assert (one.k, one.l_diversity, one.classes) == (other.k, other.l_diversity, other.classes)
    assert one.t_closeness == pytest.approx(other.t_closeness)


# suppression


def test_the_smallest_groups_are_left_out_and_what_is_left_is_enough() -> None:
    table = pd.DataFrame({"a": ["x"] * 6 + ["y"] * 3 + ["z"] * 2, "s": list("uvwuvwuvwuv")})
    found = entries(table, ["a"], ["s"])
    gate = Classes(found, flat(found), Requirement(4, max_suppressed=5))
    outcome = gate.best()
    assert outcome is not None
    assert (outcome.k, outcome.suppressed, outcome.classes) == (6, 5, 1)
    assert outcome.loss == pytest.approx(5 / 11)
    assert Classes(found, flat(found), Requirement(4, max_suppressed=4)).best() is None


def test_leaving_out_for_t_is_repeated_since_the_whole_changes() -> None:
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"a": rng.integers(0, 30, 600), "s": rng.integers(0, 4, 600)})
    found = entries(table, ["a"], ["s"])
    need = Requirement(5, t_closeness=0.15, max_suppressed=600)
    gate = Classes(found, flat(found), need)
    outcome = gate.best()
    assert outcome is not None
    left = table[~gate.left_out(outcome.levels)].reset_index(drop=True)
    assert len(left)
    with warnings.catch_warnings():  # pandas' to pyCANON
        warnings.simplefilter("ignore")
        assert pycanon.k_anonymity(left, ["a"]) >= 5
        assert pycanon.t_closeness(left, ["a"], ["s"]) <= 0.15 + 1e-9
        assert outcome.t_closeness == pytest.approx(pycanon.t_closeness(left, ["a"], ["s"]))


def test_rows_that_are_there_count_and_stay() -> None:
    quasi = np.array([[0], [1], [2]])
    nothing = np.zeros((3, 0), dtype=np.int64)

    def best(rows: list[int], held: list[int], most: int) -> anonymity.Outcome | None:
        found = Entries(quasi, nothing, [], np.array(rows), np.array(held))
        return Classes(found, flat(found), Requirement(5, max_suppressed=most)).best()

    together = best([3, 5, 0], [2, 0, 9], 0)
    assert together is not None
    assert together.k == 5
    assert best([0, 5, 0], [2, 0, 9], 100) is None  # two that nobody can leave out
    left_out = best([2, 5, 0], [0, 0, 9], 2)
    assert left_out is not None
    assert (left_out.suppressed, left_out.k) == (2, 5)


# the choice of levels


def ladder(rng: Any, size: int, levels: int) -> Hierarchy:
    """Each level merges the groups of the one before."""
    made = [np.arange(size)]
    for _ in range(levels - 1):
        groups = int(made[-1].max()) + 1
        merged = rng.integers(0, max(groups // 2, 1), groups) if groups > 1 else np.zeros(1, dtype=np.int64)
        _, merged = np.unique(merged, return_inverse=True)
        made.append(merged[made[-1]])
    return Hierarchy(tuple(np.asarray(each, dtype=np.int64) for each in made))


def problem(seed: int) -> Classes:
    rng = np.random.default_rng(seed)
    columns = int(rng.integers(2, 5))
    sizes = rng.integers(3, 12, columns)
    number = int(rng.integers(50, 400))
    quasi = np.stack([rng.choice(size, number, p=rng.dirichlet(np.ones(size))) for size in sizes], axis=1)
    sensitive = rng.integers(0, 4, (number, 1))
    found = Entries(quasi, sensitive, [False], rng.integers(1, 6, number), np.zeros(number, dtype=np.int64))
    need = Requirement(
        int(rng.integers(2, 12)),
        int(rng.integers(1, 3)),
        1.0,
        int(found.rows.sum() * rng.choice([0, 0.02, 0.1])),
    )
    return Classes(found, [ladder(rng, int(size), int(rng.integers(2, 5))) for size in sizes], need)


def test_the_search_loses_little_more_than_looking_at_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    worst, solved = 1.0, 0
    for seed in range(150):
        exact = problem(seed).best()
        with monkeypatch.context() as patch:
            patch.setattr(anonymity, "_MOST_WORK", 0)
            found = problem(seed).best()
        assert (exact is None) == (found is None), seed
        if exact is None or found is None:
            continue
        solved += 1
        assert found.loss >= exact.loss - 1e-12
        worst = max(worst, found.loss / exact.loss if exact.loss else 1.0 + found.loss)
    assert solved > 100
    assert worst <= 1.10


def test_the_best_is_the_best_of_all() -> None:
    gate = problem(7)
    best = gate.best()
    ladders = [range(len(each.levels)) for each in gate._hierarchies]
    all_of_them = [gate.at(levels) for levels in itertools.product(*ladders)]
    good = [each.loss for each in all_of_them if gate.allowed(each)]
    assert best is not None
    assert best.loss == min(good)
    assert {
        each.loss for each in all_of_them if each.levels == (0,) * len(ladders) and not each.suppressed
    } <= {0.0}


def test_loss() -> None:
    """Of four values two that can't be told apart lose a third each, and a row that is left out everything."""
    hierarchy = Hierarchy((np.arange(4), np.array([0, 0, 1, 1]), np.zeros(4, dtype=np.int64)))
    assert [each.tolist() for each in hierarchy.losses] == [[0] * 4, pytest.approx([1 / 3] * 4), [1] * 4]
    found = Entries(
        np.arange(4)[:, None],
        np.zeros((4, 0), dtype=np.int64),
        [],
        np.array([1, 1, 1, 1]),
        np.zeros(4, dtype=np.int64),
    )
    outcome = Classes(found, [hierarchy], Requirement(2)).best()
    assert outcome is not None
    assert (outcome.levels, outcome.k) == ((1,), 2)
    assert outcome.loss == pytest.approx(1 / 3)


def test_nothing_is_anonymous() -> None:
    none = Entries(
        np.zeros((0, 1), np.int64),
        np.zeros((0, 0), np.int64),
        [],
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
    )
    outcome = Classes(none, [Hierarchy((np.zeros(0, np.int64),))], Requirement(5)).best()
    assert outcome is not None
    assert (outcome.classes, outcome.k, outcome.loss) == (0, 0, 0.0)

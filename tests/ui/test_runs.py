"""What follows from many task runs, and how it is drawn."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from airflow_secure_provider.model import AtRest, Evidence, InTransit, Status
from airflow_secure_provider.ui.drawing import MOST_NODES, draw
from airflow_secure_provider.ui.runs import Column, End, TaskRun, datasets, merged
from tests.ui.facts import KMS, PLAINTEXT, TLS

_MOMENTS = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=each) for each in itertools.count())


def end(name: str, *classes: str, at_rest: AtRest = KMS, in_transit: InTransit = TLS) -> End:
    columns = tuple(Column(f"c{number}", word) for number, word in enumerate(classes))
    return End("s3://lake", name, Status.PROTECTED, at_rest, in_transit, columns)


def run(task: str, sources: str = "", targets: str = "", run_id: str = "run") -> TaskRun:
    ends = (tuple(end(name) for name in names.split()) for names in (sources, targets))
    return TaskRun("dag", run_id, task, -1, next(_MOMENTS), "XCom", *ends)


@pytest.mark.parametrize(
    ("classes", "found"),
    [
        (("public", "restricted", "internal"), "restricted"),
        (("public", "internal"), "internal"),
        (("restricted", "unclassified"), "restricted"),
        (("confidential", "unclassified"), "unclassified"),  # it may be restricted
        ((), "unknown"),
    ],
)
def test_the_strictest_class(classes: tuple[str, ...], found: str) -> None:
    told = TaskRun("dag", "run", "task", -1, next(_MOMENTS), "XCom", (end("x", *classes),))
    (one,) = datasets([told])
    assert one.classification == found


@pytest.mark.parametrize(
    ("at_rest", "in_transit", "found"),
    [
        (KMS, TLS, (Status.PROTECTED, Evidence.OBSERVED)),
        (AtRest("volume", evidence=Evidence.DECLARED), TLS, (Status.PROTECTED, Evidence.DECLARED)),
        (AtRest("SSE-KMS", evidence=Evidence.CONTRADICTED), TLS, (Status.UNKNOWN, Evidence.CONTRADICTED)),
        (AtRest("none", evidence=Evidence.OBSERVED), TLS, (Status.EXPOSED, Evidence.OBSERVED)),
        (KMS, PLAINTEXT, (Status.EXPOSED, Evidence.OBSERVED)),
        (KMS, InTransit(), (Status.UNKNOWN, Evidence.UNKNOWN)),
        (KMS, InTransit("TLSv1.3", evidence=Evidence.OBSERVED), (Status.PARTIAL, Evidence.OBSERVED)),
    ],
)
def test_the_status_follows_from_the_facts(
    at_rest: AtRest, in_transit: InTransit, found: tuple[Status, Evidence]
) -> None:
    one = end("x", at_rest=at_rest, in_transit=in_transit)
    assert (one.status, one.evidence) == found


def test_tellers_are_believed_in_their_order_and_the_newest_of_each() -> None:
    older, newer = run("task", targets="a b"), run("task", targets="a c")
    (one,) = merged([older, newer])
    assert [each.name for each in one.targets] == ["a", "c", "b"]
    later_teller = run("task", targets="a d")
    (one,) = merged([older], [later_teller])
    assert (one.at, [each.name for each in one.targets]) == (older.at, ["a", "b", "d"])


def test_a_chain_is_drawn_from_left_to_right() -> None:
    drawing = draw([run("second", "b", "c"), run("first", "a", "b")])
    assert drawing is not None
    across = {node.full: node.x for node in drawing.nodes}
    names = ["s3://lake/a", "first", "s3://lake/b", "second", "s3://lake/c"]
    assert sorted(across, key=across.__getitem__) == names
    assert len(drawing.arrows) == 4
    for node in drawing.nodes:
        assert node.x + node.width < drawing.width
        assert node.y + node.height < drawing.height


def test_a_circle_is_drawn_and_not_walked_for_ever() -> None:
    drawing = draw([run("there", "a", "b"), run("back", "b", "a"), run("self", "c", "c")])
    assert drawing is not None
    assert (len(drawing.nodes), len(drawing.arrows)) == (6, 6)
    assert drawing.width < 10_000


def test_what_nobody_could_read_is_not_drawn() -> None:
    assert draw([]) is None
    assert draw([run("many", " ".join(f"d{number}" for number in range(MOST_NODES)))]) is None
    boxes = draw([run("task", "a"), run("task2", "b")])
    assert boxes is not None
    places = {(node.x, node.y) for node in boxes.nodes}
    assert len(places) == len(boxes.nodes)

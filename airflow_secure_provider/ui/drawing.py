"""The hops of a run as a graph, laid out here and drawn as SVG by the template: datasets and tasks from left to right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .runs import WORST_FIRST, End, TaskRun

MOST_NODES = 80
_DATASET_WIDTH, _DATASET_HEIGHT = 244, 64
_TASK_WIDTH, _TASK_HEIGHT = 150, 40
_ROW_GAP, _LAYER_GAP, _MARGIN = 22, 56, 12
_DATASET_LETTERS, _TASK_LETTERS = 27, 18
_TIP = 9  # the arrow's head, which the template draws


@dataclass(frozen=True, slots=True)
class Node:
    """A box. ``end`` is of a dataset, and ``None`` for a task."""

    x: float
    y: float
    width: int
    height: int
    label: str
    full: str
    end: End | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From the right of one box to the left of another. ``path`` is SVG's."""

    path: str
    status: str


@dataclass(frozen=True, slots=True)
class Drawing:
    width: int
    height: int
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    description: str


def draw(runs: Sequence[TaskRun]) -> Drawing | None:
    """
    :return: ``None`` where there is nothing, or more than anyone could read.
    """
    ends: dict[str, End] = {}
    links: list[tuple[str, str, End]] = []
    tasks: dict[str, TaskRun] = {}
    for run in runs:
        task = f"task {run.task}"
        tasks[task] = run
        for end in run.ends:
            node = f"data {end.uri}"
            known = ends.get(node)
            if known is None or WORST_FIRST.index(end.status) < WORST_FIRST.index(known.status):
                ends[node] = end
        links += [(f"data {end.uri}", task, end) for end in run.sources]
        links += [(task, f"data {end.uri}", end) for end in run.targets]
    if not ends or len(ends) + len(tasks) > MOST_NODES:
        return None
    layers = _layers([*ends, *tasks], [(origin, to) for origin, to, _ in links])
    boxes = _placed(layers, ends, tasks)
    arrows = tuple(_arrow(boxes[origin], boxes[to], end) for origin, to, end in links)
    return Drawing(
        int(max(box.x + box.width for box in boxes.values()) + _MARGIN),
        int(max(box.y + box.height for box in boxes.values()) + _MARGIN),
        tuple(boxes.values()),
        arrows,
        _description(runs),
    )


def _layers(nodes: Iterable[str], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest way from a start. A circle ends where it began: no node moves more often than there are nodes."""
    found = dict.fromkeys(nodes, 0)
    for _ in range(len(found)):
        moved = False
        for origin, to in links:
            if found[to] <= found[origin] < len(found):
                found[to] = found[origin] + 1
                moved = True
        if not moved:
            return found
    used = {layer: index for index, layer in enumerate(sorted(set(found.values())))}
    return {node: used[layer] for node, layer in found.items()}


def _placed(
    layers: dict[str, int],
    ends: dict[str, End],
    tasks: dict[str, TaskRun],
) -> dict[str, Node]:
    columns: dict[int, list[str]] = defaultdict(list)
    for node, layer in layers.items():
        columns[layer].append(node)
    heights = {
        layer: sum((_DATASET_HEIGHT if node in ends else _TASK_HEIGHT) + _ROW_GAP for node in nodes)
        - _ROW_GAP
        for layer, nodes in columns.items()
    }
    tallest = max(heights.values())
    boxes: dict[str, Node] = {}
    x = float(_MARGIN)
    for layer in sorted(columns):
        y = _MARGIN + (tallest - heights[layer]) / 2
        widest = max(_DATASET_WIDTH if node in ends else _TASK_WIDTH for node in columns[layer])
        for node in columns[layer]:
            if node in ends:
                end = ends[node]
                boxes[node] = Node(
                    x, y, _DATASET_WIDTH, _DATASET_HEIGHT, _short(end.name, _DATASET_LETTERS), end.uri, end
                )
            else:
                run = tasks[node]
                label = _short(run.task, _TASK_LETTERS)
                boxes[node] = Node(x, y, _TASK_WIDTH, _TASK_HEIGHT, label, run.task)
            y += boxes[node].height + _ROW_GAP
        x += widest + _LAYER_GAP
    return boxes


def _arrow(origin: Node, to: Node, end: End) -> Arrow:
    x1, y1 = origin.x + origin.width, origin.y + origin.height / 2
    x2, y2 = to.x - _TIP, to.y + to.height / 2
    middle = (x1 + x2) / 2
    return Arrow(
        f"M{x1:.0f} {y1:.0f} C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}", str(end.status)
    )


def _short(name: str, letters: int) -> str:
    """The end of a name tells more than its beginning."""
    return name if len(name) <= letters else f"…{name[-(letters - 1) :]}"


def _description(runs: Iterable[TaskRun]) -> str:
    """What the graph shows, in words."""
    told = []
    for run in runs:
        reads = ", ".join(f"{end.uri} ({end.status})" for end in run.sources) or "nothing that is known"
        writes = ", ".join(f"{end.uri} ({end.status})" for end in run.targets) or "nothing that is known"
        told.append(f"Task {run.task} read {reads} and wrote {writes}.")
    return " ".join(told)

"""A DAG's parsed tasks, as what the rules see; and what they add to what its source already told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...contract.registry import Registry
from .checking import check_source, parted, read_answers
from .model import HOLE, UNKNOWN, Alarm, Argument, Call, Literal, Place, Seen
from .reading import read_source
from .rules import alarms
from .suppressions import Suppression


@dataclass(frozen=True, slots=True)
class Task:
    """
    :ivar operator: the name of its class, with the module.
    :ivar arguments: what its author gave; what is no literal does not count.
    """

    task_id: str
    operator: str
    arguments: Mapping[str, Any] = field(repr=False)


def check_dag(
    file: Path, tasks: Sequence[Task], params: Mapping[str, Any], registry: Registry | None
) -> list[Alarm]:
    """Both views of one DAG: its file, and its tasks with the values that only a parsed DAG has.

    A comment in the file answers alarms of both. What the file told is not told again.
    """
    shown = file.as_posix()
    content = _content(file)
    source = Seen(shown, None, (), ())
    standing: list[Alarm] = []
    answered: list[Alarm] = []
    answers: list[Suppression] = []
    if content is not None:  # else it is in an archive, or made by code
        standing, told = check_source(content, shown, file.parent, registry)
        answered = [alarm for alarm, _ in told]
        if any(each.rule == "SP100" for each in standing):
            return standing
        text, answers = read_answers(content)
        source = read_source(text, shown, file.parent)
    known = {(each.name if isinstance(each.value, bool) else None, each.value) for each in source.literals}
    views = list(_seen(source, tasks, params, known))
    places = {call.place for seen, _ in views for call in seen.calls if call.place.line}
    # What a task moves is known better now than from its source.
    standing = [each for each in standing if each.rule != "SP103" or each.place not in places]
    found = []
    for seen, name in views:
        for each in alarms(seen, registry):
            if not _told(each, [*standing, *answered]):
                found.append(replace(each, reason=f"{name}: {each.reason}"))
    return standing + parted(found, answers)[0]


def _seen(
    source: Seen, tasks: Sequence[Task], params: Mapping[str, Any], known: set[tuple[str | None, Any]]
) -> Iterator[tuple[Seen, str]]:
    given = tuple(_literals(params, None, "params", Place(), known))
    yield Seen(source.path, source.folder, (), given), "the DAG's params"
    for task in tasks:
        place = _place(source, task.task_id)
        arguments = {name: Argument(_plain(value), place) for name, value in task.arguments.items()}
        name = task.operator.rpartition(".")[2]
        call = Call(name, task.operator, {"task_id": Argument(task.task_id, place), **arguments}, True, place)
        literals = [
            literal
            for key, value in arguments.items()
            for literal in _literals(value.value, key, name, place, known)
        ]
        yield Seen(source.path, source.folder, (call,), tuple(literals)), f"task {task.task_id!r}"


def _literals(
    value: Any, name: str | None, within: str, place: Place, known: set[tuple[str | None, Any]]
) -> Iterator[Literal]:
    """:param known: values that stand in the source, and are judged there."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _literals(each, key if isinstance(key, str) else name, within, place, known)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _literals(each, name, within, place, known)
    elif isinstance(value, str | bool) and (name if isinstance(value, bool) else None, value) not in known:
        yield Literal(name, value, within, place, ())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, str | bool | int | float) else UNKNOWN


def _told(found: Alarm, before: Sequence[Alarm]) -> bool:
    """Whether the source told the same of this task."""
    return any(
        each.rule == found.rule and found.place.line <= each.place.line <= found.place.end_line
        for each in before
    )


def _place(source: Seen, task_id: str) -> Place:
    """Of the only call that names the task; in a group its name is longer than what its author wrote."""
    bare = task_id.rpartition(".")[2]
    for named in (lambda text: text == bare, lambda text: _may_be(text, bare)):
        places = [
            each.place
            for each in source.calls
            if isinstance(text := each.value("task_id"), str) and named(text)
        ]
        if places:
            return places[0] if len(places) == 1 else Place()
    return Place()


def _may_be(text: str, task_id: str) -> bool:
    """For a name that the source makes out of parts."""
    known = text.replace(HOLE, "")
    return bool(known) and re.fullmatch(".*".join(map(re.escape, text.split(HOLE))), task_id) is not None


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None

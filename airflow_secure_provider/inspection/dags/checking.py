"""Files and folders of DAGs, checked one after the other."""

from __future__ import annotations

import io
import tokenize
import zipfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...contract.registry import Registry
from ...errors import ConfigurationError
from .model import Alarm, Level, Place
from .reading import read_source
from .rules import RULES, alarm, alarms
from .suppressions import Suppression, suppressions

_NEVER_SUPPRESSED = ("SP100", "SP190")


@dataclass(slots=True)
class Report:
    """
    :ivar files: how many were looked at.
    :ivar suppressed: alarms that a comment answers, with its reason.
    """

    files: int = 0
    alarms: list[Alarm] = field(default_factory=list)
    suppressed: list[tuple[Alarm, str]] = field(default_factory=list)

    @property
    def unread(self) -> bool:
        return any(each.rule == "SP100" for each in self.alarms)

    @property
    def failed(self) -> bool:
        return any(each.level is not Level.NOTE for each in self.alarms)


def check_paths(
    paths: Sequence[Path],
    registry: Registry | None,
    only: Collection[str] = (),
    ignored: Collection[str] = (),
) -> Report:
    """
    :param only: rules; all if none is named. A file that can't be read is told of in any case.
    :raises ConfigurationError: for a path or rule that is not there, and for folders without one Python file.
    """
    for each in (*only, *ignored):
        if each not in RULES:
            raise ConfigurationError(f"there is no rule {each!r}; they are {', '.join(RULES)}")
    report = Report()
    for shown, folder, content in _sources(paths):
        report.files += 1
        found, answered = check_source(content, shown, folder, registry)
        wanted = {each for each in RULES if (not only or each in only) and each not in ignored} | {"SP100"}
        report.alarms += [each for each in found if each.rule in wanted]
        report.suppressed += [each for each in answered if each[0].rule in wanted]
    if not report.files:
        raise ConfigurationError(f"{', '.join(map(str, paths))}: there is no Python file in it")
    return report


def check_source(
    content: bytes | None, shown: str, folder: Path | None, registry: Registry | None
) -> tuple[list[Alarm], list[tuple[Alarm, str]]]:
    """
    :param content: ``None`` if it could not be read.
    :return: alarms, and those that a comment answers.
    """
    if content is None:
        return [alarm("SP100", shown, Place(), "it can't be opened")], []
    try:
        text = _decoded(content)
        seen = read_source(text, shown, folder)
        answers, wrong = suppressions(text, RULES)
    except SyntaxError as error:  # its text may quote the line
        return [
            alarm("SP100", shown, Place(error.lineno or 0), "it is no Python that this interpreter reads")
        ], []
    except (ValueError, RecursionError, tokenize.TokenError, MemoryError) as error:
        return [alarm("SP100", shown, Place(), f"it can't be parsed: {type(error).__name__}")], []
    found = alarms(seen, registry)
    found += [alarm("SP190", shown, place, reason) for place, reason in wrong]
    return parted(found, answers)


def read_answers(content: bytes) -> tuple[str, list[Suppression]]:
    """A file's text, and its suppressions that count."""
    text = _decoded(content)
    return text, suppressions(text, RULES)[0]


def parted(
    found: Sequence[Alarm], answers: Sequence[Suppression]
) -> tuple[list[Alarm], list[tuple[Alarm, str]]]:
    """Alarms that stand, and those that are answered."""
    standing: list[Alarm] = []
    answered: list[tuple[Alarm, str]] = []
    for each in found:
        answer = next((known for known in answers if known.covers(each)), None)
        if answer is None or each.rule in _NEVER_SUPPRESSED:
            standing.append(each)
        else:
            answered.append((each, answer.reason))
    return standing, answered


def _decoded(content: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding)


def _sources(paths: Sequence[Path]) -> Iterator[tuple[str, Path | None, bytes | None]]:
    """Also those in archives, which Airflow reads DAGs from. Hidden folders and caches are left out."""
    for path in paths:
        if not path.exists():
            raise ConfigurationError(f"{path} is not there")
        if not path.is_dir():
            yield from _of_file(path)
            continue
        for each in sorted(path.rglob("*")):
            inside = each.relative_to(path).parts
            if (
                each.is_file()
                and each.suffix in (".py", ".zip")
                and not any(part.startswith(".") or part == "__pycache__" for part in inside[:-1])
            ):
                yield from _of_file(each)


def _of_file(path: Path) -> Iterator[tuple[str, Path | None, bytes | None]]:
    shown = path.as_posix()
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(".py"):
                        yield f"{shown}/{name}", None, archive.read(name)
            return
        yield shown, path.absolute().parent, path.read_bytes()
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        yield shown, None, None

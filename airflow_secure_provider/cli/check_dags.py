"""``airflow-secure check PATH…``: DAG files, read and never imported. Needs no Airflow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..contract.registry import Registry
    from ..inspection.dags.checking import Report
    from ..inspection.dags.model import Alarm

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The options, as the command has them."""

    paths: tuple[Path, ...]
    contracts: Path | None
    rules: tuple[str, ...]
    ignored: tuple[str, ...]
    form: str


def check_dags(asked: Asked) -> int:
    """:return: the command's exit status."""
    from ..inspection.dags.checking import check_paths

    report = check_paths(asked.paths, _registry(asked.contracts), asked.rules, asked.ignored)
    if asked.form == "sarif":
        from ..inspection.dags.sarif import sarif

        click.echo(json.dumps(sarif(report, Path.cwd().as_posix()), indent=2))
    elif asked.form == "json":
        click.echo(json.dumps(_as_dict(report), indent=2))
    else:
        _print(report)
    return 2 if report.unread else int(report.failed)


def _print(report: Report) -> None:
    for each in report.alarms:
        click.echo(
            f"{_where(each)}: {click.style(each.level, fg=_COLOURS[each.level])} {each.rule} {each.reason}"
        )
        click.echo(f"    {each.fix}")
    counts = ", ".join(
        f"{sum(each.level == level for each in report.alarms)} {level}s"
        for level in ("error", "warning", "note")
    )
    suppressed = f", {len(report.suppressed)} suppressed" if report.suppressed else ""
    click.echo(f"{report.files} files checked: {counts}{suppressed}")


def _where(alarm: Alarm) -> str:
    return f"{alarm.path}:{alarm.place.line}" if alarm.place.line else alarm.path


def _as_dict(report: Report) -> dict[str, object]:
    return {
        "ok": not (report.unread or report.failed),
        "files": report.files,
        "alarms": [each.as_dict() for each in report.alarms],
        "suppressed": [{**each.as_dict(), "because": reason} for each, reason in report.suppressed],
    }


def _registry(folder: Path | None) -> Registry | None:
    from ..contract.registry import Registry

    folder = folder or _configured()
    return Registry.read(folder).whole() if folder is not None else None


def _configured() -> Path | None:
    """As Airflow has it, without Airflow: the environment, then airflow.cfg."""
    told = os.environ.get("AIRFLOW__SECURE_PROVIDER__CONTRACTS") or _in_file(
        Path(
            os.environ.get("AIRFLOW_CONFIG")
            or Path(os.environ.get("AIRFLOW_HOME") or "~/airflow", "airflow.cfg")
        ).expanduser()
    )
    return Path(told) if told else None


def _in_file(file: Path) -> str | None:
    from configparser import Error, RawConfigParser

    parser = RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, Error) as error:  # whose text may quote a line
        raise ConfigurationError(
            f"{file} can't be read ({type(error).__name__}); mend it, or give --contracts"
        ) from None
    return parser.get("secure_provider", "contracts", fallback=None) or None


def unknown_together(paths: Sequence[Path], others: Mapping[str, object], gate: Mapping[str, object]) -> None:
    """:raises click.UsageError: for options of the one kind of check that are given to the other."""
    wrong = [name for name, value in (others if paths else gate).items() if value]
    if wrong:
        said = "goes without a PATH: it tries" if paths else "needs a PATH: without one the command tries"
        raise click.UsageError(f"{wrong[0]} {said} Airflow's configuration")

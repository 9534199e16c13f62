"""Airflow's cluster policy: DAGs are held to the rules of ``airflow-secure check`` where they are parsed.

Every process of Airflow imports this module; what it needs is imported when a DAG is looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.policies import hookimpl

if TYPE_CHECKING:
    from .inspection.dags.model import Alarm
    from .inspection.dags.tasks import Task

log = logging.getLogger(__name__)

_WAYS = ("off", "warn", "refuse")
_NO_ARGUMENTS = {"task_id", "dag", "task_group", "default_args", "start_date", "doc_md"}
MOST_SHOWN = 20  # alarms in one import error


@hookimpl
def dag_policy(dag: Any) -> None:
    """:raises AirflowClusterPolicyViolation: for a DAG that breaks a rule, if ``[secure_provider] dag_policy`` is refuse."""
    from airflow.exceptions import AirflowClusterPolicyViolation
    from airflow.sdk.configuration import conf

    from .errors import ConfigurationError

    way = conf.get("secure_provider", "dag_policy", fallback="off").strip().lower() or "off"
    if way == "off":
        return
    if way not in _WAYS:
        raise AirflowClusterPolicyViolation(
            f"[secure_provider] dag_policy is {way!r}; it must be one of {', '.join(_WAYS)}"
        )
    try:
        found = _alarms(dag, conf.get("secure_provider", "dag_policy_ignore", fallback=""))
        text = _text(dag.dag_id, found) if found else None
    except ConfigurationError as error:
        text = f"DAG {dag.dag_id!r} could not be checked: {error}"
    except Exception as error:
        text = f"DAG {dag.dag_id!r} could not be checked: {type(error).__name__}"
        log.debug("%s", text, exc_info=True)
    if text is None:
        return
    if way == "refuse":
        raise AirflowClusterPolicyViolation(text)
    log.warning("%s", text)


def _alarms(dag: Any, ignored: str) -> list[Alarm]:
    """Notes refuse nothing."""
    from airflow.sdk.configuration import conf

    from .contract.registry import Registry
    from .errors import ConfigurationError
    from .inspection.dags.model import Level
    from .inspection.dags.rules import RULES
    from .inspection.dags.tasks import check_dag

    left_out = {each.strip() for each in ignored.split(",") if each.strip()}
    unknown = sorted(left_out - set(RULES))
    if unknown:
        raise ConfigurationError(
            f"[secure_provider] dag_policy_ignore names {unknown[0]!r}, which is no rule; they are {', '.join(RULES)}"
        )
    folder = conf.get("secure_provider", "contracts", fallback="")
    registry = Registry.read(Path(folder)).whole() if folder else None
    params = {name: _given(dag.params.get_param(name)) for name in dag.params}
    found = check_dag(Path(dag.fileloc), [_task(each) for each in dag.tasks], params, registry)
    return [each for each in found if each.level is not Level.NOTE and each.rule not in left_out]


def _task(task: Any) -> Task:
    """What its author gave, merged with the DAG's default_args; of a template file what is in it."""
    from .inspection.dags.tasks import Task
    from .inspection.dags.transfers import is_known

    if hasattr(task, "partial_kwargs"):  # a mapped one
        kind = task.operator_class
        expanded = getattr(task, getattr(task, "_expand_input_attr", "expand_input"), None)
        mapped = getattr(expanded, "value", None)
        given = {**task.partial_kwargs, **(mapped if isinstance(mapped, Mapping) else {})}
        if isinstance(mapped, list):  # of expand_kwargs: a mapping for each
            names = {name for each in mapped if isinstance(each, Mapping) for name in each}
            given |= {
                name: [each.get(name) for each in mapped if isinstance(each, Mapping)] for name in names
            }
    else:
        kind = type(task)
        given = dict(getattr(task, "_BaseOperator__init_kwargs", {}))
        given |= {name: getattr(task, name, None) for name in task.template_fields if name in given}
    arguments = {name: _given(value) for name, value in given.items() if name not in _NO_ARGUMENTS}
    classes = [f"{each.__module__}.{each.__qualname__}" for each in kind.__mro__]
    # A class of one's own that is an operator which moves data goes by that one's name.
    return Task(task.task_id, next(filter(is_known, classes), classes[0]), arguments)


def _given(value: Any) -> Any:
    from airflow.sdk import Param

    if isinstance(value, Mapping):  # a task's own params
        return {name: _given(each) for name, each in value.items()}
    return value.value if isinstance(value, Param) else value


def _text(dag_id: str, found: list[Alarm]) -> str:
    lines = [f"DAG {dag_id!r} breaks rules of airflow-secure, in {len(found)} places:"]
    for each in found[:MOST_SHOWN]:
        where = f"{each.path}:{each.place.line}" if each.place.line else each.path
        lines.append(f"{where}: {each.level} {each.rule} {each.reason}; {each.fix}")
    if len(found) > MOST_SHOWN:
        lines.append(f"and {len(found) - MOST_SHOWN} more")
    return "\n".join(lines)

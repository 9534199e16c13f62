"""The last look at an event before it leaves: secrets out, facts in."""

from __future__ import annotations

import logging
from typing import Any

from .classifying import Classes, classify
from .facets import ENCRYPTION
from .observations import OBSERVED

log = logging.getLogger(__name__)


def completed(event: dict[str, Any], known: Classes) -> dict[str, Any]:
    """The event, redacted with the masker of now, with the encryption facet on each dataset and the classes of their columns.

    The stock provider copies the masker when it starts: what is masked later, as a leased password is, would stand in the clear
    in the message of an exception.
    """
    clean: dict[str, Any]
    try:
        clean = _redacted(event)
    except RecursionError:  # nobody's masker can look into it, so it does not leave as it is
        log.warning("an event is nested too deep to be redacted: it is sent without its facets")
        clean = _redacted(_without_facets(event))
    for side in ("inputs", "outputs"):
        for dataset in clean.get(side) or ():
            facets = dataset.setdefault("facets", {})
            if ENCRYPTION not in facets:
                facets[ENCRYPTION] = OBSERVED.facet(dataset["namespace"], dataset["name"])
    try:
        classify(clean, known)
    except Exception as error:  # noqa: BLE001 (an event in a form of its own must not be lost)
        log.warning("the columns of an event could not be classified: %s", type(error).__name__)
    return clean


def _without_facets(event: dict[str, Any]) -> dict[str, Any]:
    named = ("namespace", "name", "runId")
    bare: dict[str, Any] = {key: value for key, value in event.items() if isinstance(value, str)}
    for part in ("run", "job"):
        if isinstance(event.get(part), dict):
            bare[part] = {key: event[part][key] for key in named if key in event[part]}
    for side in ("inputs", "outputs"):
        bare[side] = [{key: each[key] for key in named if key in each} for each in event.get(side) or ()]
    return bare


def _redacted(value: Any) -> Any:
    """Each text by itself: by their names alone, facts such as a key's id would be hidden too."""
    from airflow.sdk.log import redact  # type: ignore[attr-defined]  # what its own log formatter uses

    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: _redacted(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return value

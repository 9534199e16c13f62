"""Events against the schemas that OpenLineage publishes.

They are not in the repository: ``OPENLINEAGE_SPEC`` names the folder ``spec`` of a checkout of OpenLineage. Without it the tests
that need it are not there.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import referencing

SPEC = os.environ.get("OPENLINEAGE_SPEC", "")
_PARTS = ("facets", "inputFacets", "outputFacets")


def problems(event: Mapping[str, Any]) -> list[str]:
    """What the official schemas have against an event, its standard facets included; ours have their own schemas."""
    found = _said("RunEvent", {"$ref": f"{_core()['$id']}#/$defs/RunEvent"}, event)
    for name, facet in _facets(event):
        if name.startswith(("secureProvider_", "airflow")) or name in _OF_OTHERS:
            continue
        schema = _standard().get(name)
        if schema is None:
            found.append(f"{name} is no facet of the standard")
        else:
            found += _said(name, schema, facet)
    return found


# Of Airflow's provider, under names of its own.
_OF_OTHERS = frozenset({"unknownSourceAttribute", "debug"})


def _facets(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from (event["run"].get("facets") or {}).items()
    yield from (event["job"].get("facets") or {}).items()
    for dataset in [*(event.get("inputs") or ()), *(event.get("outputs") or ())]:
        for part in _PARTS:
            yield from (dataset.get(part) or {}).items()


def _said(name: str, schema: Mapping[str, Any], value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(
        schema, registry=_registry(), format_checker=jsonschema.FormatChecker()
    )
    return [f"{name}{each.json_path[1:]}: {each.message}" for each in validator.iter_errors(value)]


@functools.cache
def _core() -> dict[str, Any]:
    core: dict[str, Any] = json.loads((Path(SPEC) / "OpenLineage.json").read_text())
    return core


@functools.cache
def _standard() -> dict[str, Any]:
    """The schema of each facet, by its name in events."""
    found = {}
    for file in (Path(SPEC) / "facets").glob("*.json"):
        body = json.loads(file.read_text())
        for name in body.get("properties") or {}:
            found[name] = {"$ref": f"{body['$id']}#/properties/{name}"}
    return found


@functools.cache
def _registry() -> Any:
    files = [Path(SPEC) / "OpenLineage.json", *(Path(SPEC) / "facets").glob("*.json")]
    bodies = [json.loads(file.read_text()) for file in files]
    return referencing.Registry().with_resources(
        (body["$id"], referencing.Resource.from_contents(body)) for body in bodies
    )

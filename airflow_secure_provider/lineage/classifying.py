"""Classes in an event: of datasets that contracts describe, and of columns that came from them."""

from __future__ import annotations

import functools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..contract.registry import Registry
from ..errors import ConfigurationError
from ..model import Classification
from .classes import ColumnClass, column_classes, sank
from .facets import ENCRYPTION, classification_tags
from .graph import hops_of

log = logging.getLogger(__name__)

Classes = Callable[[str, str], Mapping[str, Classification]]


def classify(event: dict[str, Any], known: Classes) -> None:
    """Set classes in the event's encryption and tags facets, and warn of columns that are called less than what arrives.

    What a facet says of a column already is left as it is.

    :param event: with an encryption facet on every dataset.
    :param known: what contracts say, by namespace and name.
    """
    for side in ("inputs", "outputs"):
        for dataset in event.get(side) or ():
            _state(dataset, known(dataset["namespace"], dataset["name"]))
    if not any(_classified(dataset) for dataset in event.get("inputs") or ()):
        return
    by_dataset: dict[str, dict[str, ColumnClass]] = defaultdict(dict)
    for (uri, column), found in column_classes(hops_of(event)).items():
        by_dataset[uri][column] = found
    for dataset in event.get("outputs") or ():
        uri = f"{dataset['namespace']}/{dataset['name']}"
        here = by_dataset[uri]
        _state(dataset, {column: each.effective for column, each in here.items() if each.stated is None})
        told = [sank(column, each) for column, each in sorted(here.items()) if each.sank]
        if told:
            facet = dataset["facets"][ENCRYPTION]
            facet["warnings"] = [*(facet.get("warnings") or ()), *told]
            for each in told:
                log.warning("%s: %s", uri, each)


@functools.cache
def configured_classes(folder: str, cache: Path) -> Classes:
    """Of the contracts in a folder; if it can't be read nothing is known, and the log says so once."""
    try:
        return Registry.read(Path(folder), cache).classes if folder else Registry().classes
    except (ConfigurationError, OSError) as error:
        log.warning("%s; nothing is known of the classes of stock operators' columns", error)
        return Registry().classes


def _state(dataset: dict[str, Any], classes: Mapping[str, Classification]) -> None:
    facets = dataset["facets"]
    columns = facets[ENCRYPTION].setdefault("columns", [])
    named = {each["name"] for each in columns}
    new = {name: each for name, each in classes.items() if name not in named}
    if not new:
        return
    columns += [
        {"name": name, "classification": str(each), "protection": "unknown"} for name, each in new.items()
    ]
    tags = facets.get("tags") or {"tags": []}
    has = {each.get("field") for each in tags["tags"] if each.get("key") == "classification"}
    made = classification_tags({name: each for name, each in new.items() if name not in has})
    facets["tags"] = {**made, **tags, "tags": [*tags["tags"], *made["tags"]]}


def _classified(dataset: Mapping[str, Any]) -> Iterable[Any]:
    return [each for each in dataset["facets"][ENCRYPTION].get("columns") or () if each.get("classification")]

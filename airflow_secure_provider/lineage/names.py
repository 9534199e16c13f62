"""Names of datasets, jobs and columns that Marquez can carry, and back again.

Seen with Marquez 0.50. A node there is addressed by ``dataset:NAMESPACE:NAME`` or ``job:NAMESPACE:NAME``.

1. An event with a namespace that holds anything but letters, digits and ``_-.@+:;=/`` is answered 400. Some of its namespaces are
   stored all the same, and from then on the list of namespaces is answered 500.
2. ``:`` parts an address, unless ``//`` or a digit follows. So in a namespace any other one breaks it, as in ARNs; and where the
   namespace has one, so does a digit or ``//`` at the beginning of it or of the name: ``s3://lake`` and ``2026/11/20.csv``.
3. ``#`` begins a version. In a name it breaks column lineage; ``:`` in a name breaks the lineage of one column.
4. A line break in a name breaks the address.
5. A column without a type stands in its dataset twice, once from START and once from COMPLETE. One whose type is empty does not.

What would break is written as ``@`` and two hex digits for each byte of its UTF-8; ``%``, which everybody knows, is not allowed in a
namespace. An ``@`` that looks like the beginning of such a pair is written so too: what was encoded is found again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_AMBIGUOUS = r"@(?=[0-9A-F]{2})"
_IN_NAMESPACE = re.compile(rf"{_AMBIGUOUS}|[^A-Za-z0-9_\-.@+:;=/]|:(?!//|[0-9])")
_IN_NAME = re.compile(rf"{_AMBIGUOUS}|[:#\x00-\x1f\x7f\x85\u2028\u2029]")
_FIRST = re.compile(r"\A(?:[0-9]|/(?=/))")
_ENCODED = re.compile(r"(?:@[0-9A-F]{2})+")

Pair = tuple[str, str]


def encoded(namespace: str, name: str) -> Pair:
    """Both, as Marquez can carry them; most are left as they are."""
    safe_namespace = _IN_NAMESPACE.sub(_hex, namespace)
    safe_name = _IN_NAME.sub(_hex, name)
    if ":" in safe_namespace:
        return _FIRST.sub(_hex, safe_namespace), _FIRST.sub(_hex, safe_name)
    return safe_namespace, safe_name


def decoded(namespace: str, name: str) -> Pair:
    """The reverse. What :func:`encoded` can't have written is left as it is."""
    found = _text(namespace), _text(name)
    return found if encoded(*found) == (namespace, name) else (namespace, name)


def carried(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as Marquez can carry it."""
    changed = renamed(event, encoded)
    for dataset in [*(changed.get("inputs") or ()), *(changed.get("outputs") or ())]:
        schema = (dataset.get("facets") or {}).get("schema") or {}
        for column in schema.get("fields") or ():
            column.setdefault("type", "")
    return changed


def renamed(event: Mapping[str, Any], rename: Callable[[str, str], Pair]) -> dict[str, Any]:
    """The event with all its names changed: of the job and its parents, of datasets, and of those that their facets refer to."""
    changed = dict(event)
    for part in ("job", "inputs", "outputs", "dataset"):
        if part in changed:
            changed[part] = _renamed(changed[part], rename)
    run = changed.get("run")
    facets = run.get("facets") if isinstance(run, Mapping) else None
    if isinstance(run, Mapping) and isinstance(facets, Mapping) and "parent" in facets:
        changed["run"] = {**run, "facets": {**facets, "parent": _renamed(facets["parent"], rename)}}
    return changed


def _renamed(value: Any, rename: Callable[[str, str], Pair]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, rename) for item in value]
    if not isinstance(value, Mapping):
        return value
    changed = {key: _renamed(item, rename) for key, item in value.items()}
    if isinstance(value.get("namespace"), str) and isinstance(value.get("name"), str):
        changed["namespace"], changed["name"] = rename(value["namespace"], value["name"])
    return changed


def _hex(found: re.Match[str]) -> str:
    return "".join(f"@{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))


def _text(encoded_text: str) -> str:
    def decode(found: re.Match[str]) -> str:
        raw = bytes.fromhex(found[0].replace("@", ""))
        return raw.decode("utf-8", "surrogatepass")

    try:
        return _ENCODED.sub(decode, encoded_text)
    except UnicodeDecodeError:
        return encoded_text

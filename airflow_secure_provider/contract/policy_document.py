"""A class policy of one's own: what each class requires, where that is more than the built-in policy does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import ContractError
from ..model import Classification, Protection
from .policy import BUILT_IN, COARSER, ClassRequirement, Policy
from .strict_yaml import strict_yaml

_TRANSIT = {"any": (False, False), "tls": (True, False), "verified": (True, True)}
_AT_REST = {"any": False, "encrypted": True}
_SOURCE = {"any": False, "key-controlled": True}
_KEYS = ("transit", "atRest", "source", "protections")
_TOP = ("kind", "id", "version", "description", "classes")


def from_document(text: str | bytes, where: str) -> Policy:
    """Read a class policy.

    It may require more than the built-in policy, and less in one point only: ``generalize`` and ``round`` for restricted columns.

    :param where: the document's name, for messages.
    :raises ContractError: for what it can't mean, or must not.
    """
    place = f"class policy {where}"
    body = strict_yaml(text, place)
    if not isinstance(body, dict) or body.get("kind") != "ClassPolicy":
        raise ContractError(f"{place}: expected kind: ClassPolicy, with id, version and classes")
    _known(body, _TOP, place)
    for key in ("id", "version"):
        if not isinstance(body.get(key), (str, int, float)) or body[key] == "":
            raise ContractError(f"{place} has no {key}")
    classes = body.get("classes")
    if not isinstance(classes, dict) or not classes:
        raise ContractError(f"{place}: classes is empty; name one at least, such as restricted")
    requirements = dict(BUILT_IN.requirements)
    for name, entry in classes.items():
        if name not in list(Classification):
            raise ContractError(f"{place}: class {name!r}, expected one of {', '.join(Classification)}")
        level = Classification(name)
        requirements[level] = _requirement(requirements[level], entry, f"{place}, class {name}")
    for lower, higher in zip(list(Classification), list(Classification)[1:], strict=False):
        _refuse_weaker(
            requirements[lower], requirements[higher], f"{place}: class {higher}", f"class {lower}"
        )
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return Policy(f"{body['id']} {body['version']} {digest}", requirements)


def _requirement(built_in: ClassRequirement, entry: Any, place: str) -> ClassRequirement:
    if not isinstance(entry, dict):
        raise ContractError(f"{place}: expected a mapping of {', '.join(_KEYS)}")
    _known(entry, _KEYS, place)
    made = built_in
    if "transit" in entry:
        tls, verified = _word(entry, "transit", _TRANSIT, place)
        made = replace(made, tls=tls, peer_verified=verified)
    if "atRest" in entry:
        made = replace(made, at_rest=_word(entry, "atRest", _AT_REST, place))
    if "source" in entry:
        made = replace(made, source_key_control=_word(entry, "source", _SOURCE, place))
    if "protections" in entry:
        made = replace(made, protections=_protections(entry["protections"], place))
    allowed = replace(built_in, protections=(*built_in.protections, *COARSER) if built_in.protections else ())
    _refuse_weaker(allowed, made, place, "the built-in policy")
    return made


def _protections(given: Any, place: str) -> tuple[Protection, ...]:
    if given == "any":
        return ()
    names = given if isinstance(given, list) else [given]
    unknown = [name for name in names if name not in list(Protection)]
    if unknown or not names:
        raise ContractError(
            f"{place}: protections {unknown[0] if unknown else names!r}, expected any, or a list of {', '.join(Protection)}"
        )
    return tuple(Protection(name) for name in names)


def _refuse_weaker(least: ClassRequirement, got: ClassRequirement, place: str, than: str) -> None:
    """:raises ContractError: if a requirement is below what another one makes the least."""
    weaker = [
        word
        for word, low, high in (
            ("transit", least.tls, got.tls),
            ("transit", least.peer_verified, got.peer_verified),
            ("atRest", least.at_rest, got.at_rest),
            ("source", least.source_key_control, got.source_key_control),
        )
        if low and not high
    ]
    if least.protections and (not got.protections or set(got.protections) - set(least.protections)):
        weaker.append("protections")
    if weaker:
        raise ContractError(f"{place} requires less than {than} in {', '.join(dict.fromkeys(weaker))}")


def _known(entry: Mapping[Any, Any], known: Sequence[str], place: str) -> None:
    unknown = [key for key in entry if key not in known]
    if unknown:
        raise ContractError(f"{place}: unknown key {unknown[0]!r}, expected one of {', '.join(known)}")


def _word(entry: Mapping[str, Any], key: str, words: Mapping[str, Any], place: str) -> Any:
    value = entry[key]
    if not isinstance(value, str) or value not in words:
        raise ContractError(f"{place}: {key} {value!r}, expected one of {', '.join(words)}")
    return words[value]

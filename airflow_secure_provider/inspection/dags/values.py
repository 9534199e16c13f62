"""The values of expressions as far as the source tells them."""

from __future__ import annotations

import ast
import itertools
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from .model import HOLE, UNKNOWN

_PERCENT = re.compile(r"%(?:\((?P<name>\w+)\))?[sdrif]")
_BRACES = re.compile(r"(?<!\{)\{(?P<name>[\w.\[\]]*)[!:]*[\w.]*\}(?!\})")
_CALLS_THAT_KEEP = {"str", "Path", "PurePosixPath", "dict"}


def constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that are bound once in the file, and to an expression: no parameter, no loop."""
    bound: Counter[str] = Counter()
    found: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound[node.id] += 1
        elif isinstance(node, ast.arg):
            bound[node.arg] += 1
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return {name: value for name, value in found.items() if bound[name] == 1}


def evaluate(node: ast.expr, names: Mapping[str, ast.expr], depth: int = 8) -> Any:
    """:return: a literal; ``UNKNOWN`` for what only a run tells, ``HOLE`` for that in a text."""
    if depth == 0:
        return UNKNOWN

    def inner(each: ast.expr) -> Any:
        return evaluate(each, names, depth - 1)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return inner(names[node.id]) if node.id in names else UNKNOWN
        case ast.JoinedStr():
            return "".join(_text(inner(each)) for each in node.values)
        case ast.FormattedValue():
            return inner(node.value) if node.conversion == -1 and node.format_spec is None else UNKNOWN
        case ast.List() | ast.Tuple() | ast.Set():
            return [inner(each) for each in node.elts]
        case ast.Dict():
            return _mapping(node, names, depth)
        case ast.UnaryOp(op=ast.Not()) | ast.Compare():
            return UNKNOWN
        case ast.BinOp(op=ast.Add() | ast.Div()):
            left, right = inner(node.left), inner(node.right)
            if isinstance(left, list) and isinstance(right, list):
                return left + right
            if isinstance(left, str) or isinstance(right, str):
                joint = "/" if isinstance(node.op, ast.Div) else ""
                return _text(left) + joint + _text(right)
            return UNKNOWN
        case ast.BinOp(op=ast.Mod()):
            return _filled(inner(node.left), _PERCENT, inner(node.right))
        case ast.Call(func=ast.Attribute(attr="format", value=text)):
            named = {each.arg: inner(each.value) for each in node.keywords if each.arg is not None}
            return _filled(inner(text), _BRACES, dict(enumerate(map(inner, node.args))) | named)
        case ast.Subscript(value=mapping, slice=key):
            return _item(inner(mapping), inner(key))
        case ast.Call(func=ast.Attribute(attr="get", value=mapping), args=[key]):
            return _item(inner(mapping), inner(key))
        case ast.NamedExpr():
            return inner(node.value)
        case ast.Call(func=ast.Attribute(attr="strip" | "lstrip" | "rstrip", value=text)):
            return inner(text)
        case ast.Call(func=ast.Name(id=name), args=[only], keywords=[]) if name in _CALLS_THAT_KEEP:
            return inner(only)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return {each.arg: inner(each.value) for each in keywords if each.arg is not None}
    return UNKNOWN


def _mapping(node: ast.Dict, names: Mapping[str, ast.expr], depth: int) -> Any:
    made: dict[Any, Any] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        told = evaluate(value, names, depth - 1)
        if key is None:
            if not isinstance(told, dict):
                return UNKNOWN
            made.update(told)
            continue
        named = evaluate(key, names, depth - 1)
        if isinstance(named, str | int):
            made[named] = told
    return made


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else HOLE


def _filled(text: Any, places: re.Pattern[str], given: Any) -> Any:
    """A text whose places are filled, by holes where only a run tells with what."""
    if not isinstance(text, str):
        return UNKNOWN
    by_name = (
        given if isinstance(given, dict) else dict(enumerate(given if isinstance(given, list) else [given]))
    )
    numbers = itertools.count()

    def value(place: re.Match[str]) -> str:
        name = place["name"] or ""
        return _text(by_name.get(int(name) if name.isdigit() else name or next(numbers), UNKNOWN))

    return places.sub(value, text)


def _item(container: Any, key: Any) -> Any:
    if isinstance(container, dict) and isinstance(key, str | int):
        return container.get(key, UNKNOWN)
    if isinstance(container, list) and isinstance(key, int) and -len(container) <= key < len(container):
        return container[key]
    return UNKNOWN


def is_told(value: Any) -> bool:
    """A text that is whole: no part of it is a template or left to the run."""
    return isinstance(value, str) and HOLE not in value and "{{" not in value and "{%" not in value


def texts(value: Any) -> list[str]:
    """All texts in a value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in texts(each)]
    if isinstance(value, list | tuple | set | frozenset):
        return [text for each in value for text in texts(each)]
    return []

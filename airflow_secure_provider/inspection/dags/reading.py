"""A DAG file's source, as what the rules see."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .model import UNKNOWN, Argument, Call, Literal, Place, Seen
from .transfers import is_known
from .values import constants, evaluate

_SETS_BY_NAME = {
    "set",
    "get",
    "getenv",
    "setdefault",
    "setenv",
    "putenv",
    "setattr",
    "pop",
    "set_variable",
    "V1EnvVar",
}
_PASSES_NAME_ON = {
    "Param",
    "str",
    "bytes",
    "SecretStr",
    "SecretBytes",
    "quote",
    "quote_plus",
    "field",
    "encode",
    "strip",
    "b64decode",
    "urlsafe_b64decode",
    "fromhex",
    "Fernet",
}
_VALUES = {"default", "default_var", "default_value", "value"}
_MAPPING = {"expand", "expand_kwargs"}


def read_source(text: str, path: str, folder: Path | None) -> Seen:
    """:raises SyntaxError: and ValueError, RecursionError: if it is no Python that this interpreter reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes; they are no matter of security, and quote the line
        tree = ast.parse(text)
    reader = _Reader(tree)
    for statement in tree.body:
        reader.walk(statement)
    return Seen(
        path,
        folder,
        tuple(_with_defaults(reader.calls)),
        tuple(reader.literals),
        tuple(reader.attributes),
    )


class _Reader:
    def __init__(self, tree: ast.Module) -> None:
        self.calls: list[Call] = []
        self.literals: list[Literal] = []
        self.attributes: list[tuple[str, Place]] = []
        self._names = constants(tree)
        self._imports = _imports(tree)
        self._name_classes(tree)

    def _name_classes(self, tree: ast.Module) -> None:
        """A class of the file's own that is an operator which moves data goes by that one's name."""
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for base in map(self._dotted, node.bases):
                    if is_known(base):
                        self._imports[node.name] = base
                        break

    def walk(self, node: ast.AST, name: str | None = None, within: str | None = None) -> None:
        """:param name: what the value stands under."""
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                return  # documentation
            case ast.Constant() | ast.JoinedStr() | ast.BinOp() | ast.Name():
                self._used(node)
                self._value(node, name, within)
            case ast.NamedExpr(target=ast.Name(id=bound), value=value):
                self.walk(value, bound)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=value) if value is not None:
                self._assign(target, value)
            case ast.Dict():
                self._mapping(node, name, within)
            case ast.Call():
                self._call(node, name, within)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                self._function(node)
            case ast.Subscript():
                self.walk(node.value)
                self.walk(node.slice)
            case ast.Attribute():
                self._attribute(node)
            case ast.IfExp():
                self.walk(node.test)
                self.walk(node.body, name, within)
                self.walk(node.orelse, name, within)
            case ast.List() | ast.Tuple() | ast.Set() | ast.BoolOp() | ast.Starred():
                for each in ast.iter_child_nodes(node):
                    self.walk(each, name, within)
            case _:
                for each in ast.iter_child_nodes(node):
                    self.walk(each)

    def _used(self, node: ast.expr) -> None:
        """``CERT_NONE``, imported by its name or another."""
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in self._imports:
            self.attributes.append((self._imports[node.id], _place(node)))

    def _value(self, node: ast.expr, name: str | None, within: str | None) -> None:
        if isinstance(node, ast.Name) and (name is None or not isinstance(node.ctx, ast.Load)):
            return
        told = evaluate(node, self._names)
        if isinstance(told, bytes):
            told = told.decode("latin-1")
        if isinstance(told, str | bool):
            parts = [each for each in ast.walk(node) if isinstance(each, ast.Name) and each.id in self._names]
            origins = [
                *(() if isinstance(node, ast.Name) else (node,)),
                *(self._names[each.id] for each in parts),
            ]
            self.literals.append(Literal(name, told, within, _place(node), tuple(map(_place, origins))))
        if isinstance(node, ast.JoinedStr | ast.BinOp):
            for each in ast.walk(node):  # calls inside count; their texts are part of this one
                if isinstance(each, ast.Call):
                    self._call(each, None, within)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                self.walk(value, name)
            case ast.Subscript(value=mapping, slice=key):
                self.walk(mapping)
                told = evaluate(key, self._names)
                self.walk(value, told if isinstance(told, str) else None)
            case ast.Tuple(elts=targets) if isinstance(value, ast.Tuple) and len(targets) == len(value.elts):
                for each, given in zip(targets, value.elts, strict=True):
                    self._assign(each, given)
            case _:
                self.walk(value)

    def _mapping(self, node: ast.Dict, name: str | None, within: str | None) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            told = evaluate(key, self._names) if key is not None else None
            self.walk(value, told if isinstance(told, str) else name, within)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        given = node.args
        positional = [*given.posonlyargs, *given.args]
        pairs = [
            *zip(positional[len(positional) - len(given.defaults) :], given.defaults, strict=True),
            *zip(given.kwonlyargs, given.kw_defaults, strict=True),
        ]
        for argument, default in pairs:
            if default is not None:
                self.walk(default, argument.arg)
        if isinstance(node, ast.Lambda):
            self.walk(node.body)
            return
        for each in (*node.decorator_list, *node.body):
            self.walk(each)

    def _attribute(self, node: ast.Attribute) -> None:
        dotted = self._dotted(node)
        if not dotted.startswith("?"):
            self.attributes.append((dotted, _place(node)))
        self.walk(node.value)

    def _call(self, node: ast.Call, name: str | None, within: str | None) -> None:
        keywords, positional, called = list(node.keywords), list(node.args), node.func
        if (
            isinstance(called, ast.Attribute)
            and called.attr in _MAPPING
            and isinstance(called.value, ast.Call)
        ):
            inner = called.value.func
            if isinstance(inner, ast.Attribute) and inner.attr == "partial":  # a mapped operator
                mapped = positional if called.attr == "expand_kwargs" else []
                keywords, called = [*called.value.keywords, *keywords], inner.value
                keywords += [ast.keyword(None, each) for each in mapped]
        keywords, called = self._partial(keywords, called)
        dotted = self._dotted(called)
        bare = dotted.rpartition(".")[2]
        if bare == "format" and isinstance(called, ast.Attribute):
            self._value(node, name, within)
        arguments, complete = self._arguments(positional, keywords)
        self.calls.append(Call(bare, dotted, arguments, complete, _place(node)))
        if isinstance(called, ast.Attribute):
            self._attribute(called) if bare not in _PASSES_NAME_ON else self.walk(called.value, name, within)
        self._named_arguments(positional, bare, name)
        beside = self._beside(positional, keywords, bare)
        for keyword in keywords:
            self.walk(
                keyword.value, (beside or name) if keyword.arg in _VALUES else keyword.arg or name, bare
            )

    def _partial(self, keywords: list[ast.keyword], called: ast.expr) -> tuple[list[ast.keyword], ast.expr]:
        """Of a name that stands for ``functools.partial(Operator, …)`` the operator, with what it is given there."""
        bound = self._names.get(called.id) if isinstance(called, ast.Name) else None
        if isinstance(bound, ast.Call) and bound.args and self._dotted(bound.func) == "functools.partial":
            return [*bound.keywords, *keywords], bound.args[0]
        return keywords, called

    def _beside(self, positional: list[ast.expr], keywords: list[ast.keyword], bare: str) -> str | None:
        """The name that another argument gives to a value: ``V1EnvVar(name="DB_PASSWORD", value="…")``."""
        given = [each.value for each in keywords if each.arg in ("key", "name")]
        if positional and bare in _SETS_BY_NAME:
            given.insert(0, positional[0])
        told = evaluate(given[0], self._names) if given else None
        return told if isinstance(told, str) else None

    def _named_arguments(self, positional: list[ast.expr], bare: str, name: str | None) -> None:
        """``os.environ.get("DB_PASSWORD", "…")`` names its second argument by its first."""
        before = 1 if bare == "setattr" else 0  # the object goes first
        first = evaluate(positional[before], self._names) if len(positional) > before + 1 else None
        for number, each in enumerate(positional):
            if bare in _PASSES_NAME_ON and number == 0:
                self.walk(each, name, bare)
            elif bare in _SETS_BY_NAME and number == before + 1 and isinstance(first, str):
                self.walk(each, first, bare)
            else:
                self.walk(each, None, bare)

    def _arguments(
        self, positional: list[ast.expr], keywords: list[ast.keyword]
    ) -> tuple[dict[str, Argument], bool]:
        complete = True
        found = {
            str(number): Argument(evaluate(each, self._names), _place(each))
            for number, each in enumerate(positional)
        }
        for keyword in keywords:
            told = evaluate(keyword.value, self._names)
            if keyword.arg is not None:
                found[keyword.arg] = Argument(told, _place(keyword.value))
            elif isinstance(told, list) and told and all(isinstance(each, dict) for each in told):
                names = {name for each in told for name in each}  # of expand_kwargs: a mapping for each
                place = _place(keyword.value)
                found |= {
                    str(name): Argument([each.get(name, UNKNOWN) for each in told], place) for name in names
                }
            elif isinstance(told, dict):
                found |= {str(key): Argument(value, _place(keyword.value)) for key, value in told.items()}
            else:
                complete = False
        return found, complete

    def _dotted(self, node: ast.expr, depth: int = 4) -> str:
        match node:
            case ast.Name(id=name):
                bound = self._names.get(name)
                if name not in self._imports and isinstance(bound, ast.Name | ast.Attribute) and depth:
                    return self._dotted(bound, depth - 1)  # another name for it
                return self._imports.get(name, name)
            case ast.Attribute(value=value, attr=attr):
                before = self._dotted(value, depth)
                return f"{before}.{attr}"
            case ast.Call(func=called):
                return self._dotted(called, depth)
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                return self._of_mapping(self._names.get(name), evaluate(key, self._names), depth)
        return "?"

    def _of_mapping(self, mapping: ast.expr | None, wanted: Any, depth: int) -> str:
        """``OPERATORS["load"]``; if the key is not told, the first that moves data."""
        if not isinstance(mapping, ast.Dict) or not depth:
            return "?"
        named = {
            evaluate(key, self._names): self._dotted(value, depth - 1)
            for key, value in zip(mapping.keys, mapping.values, strict=True)
            if isinstance(key, ast.Constant)
        }
        if isinstance(wanted, str | int):
            return named.get(wanted, "?")
        return next(filter(is_known, named.values()), "?")


def _with_defaults(calls: list[Call]) -> list[Call]:
    """What the file's DAGs give to each task that says nothing else."""
    defaults: dict[str, Argument] = {}
    for call in calls:
        given = call.arguments.get("default_args")
        if given is not None and isinstance(given.value, Mapping):
            defaults |= {str(key): Argument(value, given.place) for key, value in given.value.items()}
    if not defaults:
        return calls
    return [
        Call(call.name, call.qualified, defaults | dict(call.arguments), call.complete, call.place)
        if "task_id" in call.arguments
        else call
        for call in calls
    ]


def _imports(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                found[each.asname or each.name.partition(".")[0]] = (
                    each.name if each.asname else each.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            for each in node.names:
                found[each.asname or each.name] = f"{node.module or ''}.{each.name}"
    return found


def _place(node: ast.AST) -> Place:
    return Place(
        getattr(node, "lineno", 0),
        getattr(node, "col_offset", -1) + 1,
        getattr(node, "end_lineno", 0) or 0,
        getattr(node, "end_col_offset", 0) or 0,
    )

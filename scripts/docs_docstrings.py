"""For `make docs`: docstrings as the pages need them.

1. reST inside of them becomes Markdown: roles, and ``::`` before a block of code.
2. An operator's arguments are its own and those of its bases, with types and defaults.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":[a-z]+:`~?(?:[\w.]*\.)?(\w+)`")
_BLOCK = re.compile(r"(?m)(^|\S)::$")


class Docstrings(griffe.Extension):
    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for each in _all(pkg):
            if each.docstring is not None:
                each.docstring.value = _markdown(each.docstring.value)
        operators = pkg["operators"]
        wanted = [operators.members[name].final_target for name in operators.exports]
        merged = {each.path: _arguments(each) for each in wanted}
        for each in wanted:  # after all were looked at, since one may be another's base
            _set_arguments(each, merged[each.path])


def _all(parent: griffe.Object) -> list[griffe.Object]:
    own = [each for each in parent.members.values() if isinstance(each, griffe.Object)]
    return [parent, *(found for each in own for found in _all(each))]


def _markdown(text: str) -> str:
    return _BLOCK.sub(lambda match: match[1] + ":" if match[1] else "", _ROLE.sub(r"`\1`", text))


def _arguments(operator: griffe.Class) -> list[griffe.Parameter]:
    """Required ones first; nothing of Airflow's BaseOperator, which is not loaded."""
    found: dict[str, griffe.Parameter] = {}
    for each in (operator, *operator.mro()):
        init = each.members.get("__init__")
        for parameter in init.parameters if isinstance(init, griffe.Function) else ():
            if parameter.kind is griffe.ParameterKind.keyword_only:
                found.setdefault(parameter.name, parameter)
    return sorted(found.values(), key=lambda parameter: not parameter.required)


def _set_arguments(operator: griffe.Class, arguments: list[griffe.Parameter]) -> None:
    if "__init__" not in operator.members:
        operator.set_member("__init__", griffe.Function("__init__"))
    operator.members["__init__"].parameters = griffe.Parameters(*arguments)

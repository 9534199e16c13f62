"""YAML in which no key stands twice: the second one would take the first one's place without a word."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from ..errors import ContractError


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise ContractError(
                        f"key {key!r} stands twice, the second time in line {line}; remove one"
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def strict_yaml(text: str | bytes, where: str) -> Any:
    """:raises ContractError: naming *where*, for what is no YAML, and for a key that stands twice."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ContractError(f"{where} is not YAML{line} ({type(error).__name__})") from None

"""``python -m benchmarks [GROUP …]``: all groups, or the ones named."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks


def groups() -> list[str]:
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_"
    )


def main(chosen: Sequence[str]) -> int:
    unknown = [name for name in chosen if name not in groups()]
    if unknown:
        print(f"no benchmark group {unknown[0]!r}; there are {', '.join(groups())}", file=sys.stderr)
        return 2
    for group in chosen or groups():
        for name, value in importlib.import_module(f"benchmarks.{group}").figures():
            print(f"bench {group}.{name} {value:.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

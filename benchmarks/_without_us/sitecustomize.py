"""For an Airflow to compare with: this package is installed, and Airflow does not find it."""

from __future__ import annotations

import contextlib
import importlib.metadata
from typing import Any


def hide(module: Any) -> None:
    every = module.distributions

    def others(**chosen: Any) -> Any:
        return (each for each in every(**chosen) if each.name != "airflow-secure-provider")

    module.distributions = others


hide(importlib.metadata)
with contextlib.suppress(ImportError):  # Airflow takes the backport, where there is one
    import importlib_metadata

    hide(importlib_metadata)

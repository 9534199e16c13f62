"""A version of an SDK that is not as it was: the task imports it all the same, and nothing is seen of it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest

from airflow_secure_provider.lineage.watching import azure, copying, databases, gcs, install, kafka, s3


@pytest.mark.parametrize(
    "installed",
    [
        s3._watch_handlers,
        databases._watch_hooks,
        databases._watch_engines,
        copying._watch_copies,
        gcs._watch_sessions,
        azure._watch_transport,
        kafka.watch_kafka,
    ],
)
def test_a_module_without_what_is_watched(installed: Callable[[ModuleType], None]) -> None:
    installed(ModuleType("changed"))


@pytest.mark.parametrize("sdk", install._SDKS)
def test_what_watches_an_sdk_is_where_it_is_looked_for(sdk: str) -> None:
    module, _, name = install._SDKS[sdk].partition(":")
    assert callable(getattr(import_module(f"{install.__package__}.{module}"), name))

"""A version of an SDK that is not as it was: the task imports it all the same, and nothing is seen of it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from airflow_secure_provider.lineage import (
    copying,
    watching,
    watching_azure,
    watching_databases,
    watching_gcs,
    watching_kafka,
)


@pytest.mark.parametrize(
    "installed",
    [
        watching._watch_s3,
        watching_databases._watch_hooks,
        watching_databases._watch_engines,
        copying._watch_copies,
        watching_gcs._watch_sessions,
        watching_azure._watch_transport,
        watching_kafka.watch_kafka,
    ],
)
def test_a_module_without_what_is_watched(installed: Callable[[ModuleType], None]) -> None:
    installed(ModuleType("changed"))


@pytest.mark.parametrize("sdk", watching._SDKS)
def test_what_watches_an_sdk_is_where_it_is_looked_for(sdk: str) -> None:
    module, _, name = watching._SDKS[sdk].partition(":")
    assert callable(
        getattr(
            {
                "watching_gcs": watching_gcs,
                "watching_azure": watching_azure,
                "watching_kafka": watching_kafka,
            }[module],
            name,
        )
    )

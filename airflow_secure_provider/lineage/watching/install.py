"""Begins to watch: S3 through botocore, databases through their hooks, others through their SDKs."""

from __future__ import annotations

import functools
import logging
from typing import Any

import wrapt

from ..observations import OBSERVED
from .copying import watch_copies
from .databases import watch_databases
from .s3 import watch_s3

log = logging.getLogger(__name__)

# Of most tasks none is imported, and then what watches it is not either.
_SDKS = {
    "google.cloud.storage": "gcs:watch_gcs",
    "azure.storage.blob": "azure:watch_azure",
    # All classes of confluent_kafka are made of two, which it takes from here.
    "confluent_kafka.cimpl": "kafka:watch_kafka",
}
_installed = False


def watch() -> None:
    """From now on, in this process and its forks; once."""
    global _installed
    if _installed:
        return
    _installed = True
    OBSERVED.declared = _declared
    watch_s3()
    watch_databases()
    watch_copies()
    for sdk, watcher in _SDKS.items():
        wrapt.register_post_import_hook(f"{__package__}.{watcher}", sdk)


@functools.cache
def _declared() -> dict[str, Any]:
    from airflow.sdk.configuration import conf

    from ...errors import ConfigurationError
    from ..declarations import declarations

    try:
        return declarations(conf.get("secure_provider", "declared_at_rest", fallback="") or "{}")
    except ConfigurationError as error:
        log.warning("%s", error)
        return {}

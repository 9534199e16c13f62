"""Watches the hooks of stock operators in a task's own process: S3 through botocore, PostgreSQL through its hook and SQLAlchemy.

Nothing here may fail a task, or send a request or a statement of its own.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from ..model import Evidence, InTransit
from ..stores.s3 import observed
from ..stores.s3_writing import connection_of
from ..stores.tls import transport_of
from .copying import watch_copies
from .observations import OBSERVED

log = logging.getLogger(__name__)

# Whose answers say how the object that they name is encrypted.
_TELLING = frozenset(
    {"GetObject", "HeadObject", "PutObject", "CopyObject", "CreateMultipartUpload", "CompleteMultipartUpload"}
)
_MAKING = frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload"})
_CONTEXT = "secure_provider"
_installed = False


def watch() -> None:
    """From now on, in this process and its forks; once."""
    global _installed
    if _installed:
        return
    _installed = True
    OBSERVED.declared = _declared
    _watch_s3()
    _watch_postgres()
    watch_copies()


def _watch_s3() -> None:
    from botocore import handlers

    # Every session that is made from now on has them.
    handlers.BUILTIN_HANDLERS += [
        ("before-parameter-build.s3", _remember_names),
        ("after-call.s3", _look_at_answer),
    ]


def _remember_names(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context[_CONTEXT] = params.get("Bucket"), params.get("Key")


def _look_at_answer(http_response: Any, parsed: Any, model: Any, context: Any, **_: Any) -> None:
    try:
        bucket, key = (context or {}).get(_CONTEXT) or (None, None)
        if not isinstance(bucket, str):
            return
        body = parsed.get("Body") if isinstance(parsed, dict) else None
        raw = getattr(getattr(body, "_raw_stream", None), "connection", None)
        in_transit = transport_of(raw or connection_of(http_response))
        name = key if isinstance(key, str) else ""
        if in_transit.evidence is not Evidence.UNKNOWN:
            OBSERVED.travelled(f"s3://{bucket}", name, in_transit)
        if model.name in _TELLING and name and http_response.status_code < 300:
            OBSERVED.stored(f"s3://{bucket}", name, observed(parsed))
            if model.name in _MAKING:
                OBSERVED.wrote(f"s3://{bucket}", name)
    except Exception as error:  # noqa: BLE001 (a task must not fail by being watched)
        log.debug("an answer of S3 was not looked at: %s", type(error).__name__)


def _watch_postgres() -> None:
    try:
        from airflow.providers.postgres.hooks.postgres import PostgresHook
    except ImportError:
        return
    original = PostgresHook.get_conn

    @functools.wraps(original)
    def get_conn(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection = original(self, *args, **kwargs)
        _look_at_connection(connection)
        return connection

    PostgresHook.get_conn = get_conn
    # What reads data frames goes by way of SQLAlchemy, and not through get_conn.
    from sqlalchemy import event, pool

    event.listen(pool.Pool, "connect", lambda connection, record: _look_at_connection(connection))


def _look_at_connection(connection: Any) -> None:
    """psycopg 3 and 2 both know; the server is not asked, since that would begin a transaction."""
    try:
        info = connection.info
        pgconn = getattr(connection, "pgconn", None)
        encrypted = bool(pgconn.ssl_in_use if pgconn is not None else info.ssl_in_use)
        parameters = info.get_parameters() if pgconn is not None else info.dsn_parameters
        namespace = f"postgres://{info.host}:{info.port}"
        if not encrypted:
            OBSERVED.travelled(namespace, "", InTransit(protocol="none", evidence=Evidence.OBSERVED))
            return
        attribute = getattr(info, "ssl_attribute", None)
        OBSERVED.travelled(
            namespace,
            "",
            InTransit(
                protocol=(attribute("protocol") if attribute else None) or "TLS",
                cipher=attribute("cipher") if attribute else None,
                peer_verified=parameters.get("sslmode") == "verify-full",
                evidence=Evidence.OBSERVED,
            ),
        )
    except Exception as error:  # noqa: BLE001 (a task must not fail by being watched)
        log.debug("a connection to PostgreSQL was not looked at: %s", type(error).__name__)


@functools.cache
def _declared() -> dict[str, Any]:
    from airflow.sdk.configuration import conf

    from ..errors import ConfigurationError
    from .declarations import declarations

    try:
        return declarations(conf.get("secure_provider", "declared_at_rest", fallback="") or "{}")
    except ConfigurationError as error:
        log.warning("%s", error)
        return {}

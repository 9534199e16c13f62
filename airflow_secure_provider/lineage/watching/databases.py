"""Watches how database hooks connect: every DbApiHook whose driver shows its socket, PostgreSQL's above all, and SQLAlchemy."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import wrapt

from ...model import Evidence, InTransit
from ...stores.tls import transport_of
from ..observations import OBSERVED
from .harmless import harmless

log = logging.getLogger(__name__)

# Where drivers in Python keep their socket: PyMySQL; redshift_connector and pg8000; MySQL Connector/Python.
_SOCKETS = ("_sock", "_usock", "_socket.sock")


def watch_databases() -> None:
    """From now on in this process and its forks; each module when the task imports it, since most tasks need none."""
    wrapt.register_post_import_hook(_watch_hooks, "airflow.providers.common.sql.hooks.sql")
    wrapt.register_post_import_hook(_watch_engines, "sqlalchemy.pool")


@harmless
def _watch_hooks(module: Any) -> None:
    """All that there are, and all that come to be."""
    base = module.DbApiHook
    waiting: list[type] = [base]
    while waiting:
        each = waiting.pop()
        _wrap(each)
        waiting += each.__subclasses__()
    original = vars(base).get("__init_subclass__")

    def init_subclass(cls: Any, /, **kwargs: Any) -> None:
        if original is not None:
            original.__get__(None, cls)(**kwargs)
        else:  # of the other bases that it may have
            super(base, cls).__init_subclass__(**kwargs)
        _wrap(cls)

    base.__init_subclass__ = classmethod(init_subclass)


@harmless
def _watch_engines(module: Any) -> None:
    """What reads data frames goes by way of SQLAlchemy, and not through get_conn."""
    from sqlalchemy import event

    event.listen(module.Pool, "connect", lambda connection, record: look_at_connection(None, connection))


def look_at_connection(hook: Any, connection: Any) -> None:
    """
    :param hook: that has made it; ``None`` if that is not known, and then only PostgreSQL's tell where they lead.
    """
    try:
        in_postgres = hasattr(connection, "info") and (
            hasattr(connection, "pgconn") or hasattr(connection.info, "dsn_parameters")
        )
        if in_postgres:
            _look_at_postgres(connection)
        elif hook is not None:
            _look_at_socket(hook, connection)
    except Exception as error:  # noqa: BLE001 (a task must not fail by being watched)
        log.debug("a database connection was not looked at: %s", type(error).__name__)


def _wrap(hook: type) -> None:
    """The method, if the class has one of its own."""
    original: Callable[..., Any] | None = vars(hook).get("get_conn")
    if original is None:
        return

    @functools.wraps(original)
    def get_conn(self: Any, *args: Any, **kwargs: Any) -> Any:
        connection = original(self, *args, **kwargs)
        look_at_connection(self, connection)
        return connection

    hook.get_conn = get_conn  # type: ignore[attr-defined]  # of a class that has one


def _look_at_postgres(connection: Any) -> None:
    """psycopg 3 and 2 both know; the server is not asked, since that would begin a transaction."""
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


def _look_at_socket(hook: Any, connection: Any) -> None:
    for name in _SOCKETS:
        try:
            socket = attrgetter(name)(connection)
        except AttributeError:
            continue
        in_transit = transport_of(SimpleNamespace(sock=socket))
        if in_transit.evidence is Evidence.UNKNOWN:
            continue
        from airflow.providers.openlineage.sqlparser import SQLParser

        about = hook.get_openlineage_database_info(hook.connection)
        if about is not None:
            OBSERVED.travelled(SQLParser.create_namespace(about), "", in_transit)
        return

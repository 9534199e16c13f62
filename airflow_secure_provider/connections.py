"""For authors: a connection with a credential that lives, in tasks that outlive one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import leases

if TYPE_CHECKING:
    from airflow.sdk import Connection


def get_connection(conn_id: str, *, fresh: bool = False) -> Connection:
    """
    The Airflow connection; of a dynamic one, with the credential that this task has.

    :param fresh: take another credential, because the one at hand was refused or revoked. The old one is not cut short,
        and ends with the task.
    :raises AirflowNotFoundException: and what else looking a connection up raises.
    """
    from airflow.sdk.bases.hook import BaseHook

    if fresh:
        leases.BOOK.retire(conn_id)
    return BaseHook.get_connection(conn_id)


def resolve_connections(task: Any) -> None:
    """
    Look up, with our backend only, what a task's rendered ``*conn_id`` fields name: its leases are taken, and forks
    inherit them.

    :raises AirflowSecretsBackendAccessDenied: if one is not to be had.
    """
    backend = vault_backend()
    conn_ids = {
        value
        for name, value in vars(task).items()
        if name.endswith("conn_id") and value and isinstance(value, str)
    }
    failures = []
    for conn_id in sorted(conn_ids) if backend is not None else ():
        try:
            backend.get_conn_value(conn_id)
        except Exception as error:  # noqa: BLE001 (raised below: one that is denied keeps no other from its lease)
            failures.append(error)
    if failures:
        raise failures[0]


def vault_backend() -> Any:
    """The VaultSecretsBackend that this process asks, known by its shape: what defines it is above this module. None without."""
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    return next((each for each in ensure_secrets_backend_loaded() if hasattr(each, "for_inspection")), None)


def connect_postgres(conn_id: str) -> Any:
    """
    A new psycopg connection; if PostgreSQL refuses the login, once more with a fresh credential.

    For a password that was changed under a static role, or a user that was dropped before its time.

    :raises psycopg.OperationalError: if it is refused again, or for any other reason.
    """
    import psycopg
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    try:
        return PostgresHook(postgres_conn_id=conn_id).get_conn()
    except psycopg.OperationalError as error:
        if not _is_refused_login(error) or not leases.BOOK.retire(conn_id):
            raise
    return PostgresHook(postgres_conn_id=conn_id).get_conn()


def aws_config(hook: Any) -> Any:
    """
    The connection that an AWS hook has looked up.

    :raises ConfigurationError: if it is not defined: the hook would go on as whoever the machine is, with a warning only.
        `aws_default` need not be, which says just that.
    """
    from .errors import ConfigurationError

    config = hook.conn_config
    if hook.aws_conn_id and hook.aws_conn_id != hook.default_conn_name and not config:
        raise ConfigurationError(
            f"there is no connection {hook.aws_conn_id!r}: define it in Airflow; the machine's own credentials, which would take "
            f"its place, count for {hook.default_conn_name!r} only"
        )
    return config


class LeasedPostgres:
    """
    A PostgreSQL connection for a task that outlives its credentials::

        with LeasedPostgres("crm") as crm:
            for day in days:
                with crm.transaction() as connection:
                    connection.execute(...)

    Each transaction runs on a connection whose user lives: it is opened anew when the credential was replaced, when the
    connection broke, or when PostgreSQL no longer takes it. What a transaction has begun is never repeated.

    :param conn_id: a connection of the PostgreSQL provider.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self._connection: Any = None
        self._login: str | None = None

    def __enter__(self) -> LeasedPostgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connection(self) -> Any:
        """One that is open, under the credential of now."""
        current = get_connection(self.conn_id).login
        if (
            self._connection is None
            or self._connection.closed
            or self._connection.broken
            or current != self._login
        ):
            self.close()
            self._connection = connect_postgres(self.conn_id)
            self._login = self._connection.info.user if current is not None else None
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Committed at the end of the block; rolled back if it raises."""
        connection = self.connection()
        with connection.transaction():
            yield connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_refused_login(error: Any) -> bool:
    """The driver has no SQLSTATE of what happens before there is a session, and its words are in the server's language.
    It does know whether the server had asked for a password, which is what comes before it refuses one."""
    pgconn = getattr(error, "pgconn", None)
    return pgconn is not None and bool(pgconn.used_password)

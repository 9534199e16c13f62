"""PostgreSQL quotes rows in its errors; these messages are rebuilt from SQLSTATE and names only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ..errors import LoadError, StoreError, StoreUnavailable, raise_alone

_IN_WORDS = {
    "22001": "a value is longer than the column allows; widen the column, or shorten the value in the source",
    "22003": "a number is out of the column's range; widen the column's type",
    "22021": "a text holds a zero byte or is not valid in the database's encoding; clean it in the source",
    "23502": "a value is missing where the table requires one",
    "23503": "a row refers to one that is not there",
    "23505": "a key stands twice, in the source or already in the table (mode='replace' empties it first)",
    "23514": "a row breaks a check of the table",
    "42501": (
        "the database user lacks a privilege: grant to it, or to the role in set_role=, SELECT on a table that is read; on "
        "one that is written INSERT (and for mode='replace' SELECT and DELETE); what airflow-secure db init --grant-to prints; "
        "USAGE on the schemas, and CREATE where create_table=True makes the table"
    ),
    "42P01": "a table is missing",
    "3F000": "a schema is missing",
    "53100": "the database's disk is full",
    "57014": "the statement was cancelled or ran into statement_timeout",
    "55P03": "another session holds a lock for longer than lock_timeout; it may work later",
    "25P03": "the transaction was idle for longer than idle_in_transaction_session_timeout; it may work later",
    "28P01": "user name or password are not accepted; a leased credential may have expired",
    "28000": "the server does not accept this user over this connection; it may require TLS",
}
_CAUSES = {
    "Connection refused": "nothing listens at that host and port",
    "could not translate host name": "the host's name is not known",
    "failed to resolve host": "the host's name is not known",
    "timeout expired": "the server did not answer in time",
    "No route to host": "there is no way to that host",
}
_TRANSIENT = ("08", "40", "53", "57P", "55P03", "25P03")


@contextmanager
def postgres_failures(where: str) -> Iterator[None]:
    """Turn psycopg's errors into ours, without their text, cause or context.

    :param where: the table or server, for messages.
    """
    failure: Exception | None = None
    try:
        yield
    except psycopg.Error as error:
        failure = explain(error, where)
    if failure is not None:
        raise_alone(failure)


def explain(error: psycopg.Error, where: str) -> StoreError:
    """Our error for one of psycopg's."""
    state = error.sqlstate
    if state is None:
        return _without_state(error, where)
    place = _place(error)
    remedy = _IN_WORDS.get(state, "see the PostgreSQL documentation of this code")
    message = f"{where}: PostgreSQL answered {type(error).__name__} (SQLSTATE {state}){place}: {remedy}"
    if state.startswith(_TRANSIENT):
        return StoreUnavailable(message + "; nothing was committed")
    if state.startswith(("22", "23")):
        return LoadError(message + "; nothing was committed")
    return StoreError(message)


def _without_state(error: psycopg.Error, where: str) -> StoreError:
    text = str(error)
    if "certificate verify failed" in text or "does not match host name" in text:
        return StoreError(
            f"{where}: the server's certificate does not verify: check host name and sslrootcert of the connection"
        )
    if "no pg_hba.conf entry" in text or "no encryption" in text:
        return StoreError(
            f"{where}: the server refuses this user over this connection; set sslmode=verify-full"
        )
    if "authentication failed" in text:
        return StoreError(f"{where}: {_IN_WORDS['28P01']}")
    if "root certificate file" in text or "certificate file" in text:
        return StoreError(
            f"{where}: a certificate file of the connection can't be read: check sslrootcert, sslcert and sslkey"
        )
    for sign, cause in _CAUSES.items():
        if sign in text:
            return StoreUnavailable(
                f"{where}: {cause}: is PostgreSQL running there? check host and port of the connection; nothing was committed"
            )
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return StoreUnavailable(
            f"{where}: the connection to PostgreSQL failed or broke ({type(error).__name__}); nothing was committed"
        )
    return StoreError(f"{where}: {type(error).__name__} in the PostgreSQL driver; nothing was committed")


def _place(error: psycopg.Error) -> str:
    diagnostic = error.diag
    names = []
    line = re.search(r"^COPY [^,]+, line (\d+)(?:, column ([^\s:]+))?", diagnostic.context or "")
    if line:
        names.append(f"record {int(line[1]):,}")
    column = diagnostic.column_name or (line[2] if line else None)
    if column:
        names.append(f"column {column!r}")
    if diagnostic.constraint_name:
        names.append(f"constraint {diagnostic.constraint_name!r}")
    return "".join(f", {name}" for name in names)

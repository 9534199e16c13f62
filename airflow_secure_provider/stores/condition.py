"""An SQL condition of an author's, held to be one."""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from ..errors import ConfigurationError, raise_alone
from .postgres_errors import postgres_failures


def checked_condition(
    connection: psycopg.Connection[object], table: sql.Identifier, where: str, condition: str
) -> sql.Composed:
    """The condition in parentheses, for a WHERE.

    1. Outside of quotes no parenthesis closes that it did not open, and nothing stands that starts a comment, another
       statement or another kind of quote.
    2. The server reads it as a value and as a condition over the table, each as one prepared statement.

    :param where: the table, for messages.
    :raises ConfigurationError: if it is more than a condition, or none.
    """
    if not is_closed(condition):
        raise ConfigurationError(
            f"where= is no condition over the rows of {where}: outside of quotes it may hold no ; -- /* $ or E'…', and its "
            "parentheses must match"
        )
    inside = sql.SQL("(\n{}\n)").format(sql.SQL(condition))
    forms = (
        sql.SQL("SELECT {}::boolean FROM {} LIMIT 0").format(inside, table),
        sql.SQL("SELECT 1 FROM {} WHERE {} LIMIT 0").format(table, inside),
    )
    wrong = ""
    with postgres_failures(where):
        try:
            for form in forms:
                with connection.transaction():
                    connection.execute(form, prepare=True)
        except (psycopg.ProgrammingError, psycopg.DataError) as error:
            if isinstance(error, InsufficientPrivilege):
                raise
            wrong = str(error.sqlstate)
    if wrong:
        raise_alone(
            ConfigurationError(
                f"where= is no condition over the rows of {where} (SQLSTATE {wrong}); try it in psql: SELECT … WHERE (…)"
            )
        )
    return inside


def is_closed(condition: str) -> bool:
    """Whether a piece of SQL is one piece: nothing in it ends what stands around it, or hides the rest."""
    depth, at = 0, 0
    while at < len(condition):
        character = condition[at]
        if character in "'\"":
            # E'…' has escapes, U&'…' too; a doubled quote is one of the text.
            if (character == "'" and condition[:at][-1:].isalnum()) or condition[:at][-1:] == "&":
                return False
            end = condition.find(character, at + 1)
            if end < 0:
                return False
            at = end + 1
            continue
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0 or character in ";$\0" or condition[at : at + 2] in ("--", "/*"):
            return False
        at += 1
    return depth == 0

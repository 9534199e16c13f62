"""A connection to the sandbox's database that no Vault knows of."""

from __future__ import annotations

import json
import secrets

from psycopg import sql

from sandbox.making import DATABASE
from sandbox.world import World


def connection_of_the_environment(world: World) -> str:
    """For ``AIRFLOW_CONN_…``: a login that may act as crm_owner."""
    password = secrets.token_urlsafe(16)
    with world.postgres.connect(dbname=DATABASE, autocommit=True) as connection:
        statement = sql.SQL("CREATE ROLE bench_env LOGIN NOINHERIT PASSWORD {} IN ROLE crm_owner")
        connection.execute(statement.format(password))
    return json.dumps(world.postgres.airflow_connection(DATABASE, login="bench_env", password=password))

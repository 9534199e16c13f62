"""What ``dags/secure_customers.py`` needs on its servers, whichever they are: the sandbox's, or those of the compose file.

Needs nothing but the package and its dependencies, so that it runs in the image of Airflow too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from airflow_secure_provider.stores.ddl import DDL, grants

DATABASE = "crm"
LAKE = "customer-lake"
KEYS = "keys-vault"
KEYSET = "customers.keyset.json"
LEASE_SECONDS = 900
DYNAMIC = {"crm": {"engine": "database", "role": "crm-loader", "template": "connections/crm"}}

_TABLES = """
CREATE SCHEMA crm AUTHORIZATION crm_owner;
CREATE SCHEMA analytics AUTHORIZATION crm_owner;
SET ROLE crm_owner;
CREATE TABLE crm.customers (id bigint PRIMARY KEY, first_name bytea, last_name bytea, email text, ssn bytea, phone text,
    card text, birth_date bytea, postcode text, amount numeric(12,2), notes bytea);
CREATE TABLE crm.orders (order_id bigint PRIMARY KEY, buyer_email text, ordered_on date NOT NULL, total numeric(12,2));
CREATE TABLE analytics.customers (id bigint PRIMARY KEY, email text, card text, birth_date smallint, postcode text,
    amount numeric(12,2));
RESET ROLE;
"""
_CREATION = "CREATE ROLE \"{{name}}\" LOGIN NOINHERIT PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE crm_owner"
_REVOCATION = 'DROP ROLE IF EXISTS "{{name}}"'
_POLICY = """
path "secret/data/connections/*" { capabilities = ["read"] }
path "secret/data/variables/*"   { capabilities = ["read"] }
path "database/creds/crm-loader" { capabilities = ["read"] }
path "sys/leases/revoke"         { capabilities = ["update"] }
"""


def make_tables(connection: Any, vault_password: str) -> None:
    """Roles and tables of the database, all or nothing.

    :param connection: to the database, as superuser.
    :param vault_password: of the role by which Vault makes logins.
    """
    with connection.transaction():
        connection.execute("CREATE ROLE crm_owner NOLOGIN")
        connection.execute(sql.SQL("CREATE ROLE vault LOGIN CREATEROLE PASSWORD {}").format(vault_password))
        connection.execute("GRANT crm_owner TO vault WITH ADMIN OPTION")
        connection.execute(_TABLES)
        connection.execute((DDL + grants("crm_owner")).encode())


def make_vault(
    client: Any,
    *,
    connection_url: str,
    vault_password: str,
    connections: Mapping[str, Mapping[str, Any]],
    more_policy: str = "",
) -> None:
    """Secrets, the database engine with its role, and an AppRole for Airflow, in a Vault with KV version 2 at ``secret/``.

    Done again it changes nothing but what is given.

    :param client: hvac's, with a token that may do all of it.
    :param connection_url: of the database as Vault reaches it, with ``{{username}}`` and ``{{password}}``.
    :param connections: Airflow's, by id.
    :param more_policy: what Airflow may do beside.
    """
    if "database/" not in client.sys.list_mounted_secrets_engines()["data"]:
        client.sys.enable_secrets_engine("database")
    client.secrets.database.configure(
        name="crm",
        plugin_name="postgresql-database-plugin",
        allowed_roles=["crm-loader"],
        connection_url=connection_url,
        username="vault",
        password=vault_password,
    )
    client.secrets.database.create_role(
        name="crm-loader",
        db_name="crm",
        creation_statements=[_CREATION],
        revocation_statements=[_REVOCATION],
        default_ttl=f"{LEASE_SECONDS}s",
        max_ttl="1h",
    )
    for name, connection in connections.items():
        client.secrets.kv.v2.create_or_update_secret(path=f"connections/{name}", secret=dict(connection))
    client.sys.create_or_update_policy("airflow", _POLICY + more_policy)
    if "approle/" not in client.sys.list_auth_methods()["data"]:
        client.sys.enable_auth_method("approle")
    client.auth.approle.create_or_update_approle(
        "airflow", token_policies=["airflow"], token_ttl="1h", token_max_ttl="2h"
    )


def new_secret_id(client: Any) -> str:
    """A secret id of Airflow's AppRole."""
    return str(client.auth.approle.generate_secret_id("airflow")["data"]["secret_id"])

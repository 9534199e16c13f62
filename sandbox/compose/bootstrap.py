"""Runs once in a container, before Airflow: databases, Vault, buckets, keys and encrypted objects for the demo.

Run again it finishes what was not finished, and unseals Vault, which is sealed after every start. Its root token is revoked
at the end. The unseal key stays in ``state/vault.json``: whoever has that file and Vault's storage has all of its secrets.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import boto3
import hvac
import psycopg
import requests
from botocore.config import Config
from botocore.exceptions import ClientError
from psycopg import sql

from airflow_secure_provider.crypto import keyset
from airflow_secure_provider.keyrings.vault_transit import TransitKeyring
from airflow_secure_provider.objects.encryption_sdk_keys import RawAesKey, writing_keys
from airflow_secure_provider.objects.encryption_sdk_writing import encrypted
from sandbox.data import CUSTOMER_COLUMNS, ORDER_COLUMNS, Canaries, as_csv, customers, orders
from sandbox.making import DATABASE, KEYS, KEYSET, LAKE, make_tables, make_vault, new_secret_id

CUSTOMERS = 20_000
ORDERS = 2_000
DAY = "2026-11-20"
ROLE_ID = "airflow-compose"  # a name, no secret: the secret id is
TRANSIT_KEY = "transit/keys/crm"
_REGION = "eu-central-1"
_LAKE_KEY = ("compose", "lake")
_MORE_POLICY = 'path "transit/decrypt/crm" { capabilities = ["update"] }\n'
_AWAIT_SECONDS = 60.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is, as the containers see it.

    :param ca: of all servers; at the same path in Vault, in Airflow and here.
    :param secrets: what ``make up`` has generated.
    :param state: for Vault's unseal key.
    :param airflow: for the secret id of Airflow's AppRole.
    """

    postgres_host: str
    postgres_port: int
    vault: str
    s3: str
    ca: Path
    secrets: Path
    state: Path
    airflow: Path

    @classmethod
    def of_environment(cls, given: Mapping[str, str]) -> Places:
        return cls(
            given.get("POSTGRES_HOST", "postgres"),
            int(given.get("POSTGRES_PORT", "5432")),
            given.get("VAULT_ADDR", "https://vault:8200"),
            given.get("S3_ENDPOINT", "https://s3:7070"),
            *(
                Path(given.get(name, default))
                for name, default in (
                    ("CA", "/run/secrets/ca.pem"),
                    ("SECRETS", "/run/secrets"),
                    ("STATE", "/state"),
                    ("AIRFLOW", "/airflow"),
                )
            ),
        )

    def said(self, name: str) -> str:
        return (self.secrets / name).read_text(encoding="utf-8")


def bootstrap(places: Places) -> None:
    vault = hvac.Client(url=places.vault, verify=str(places.ca), timeout=30)
    token = _unsealed(vault, places.state / "vault.json")
    if token is None:
        print("everything was made before; Vault is unsealed")
        return
    vault.token = token
    for name in ("airflow", "marquez"):
        _make_owner(places, name, places.said(f"{name}-db-password"))
    vault_password = _make_crm(places)
    print("PostgreSQL: databases and roles")
    lake_key = _make_vault(vault, places, vault_password)
    print("Vault: secrets, database engine, Transit key, AppRole")
    _make_objects(vault, places, lake_key)
    print("S3: buckets, keyset, encrypted objects")
    _write(places.airflow / "secret-id", new_secret_id(vault))
    vault.auth.token.revoke_self()
    _forget_token(places.state / "vault.json")
    print("done; Vault's root token is revoked")


# --- Vault --------------------------------------------------------------------------------------------------


def _unsealed(vault: Any, file: Path) -> str | None:
    """Initialise if need be, and unseal.

    :return: the root token, for as long as not everything has been made; None after that.
    """
    if not _eventually(vault.sys.is_initialized, (requests.RequestException, hvac.exceptions.VaultError)):
        made = vault.sys.initialize(secret_shares=1, secret_threshold=1)
        _write(file, json.dumps({"unseal_key": made["keys"][0], "root_token": made["root_token"]}))
    if not file.exists():
        raise SystemExit(
            f"Vault is initialised, and {file} with its unseal key is not there: "
            "bring it back, or begin anew without .compose/data and .compose/state"
        )
    kept = json.loads(file.read_text(encoding="utf-8"))
    if vault.sys.is_sealed():
        vault.sys.submit_unseal_key(kept["unseal_key"])

    def active() -> None:
        answer = requests.get(f"{vault.url}/v1/sys/health", verify=vault.session.verify, timeout=10)
        answer.raise_for_status()

    _eventually(active, (requests.RequestException,))
    token: str | None = kept.get("root_token")
    return token


def _make_vault(vault: Any, places: Places, password: str) -> RawAesKey:
    mounted = vault.sys.list_mounted_secrets_engines()["data"]
    if "secret/" not in mounted:
        vault.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    if "transit/" not in mounted:
        vault.sys.enable_secrets_engine("transit")
    vault.write_data("transit/keys/crm", data={"derived": True})
    namespace, name = _LAKE_KEY
    lake_key = _lake_key(vault)
    ca = {"sslmode": "verify-full", "sslrootcert": str(places.ca)}
    make_vault(
        vault,
        connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@{places.postgres_host}:{places.postgres_port}"
        f"/{DATABASE}?sslmode=verify-full&sslrootcert={places.ca}",
        vault_password=password,
        connections={
            "crm": {
                "conn_type": "postgres",
                "host": places.postgres_host,
                "port": places.postgres_port,
                "schema": DATABASE,
                "extra": ca,
            },
            "aws_default": {
                "conn_type": "aws",
                "login": places.said("s3-access-key"),
                "password": places.said("s3-secret-key"),
                "extra": {
                    "endpoint_url": places.s3,
                    "region_name": _REGION,
                    "verify": str(places.ca),
                    "config_kwargs": {"s3": {"addressing_style": "path"}},
                },
            },
            "lake_key": {
                "conn_type": "generic",
                "password": base64.b64encode(lake_key).decode(),
                "extra": {"key_namespace": namespace, "key_name": name},
            },
        },
        more_policy=_MORE_POLICY,
    )
    vault.secrets.database.rotate_root_credentials("crm")  # from here on only Vault knows this password
    vault.auth.approle.update_role_id("airflow", ROLE_ID)
    return RawAesKey(namespace, name, lake_key)


def _lake_key(vault: Any) -> bytes:
    """The key that wraps the objects' data keys: of the first run, since objects may be under it."""

    def kept() -> Any:
        return vault.secrets.kv.v2.read_secret_version(
            path="connections/lake_key", raise_on_deleted_version=True
        )

    try:
        # A new KV mount refuses everything for a moment ("Upgrading from non-versioned to versioned data").
        found = _eventually(kept, (hvac.exceptions.InvalidRequest,))
    except hvac.exceptions.InvalidPath:
        return secrets.token_bytes(32)
    return base64.b64decode(found["data"]["data"]["password"])


def _forget_token(file: Path) -> None:
    kept = json.loads(file.read_text(encoding="utf-8"))
    del kept["root_token"]
    _write(file, json.dumps(kept))


# --- PostgreSQL ---------------------------------------------------------------------------------------------


def _connect(places: Places, database: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=places.postgres_host,
        port=places.postgres_port,
        user="postgres",
        password=places.said("postgres-password"),
        dbname=database,
        sslmode="verify-full",
        sslrootcert=str(places.ca),
        autocommit=True,
        connect_timeout=10,
    )


def _make_owner(places: Places, name: str, password: str) -> None:
    """A role, and a database of its own that nobody else may enter."""
    with _eventually(lambda: _connect(places, "postgres"), (psycopg.OperationalError,)) as connection:
        role = sql.Identifier(name)
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchall():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
        _make_database(connection, name)
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(role, role))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))


def _make_database(connection: Any, name: str) -> None:
    if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall():
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _make_crm(places: Places) -> str:
    """:return: a new password of the role by which Vault makes logins."""
    password = secrets.token_urlsafe(24)
    with _connect(places, "postgres") as connection:
        _make_database(connection, DATABASE)
    with _connect(places, DATABASE) as connection:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = 'vault'").fetchall():
            connection.execute(sql.SQL("ALTER ROLE vault PASSWORD {}").format(password))
        else:
            make_tables(connection, password)
    return password


# --- S3 -----------------------------------------------------------------------------------------------------


def _make_objects(vault: Any, places: Places, lake_key: RawAesKey) -> None:
    s3 = boto3.client(
        "s3",
        endpoint_url=places.s3,
        verify=str(places.ca),
        region_name=_REGION,
        aws_access_key_id=places.said("s3-access-key"),
        aws_secret_access_key=places.said("s3-secret-key"),
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    for bucket in (LAKE, KEYS):
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError:
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": _REGION})
    if not _is_there(s3, KEYS, KEYSET):
        document = keyset.create("customers", TransitKeyring(TRANSIT_KEY, lambda: vault))
        s3.put_object(Bucket=KEYS, Key=KEYSET, Body=document.to_json().encode())
    people = customers(CUSTOMERS, Canaries.fresh())
    tables = {
        "customers": as_csv(CUSTOMER_COLUMNS, [person.row() for person in people]),
        "orders": as_csv(ORDER_COLUMNS, [order.row() for order in orders(ORDERS, people)]),
    }
    keys = writing_keys(lambda _: None, [], lake_key)
    for name, plaintext in tables.items():
        where = f"{name}/{DAY}.csv"
        if not _is_there(s3, LAKE, where):
            message = encrypted(
                io.BytesIO(plaintext), keys, str(lake_key), {"dataset": f"crm.{name}"}, f"s3://{LAKE}/{where}"
            )
            s3.put_object(Bucket=LAKE, Key=where, Body=message.read())


def _is_there(s3: Any, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True


# --- both ---------------------------------------------------------------------------------------------------


def _eventually(step: Callable[[], T], passing: tuple[type[Exception], ...]) -> T:
    """What *step* gives, once its server is up."""
    until = time.monotonic() + _AWAIT_SECONDS
    while True:
        try:
            return step()
        except passing:
            if time.monotonic() > until:
                raise
            time.sleep(1)


def _write(file: Path, content: str) -> None:
    """Whole or not at all, for this user only."""
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    unfinished.rename(file)


if __name__ == "__main__":
    bootstrap(Places.of_environment(os.environ))
    sys.exit(0)

"""``make demo KEEP=1``: the servers stay up until somebody says so; how to reach them is told, secrets in a file only."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

from rich.console import Console

from sandbox.airflow import Airflow
from sandbox.making import DATABASE, LAKE
from sandbox.marquez import Marquez
from sandbox.world import World


def keep(console: Console, world: World, airflow: Airflow, marquez: Marquez | None = None) -> None:
    """Returns on Ctrl-C, SIGTERM and SIGHUP, which :func:`sandbox.environment.unwind_on_signals` makes exceptions of.

    :raises ProcessError: when a part of Airflow ends by itself.
    """
    access = _write_access(world)
    console.print(_told(world, airflow, access, marquez), highlight=False, markup=False, soft_wrap=True)
    try:
        while True:
            airflow.check()
            time.sleep(1)
    except (KeyboardInterrupt, SystemExit):
        console.print("stopping")


def _write_access(world: World) -> Path:
    """A file for a shell to read, of mode 0600, below a directory that is removed at the end."""
    postgres, aws, vault = world.postgres, world.aws, world.vault
    variables = {
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGDATABASE": DATABASE,
        "PGUSER": postgres.superuser,
        "PGPASSWORD": postgres.superuser_password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(postgres.ca_pem),
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_CA_BUNDLE": str(aws.ca_pem),
        "AWS_DEFAULT_REGION": aws.region,
        "AWS_ACCESS_KEY_ID": aws.access_key,
        "AWS_SECRET_ACCESS_KEY": aws.secret_key,
        "VAULT_ADDR": vault.url,
        "VAULT_CACERT": str(vault.ca_pem),
        "VAULT_TOKEN": vault.root_token,
    }
    path = world.directory / "access.env"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(lines)
    return path


def _told(world: World, airflow: Airflow, access: Path, marquez: Marquez | None) -> str:
    postgres = world.postgres
    server = f"host={postgres.host} port={postgres.port} dbname={DATABASE} user={postgres.superuser}"
    graph = f"  Marquez         {marquez.url}/api/v1/namespaces\n" if marquez else ""
    return f"""
Still up, on this machine only. To stop and remove it all: Ctrl-C, or kill {os.getpid()}
  Airflow         {airflow.url}
                  There is no login: whoever reaches this port, as any user of this machine can, is its admin.
                  How all is protected: {airflow.url}/data-protection/
  Passwords       {access}
                  Only you can read it. In a shell, `. {access}` sets what psql, aws and vault take.
  PostgreSQL      {server} sslmode=verify-full sslrootcert={postgres.ca_pem}
                  With the passwords: {postgres.programs / "psql"}
  S3 and KMS      {world.aws.endpoint_url}
                  With the passwords: aws s3 ls s3://{LAKE}/customers/
  Vault stand-in  {world.vault.url}
  Their CA        {postgres.ca_pem}
  Lineage         {world.events}
                  What could not be written there waits in {world.events.parent / "spool"}
                  Look at it: .venv/bin/airflow-secure lineage show {DATABASE}.analytics.customers --events {world.events}
{graph}  Logs            {airflow.process_logs_directory}
"""

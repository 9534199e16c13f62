"""The ``airflow-secure`` command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from .. import __version__
from ..errors import SecureProviderError
from .check import check
from .contract import contract
from .files import protect, reveal
from .keys import keys
from .leases import leases
from .lineage import lineage
from .scan import scan


class _Group(click.Group):
    """Ends in one line, without a traceback, where one of our errors says all there is to say."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SecureProviderError as error:
            raise click.ClickException(f"{type(error).__name__}: {error}") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="airflow-secure")
def cli() -> None:
    """Keysets, files that are protected or revealed, what Vault has lent, and what lineage waits."""


def main(arguments: Sequence[str] | None = None) -> None:
    cli(args=arguments, prog_name="airflow-secure")


@cli.group()
def db() -> None:
    """The package's tables in a target database."""


@db.command("init")
@click.option("--grant-to", metavar="ROLE", help="Also grant the role that loads what it needs on them.")
def init_db(grant_to: str | None) -> None:
    """Print the SQL that makes them: airflow-secure db init | psql …"""
    from ..stores.ddl import DDL, grants

    click.echo(DDL + (grants(grant_to) if grant_to else ""))


for command in (keys, protect, reveal, scan, contract, check, leases, lineage):
    cli.add_command(command)

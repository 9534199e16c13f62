"""``airflow-secure protect`` and ``reveal``."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import click

from .io import kms_client, new_file, open_, read, vault_client


def _of_files(command: Any) -> Any:
    """The options that protect and reveal share."""
    formats = click.Choice(["csv", "jsonl", "parquet"])
    options = (
        click.argument("file", type=click.Path(path_type=Path, allow_dash=True)),
        click.option(
            "--contract", required=True, type=click.Path(path_type=Path), help="The data contract (ODCS)."
        ),
        click.option("--dataset", help="Which dataset of the contract, by name or physicalName."),
        click.option(
            "-o", "--output", type=click.Path(path_type=Path), help="Where to (default: standard output)."
        ),
        click.option("--format", "read_as", type=formats, help="Of FILE (default: by its ending; of - CSV)."),
        click.option(
            "--output-format", "write_as", type=formats, help="(default: by its ending, or as FILE)."
        ),
        click.option(
            "--key-version", type=int, help="Of deterministic protections (default: the keyset's newest)."
        ),
    )
    for decorate in reversed(options):
        command = decorate(command)
    return command


@click.command()
@_of_files
@click.option("--keyset", help="Path of the keyset, perhaps with ?id=…&min_version=….")
@click.option("--policy", type=click.Path(path_type=Path), help="A class policy (default: the built-in one).")
@click.option("--extra-columns", type=click.Choice(["refuse", "drop"]), default="refuse", show_default=True)
@click.option("--delimiter", help="Of a CSV, if not a comma.")
@click.option("--encoding", help="Of a CSV, if not UTF-8; as Python names it, such as cp1252.")
def protect(
    file: Path,
    contract: Path,
    dataset: str | None,
    keyset: str | None,
    output: Path | None,
    read_as: str | None,
    write_as: str | None,
    key_version: int | None,
    extra_columns: str,
    policy: Path | None,
    delimiter: str | None,
    encoding: str | None,
) -> None:
    """Protect every column of a CSV, JSON Lines or Parquet FILE as its contract says (- for standard input).

    Cells of encrypted, tokenized and pseudonymized columns are base64 text in CSV and JSON Lines, and bytes in Parquet. A CSV
    is written with commas, in UTF-8.
    """
    from ..contract.odcs import from_odcs
    from ..contract.policy import BUILT_IN
    from ..contract.policy_document import from_document
    from ..files import protect_file
    from ..keyrings.opening import open_keyset
    from ..stores.csv_dialect import CsvDialect

    dialect = CsvDialect.of(
        {name: said for name, said in (("delimiter", delimiter), ("encoding", encoding)) if said}
    )
    requires = from_document(read(policy), str(policy)) if policy else BUILT_IN
    contracted = from_odcs(read(contract), str(contract), dataset, requires)
    opened = (
        open_keyset(keyset, lambda location: read(Path(location)), kms_client, vault_client=vault_client)
        if keyset
        else None
    )

    def run(source: IO[bytes], out: IO[bytes], formats: dict[str, Any]) -> int:
        return protect_file(
            source, out, contracted, opened, where=str(file), extra_columns=extra_columns,
            key_version=key_version, dialect=dialect, **formats,
        )  # fmt: skip

    _run_file(file, output, read_as, write_as, run)


@click.command()
@_of_files
@click.option("--keyset", required=True, help="Path of the keyset, perhaps with ?id=…&min_version=….")
def reveal(
    file: Path,
    contract: Path,
    dataset: str | None,
    keyset: str,
    output: Path | None,
    read_as: str | None,
    write_as: str | None,
    key_version: int | None,
) -> None:
    """Give back the values in a CSV, JSON Lines or Parquet FILE of protected cells (- for standard input).

    FILE may hold any of the contract's columns, with cells as bytes or base64 text, as a query writes them. Encrypted,
    tokenized and format-preserving columns are revealed, all others stay as they are.
    """
    from ..contract.odcs import from_odcs
    from ..files import reveal_file
    from ..keyrings.opening import open_keyset

    rules = from_odcs(read(contract), str(contract), dataset).rules
    opened = open_keyset(keyset, lambda location: read(Path(location)), kms_client, vault_client=vault_client)

    def run(source: IO[bytes], out: IO[bytes], formats: dict[str, Any]) -> int:
        return reveal_file(source, out, rules, opened, where=str(file), key_version=key_version, **formats)

    _run_file(file, output, read_as, write_as, run)


def _run_file(
    file: Path,
    output: Path | None,
    read_as: str | None,
    write_as: str | None,
    run: Callable[[IO[bytes], IO[bytes], dict[str, Any]], int],
) -> None:
    """From a file or standard input to a new file or standard output; nothing half-written stays in a file."""
    from ..stores.formats import FileFormat

    piped = str(file) == "-"
    reads = FileFormat.of(file, read_as or ("csv" if piped else None))
    writes = FileFormat.of(output, write_as or (None if output else str(reads)))
    formats = {"read_as": reads, "write_as": writes}
    with sys.stdin.buffer if piped else open_(file) as source:
        if piped and reads is FileFormat.PARQUET:
            source = io.BytesIO(source.read())  # it begins at its end
        if output is None:
            rows = run(source, sys.stdout.buffer, formats)
        else:
            with new_file(output, 0o600) as out:
                try:
                    rows = run(source, out, formats)
                except BaseException:
                    output.unlink()
                    raise
    click.echo(f"{rows:,} rows", err=True)

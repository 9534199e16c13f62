"""The ``airflow-secure`` command."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import click

from .. import __version__
from ..errors import ConfigurationError, SecureProviderError, StoreError


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
    """Keysets, and files that are protected or revealed."""


def main(arguments: Sequence[str] | None = None) -> None:
    cli(args=arguments, prog_name="airflow-secure")


# --- keys ---------------------------------------------------------------------------------------------------


@cli.group()
def keys() -> None:
    """Make and look at keysets."""


@keys.command("create")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--id", "keyset_id", required=True, help="The keyset's name; every wrap is bound to it.")
@click.option(
    "--kms-key", metavar="ARN", help="Wrap with this AWS KMS key, through the usual AWS configuration."
)
@click.option("--local", is_flag=True, help="Wrap with a new key file beside FILE (NAME.key, mode 0600).")
def create_keys(file: Path, keyset_id: str, kms_key: str | None, local: bool) -> None:
    """Write a new keyset with one key version to FILE."""
    from ..crypto.keyset import Wrapper, create
    from ..keyrings.aws_kms import AwsKmsKeyring
    from ..keyrings.local import create_key_file
    from ..keyrings.opening import local_key_path

    if bool(kms_key) == local:
        raise click.UsageError("give either --kms-key ARN or --local")
    if file.exists():
        raise click.UsageError(
            f"{file} exists; a keyset is never overwritten, since nothing protected under it could be revealed again"
        )
    wrapper: Wrapper = (
        AwsKmsKeyring(kms_key, _kms_client(kms_key)) if kms_key else create_key_file(local_key_path(file))
    )
    document = create(keyset_id, wrapper)
    with _new_file(file, 0o644) as out:
        out.write(document.to_json().encode())
    click.echo(
        f"{file}: keyset {document.id!r}, version {document.newest}, wrapped by {document.provider} {document.key_id}"
    )
    if local:
        click.echo(f"{local_key_path(file)}: its wrapping key; keep it from others, and keep a copy")


@keys.command("show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--verify", is_flag=True, help="Also unwrap it and check that it is unchanged.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show_keys(file: Path, verify: bool, as_json: bool) -> None:
    """Tell what FILE holds. No key is printed; none of it is secret."""
    import json

    from ..crypto.keyset import KeysetDocument, unwrap
    from ..keyrings.opening import wrapper_for

    document = KeysetDocument.from_json(_read(file), str(file))
    verified = None
    if verify:
        unwrap(document, wrapper_for(document, str(file), _kms_client))
        verified = True
    if as_json:
        facts = {
            "id": document.id,
            "provider": document.provider,
            "keyId": document.key_id,
            "versions": [{"version": key.version, "created": key.created} for key in document.keys],
            "verified": verified,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(f"keyset     {document.id}\nwrapped by {document.provider} {document.key_id}")
    for key in document.keys:
        newest = "  (newest: used for what is protected now)" if key.version == document.newest else ""
        click.echo(f"version    {key.version}  {key.created}{newest}")
    click.echo(
        "verified   "
        + ("yes: it unwraps and is unchanged" if verified else "no (--verify to unwrap and check)")
    )


@keys.command("rotate")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def rotate_keys(file: Path) -> None:
    """Add a key version to FILE, wrapped by the same key.

    What is encrypted from then on uses it. Tokens, fpe, pseudonyms and shifted dates keep the version of their domain,
    since equal values must stay equal.
    """
    from ..crypto.keyset import KeysetDocument, rotate
    from ..keyrings.opening import wrapper_for

    document = KeysetDocument.from_json(_read(file), str(file))
    longer = rotate(document, wrapper_for(document, str(file), _kms_client))
    _replace_file(file, longer.to_json())
    click.echo(
        f"{file}: keyset {longer.id!r} has version {longer.newest} now; put it wherever tasks read it, and pin "
        f"min_version={longer.newest} to refuse the old document"
    )


@keys.command("retire")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("version", type=int)
@click.option(
    "--database",
    "databases",
    metavar="CONNINFO",
    multiple=True,
    help="A target database to be searched for values under it; once for each. Leave the password to PGPASSFILE.",
)
@click.option("--unchecked", is_flag=True, help="Nothing stands under it anywhere: I have made sure myself.")
def retire_keys(file: Path, version: int, databases: tuple[str, ...], unchecked: bool) -> None:
    """Take key VERSION out of FILE. Refused while values under it are found."""
    from ..crypto.keyset import KeysetDocument, retire
    from ..keyrings.opening import wrapper_for

    if bool(databases) == unchecked:
        raise click.UsageError("give either --database, for each target database, or --unchecked")
    document = KeysetDocument.from_json(_read(file), str(file))
    shorter = retire(document, wrapper_for(document, str(file), _kms_client), version)
    _refuse_uses(document.id, version, databases)
    _replace_file(file, shorter.to_json())
    click.echo(
        f"{file}: version {version} of keyset {document.id!r} is retired; keep the old document until you are sure"
    )


# --- files --------------------------------------------------------------------------------------------------


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


@cli.command()
@_of_files
@click.option("--keyset", help="Path of the keyset, perhaps with ?id=…&min_version=….")
@click.option("--extra-columns", type=click.Choice(["refuse", "drop"]), default="refuse", show_default=True)
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
) -> None:
    """Protect every column of a CSV, JSON Lines or Parquet FILE as its contract says (- for standard input).

    Cells of encrypted, tokenized and pseudonymized columns are base64 text in CSV and JSON Lines, and bytes in Parquet.
    """
    from ..contract.odcs import from_odcs
    from ..files import protect_file
    from ..keyrings.opening import open_keyset

    contracted = from_odcs(_read(contract), str(contract), dataset)
    opened = open_keyset(keyset, lambda location: _read(Path(location)), _kms_client) if keyset else None

    def run(source: IO[bytes], out: IO[bytes], formats: dict[str, Any]) -> int:
        return protect_file(
            source, out, contracted, opened, where=str(file), extra_columns=extra_columns,
            key_version=key_version, **formats,
        )  # fmt: skip

    _run_file(file, output, read_as, write_as, run)


@cli.command()
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

    rules = from_odcs(_read(contract), str(contract), dataset).rules
    opened = open_keyset(keyset, lambda location: _read(Path(location)), _kms_client)

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
    from ..stores.files import FileFormat

    piped = str(file) == "-"
    reads = FileFormat.of(file, read_as or ("csv" if piped else None))
    writes = FileFormat.of(output, write_as or (None if output else str(reads)))
    formats = {"read_as": reads, "write_as": writes}
    with sys.stdin.buffer if piped else _open(file) as source:
        if piped and reads is FileFormat.PARQUET:
            source = io.BytesIO(source.read())  # it begins at its end
        if output is None:
            rows = run(source, sys.stdout.buffer, formats)
        else:
            with _new_file(output, 0o600) as out:
                try:
                    rows = run(source, out, formats)
                except BaseException:
                    output.unlink()
                    raise
    click.echo(f"{rows:,} rows", err=True)


# --- db -----------------------------------------------------------------------------------------------------


@cli.group()
def db() -> None:
    """The package's tables in a target database."""


@db.command("init")
@click.option("--grant-to", metavar="ROLE", help="Also grant the role that loads what it needs on them.")
def init_db(grant_to: str | None) -> None:
    """Print the SQL that makes them: airflow-secure db init | psql …"""
    from ..stores.ddl import DDL, grants

    click.echo(DDL + (grants(grant_to) if grant_to else ""))


# --- inside -------------------------------------------------------------------------------------------------


def _kms_client(key_arn: str) -> Any:
    import boto3

    parts = key_arn.split(":")
    return boto3.client("kms", region_name=parts[3] if len(parts) > 3 and parts[3] else None)


def _refuse_uses(keyset_id: str, version: int, databases: Sequence[str]) -> None:
    import psycopg

    from ..stores.postgres_errors import postgres_failures
    from ..stores.usage import count_uses

    found: dict[str, int] = {}
    for conninfo in databases:
        with postgres_failures("the database"):
            connection = psycopg.connect(conninfo)
        with connection:
            found |= count_uses(connection, keyset_id, version)
    if found:
        uses = ", ".join(f"{count:,} in {column}" for column, count in found.items())
        raise ConfigurationError(
            f"version {version} of keyset {keyset_id!r} is still in use: {uses}; protect these anew first"
        )


def _replace_file(path: Path, text: str) -> None:
    """All or nothing: a reader sees the old document or the new one."""
    import tempfile

    try:
        mode = path.stat().st_mode
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(mode)
        Path(file.name).replace(path)
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror}") from None


def _read(path: Path) -> bytes:
    with _open(path) as file:
        return file.read()


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}") from None


def _new_file(path: Path, mode: int) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")
    except FileExistsError:
        raise StoreError(f"{path} exists; choose another name, or remove it first") from None
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror}") from None

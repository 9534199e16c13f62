"""``airflow-secure keys``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError
from .io import kms_client, new_file, read, replace_file, vault_client

if TYPE_CHECKING:
    from ..crypto.keyset import Wrapper


@click.group()
def keys() -> None:
    """Make and look at keysets."""


@keys.command("create")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--id", "keyset_id", required=True, help="The keyset's name; every wrap is bound to it.")
@click.option(
    "--kms-key", metavar="ARN", help="Wrap with this AWS KMS key, through the usual AWS configuration."
)
@click.option(
    "--transit-key",
    metavar="MOUNT/keys/NAME",
    help="Wrap with this derived key of Vault's Transit engine; VAULT_ADDR and a token as for the vault command.",
)
@click.option("--local", is_flag=True, help="Wrap with a new key file beside FILE (NAME.key, mode 0600).")
def create_keys(
    file: Path, keyset_id: str, kms_key: str | None, transit_key: str | None, local: bool
) -> None:
    """Write a new keyset with one key version to FILE."""
    from ..crypto.keyset import create
    from ..keyrings.local import create_key_file
    from ..keyrings.opening import local_key_path

    if sum(map(bool, (kms_key, transit_key, local))) != 1:
        raise click.UsageError("give one of --kms-key ARN, --transit-key MOUNT/keys/NAME and --local")
    if not keyset_id or file.suffix == ".key":
        raise click.UsageError("a keyset needs an --id, and a FILE whose ending is not .key")
    if file.exists():
        raise click.UsageError(
            f"{file} exists; a keyset is never overwritten, since nothing protected under it could be revealed again"
        )
    wrapper = _service(kms_key, transit_key) or create_key_file(local_key_path(file))
    document = create(keyset_id, wrapper)
    with new_file(file, 0o644) as out:
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

    document = KeysetDocument.from_json(read(file), str(file))
    verified = None
    if verify:
        unwrap(document, wrapper_for(document, str(file), kms_client, vault_client))
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

    document = KeysetDocument.from_json(read(file), str(file))
    longer = rotate(document, wrapper_for(document, str(file), kms_client, vault_client))
    replace_file(file, longer.to_json())
    click.echo(
        f"{file}: keyset {longer.id!r} has version {longer.newest} now; put it wherever tasks read it, and pin "
        f"min_version={longer.newest} to refuse the old document"
    )


@keys.command("rewrap")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--kms-key", metavar="ARN", help="From now on wrapped by this AWS KMS key.")
@click.option(
    "--transit-key", metavar="MOUNT/keys/NAME", help="From now on wrapped by this Transit key of Vault."
)
def rewrap_keys(file: Path, kms_key: str | None, transit_key: str | None) -> None:
    """Wrap the data keys in FILE anew: after a rotation of the wrapping key, or to change it.

    What is protected under them is not touched.
    """
    from ..crypto.keyset import KeysetDocument, rewrap
    from ..keyrings.opening import wrapper_for

    if kms_key and transit_key:
        raise click.UsageError("give one of --kms-key ARN and --transit-key MOUNT/keys/NAME, or neither")
    document = KeysetDocument.from_json(read(file), str(file))
    wrapper = wrapper_for(document, str(file), kms_client, vault_client)
    renewed = rewrap(document, wrapper, _service(kms_key, transit_key))
    replace_file(file, renewed.to_json())
    click.echo(
        f"{file}: keyset {renewed.id!r} is wrapped anew by {renewed.provider} {renewed.key_id}; put it wherever tasks read it"
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
    document = KeysetDocument.from_json(read(file), str(file))
    shorter = retire(document, wrapper_for(document, str(file), kms_client, vault_client), version)
    _refuse_uses(document.id, version, databases)
    replace_file(file, shorter.to_json())
    click.echo(
        f"{file}: version {version} of keyset {document.id!r} is retired; keep the old document until you are sure"
    )


def _service(kms_key: str | None, transit_key: str | None) -> Wrapper | None:
    from ..keyrings.aws_kms import AwsKmsKeyring
    from ..keyrings.vault_transit import TransitKeyring

    if kms_key:
        return AwsKmsKeyring(kms_key, kms_client(kms_key))
    return TransitKeyring(transit_key, vault_client) if transit_key else None


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

"""Files and clients of the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..errors import StoreError


def read(path: Path) -> bytes:
    with open_(path) as file:
        return file.read()


def open_(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}") from None


def expect_new(path: Path) -> None:
    if path.exists():
        raise StoreError(f"{path} exists; choose another name, or remove it first")


def new_file(path: Path, mode: int) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")
    except FileExistsError:
        raise StoreError(f"{path} exists; choose another name, or remove it first") from None
    except OSError as error:
        raise StoreError(f"{path} can't be written: {error.strerror}") from None


def replace_file(path: Path, text: str) -> None:
    """All or nothing: a reader sees the old document or the new one."""
    import tempfile

    path = path.resolve()  # a link stays one
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


def kms_client(key_arn: str) -> Any:
    import boto3

    parts = key_arn.split(":")
    return boto3.client("kms", region_name=parts[3] if len(parts) > 3 and parts[3] else None)


@contextmanager
def logs_apart() -> Iterator[Callable[[str], None]]:
    """Airflow logs to standard output, which is for what the command has to say. :return: what prints it."""
    import contextlib

    import click

    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield lambda text: click.echo(text, file=stdout)


def vault_client() -> Any:
    """As the ``vault`` command finds it: VAULT_ADDR, VAULT_TOKEN or ~/.vault-token, VAULT_CACERT, VAULT_NAMESPACE;
    or the same of OpenBao, BAO_…"""
    import hvac

    from ..errors import ConfigurationError
    from ..vault.sessions import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, session

    def setting(name: str) -> str | None:
        return os.environ.get(f"VAULT_{name}") or os.environ.get(f"BAO_{name}")

    address = setting("ADDR")
    if not address:
        raise ConfigurationError("VAULT_ADDR is not set; set it, and VAULT_TOKEN (or log in: vault login)")
    if not address.startswith("https://"):
        raise ConfigurationError(
            "VAULT_ADDR is no https address: token and data keys would pass in the clear"
        )
    verify = setting("CACERT") or setting("CAPATH") or True
    client = hvac.Client(
        url=address,
        namespace=setting("NAMESPACE"),
        token=setting("TOKEN"),
        session=session(verify=verify),
        verify=verify,
        timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
    )
    if not client.token:
        raise ConfigurationError("there is no token for Vault: set VAULT_TOKEN, or log in (vault login)")
    return client

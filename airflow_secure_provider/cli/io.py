"""Files and clients of the commands."""

from __future__ import annotations

import os
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

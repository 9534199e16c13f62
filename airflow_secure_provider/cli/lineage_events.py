"""Where `airflow-secure lineage show` reads events: files, S3, Marquez."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, StoreUnavailable


def lines_of(place: str, aws_conn_id: str) -> Iterator[str]:
    """
    :param place: a path; or ``s3://bucket/key``, and with a slash at its end all objects below it.
    :param aws_conn_id: an Airflow connection, for S3.
    :raises SecureProviderError: for what is not there, or can't be read.
    """
    if place.startswith("s3://"):
        return _lines_in_s3(place, aws_conn_id)
    path = Path(place)
    if not path.is_file():
        raise ConfigurationError(f"{place}: there is no such file")
    return _lines_of_file(path)


def lines_of_marquez(url: str, until: datetime | None) -> Iterator[str]:
    from ..lineage.marquez import events

    for event in events(url, until, token=os.environ.get("MARQUEZ_TOKEN")):
        yield json.dumps(event)


def _lines_of_file(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as opened:
        yield from opened


def _lines_in_s3(place: str, aws_conn_id: str) -> Iterator[str]:
    from ..stores.s3 import list_objects
    from .aws import client as aws_client

    client = aws_client(aws_conn_id, "s3")
    found = list_objects(client, place) if place.endswith("/") else [place]
    return chain.from_iterable(_lines_of_object(client, uri) for uri in found)


def _lines_of_object(client: Any, uri: str) -> Iterator[str]:
    from botocore.exceptions import BotoCoreError

    from ..stores.s3 import S3Location, call

    location = S3Location.parse(uri)
    answer = call(lambda: client.get_object(Bucket=location.bucket, Key=location.key), location, "GetObject")
    with closing(answer["Body"]) as body:
        try:
            for line in body.iter_lines():
                yield line.decode("utf-8", "replace")
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable(f"{uri}: reading broke off: {type(error).__name__}") from None

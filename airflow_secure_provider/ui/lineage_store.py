"""Lineage events out of ``[secure_provider] lineage_store``: Marquez, a file, or an S3 object. Bounded in events, bytes and seconds."""

from __future__ import annotations

import json
import logging
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ..connections import aws_config
from ..errors import ConfigurationError, SecureProviderError, StoreError
from ..lineage.names import decoded, renamed
from .events import task_run
from .runs import TaskRun

log = logging.getLogger(__name__)

MOST_EVENTS = 5_000
MOST_BYTES = 32 * 1024 * 1024
MOST_SECONDS = 5.0
_PAGE_EVENTS = 500
_CHUNK_BYTES = 4 * 1024 * 1024
_KEPT_SECONDS = 30.0  # so that a page full of clicks asks the server once


@dataclass(frozen=True, slots=True)
class Stored:
    """
    :ivar notes: what the reader of the page must know: that something was cut, or could not be read.
    """

    runs: tuple[TaskRun, ...] = ()
    notes: tuple[str, ...] = ()


def stored(url: str, namespace: str) -> Stored:
    """Task runs of this Airflow; never raises, since the page must show what it knows without them."""
    if not url:
        return Stored()
    with _LOCK:
        kept = _KEPT.get((url, namespace))
        if kept is None or time.monotonic() - kept[0] > _KEPT_SECONDS:
            kept = time.monotonic(), _read(url, namespace)
            _KEPT.clear()
            _KEPT[url, namespace] = kept
        return kept[1]


_LOCK = threading.Lock()
_KEPT: dict[tuple[str, str], tuple[float, Stored]] = {}


def _read(url: str, namespace: str) -> Stored:
    runs: list[TaskRun] = []
    broken = 0
    budget = _Budget()
    notes: list[str] = []
    try:
        for event in _events(url, budget):
            try:
                run = task_run(_decoded(event), namespace)
            except (ValueError, TypeError, RecursionError, OverflowError, SecureProviderError):
                broken += 1
                continue
            if run is not None:
                runs.append(run)
    except SecureProviderError as error:
        log.warning("[secure_provider] lineage_store: %s", error)
        notes.append(f"The lineage store could not be read: {error} What only it knows is missing here.")
    if budget.cut:
        notes.append(
            f"The lineage store holds more than is read at once: {budget.cut}; older events are missing here."
        )
    if broken:
        notes.append(f"{broken} entries in the lineage store are no events, and were left out.")
    return Stored(tuple(runs), tuple(notes))


def _decoded(event: Any) -> Any:
    """Of a line, or as Marquez has it: with names as they were, and no text that can't be shown."""
    if isinstance(event, bytes):
        return _shown(json.loads(event.decode("utf-8", "replace")))
    return _shown(renamed(event, decoded)) if isinstance(event, dict) else event


def _shown(value: Any) -> Any:
    """JSON may hold halves of surrogate pairs, which no page and no file can."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_shown(name): _shown(item) for name, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, list) else value


class _Budget:
    """What one reading may take. ``cut`` says what ran out."""

    def __init__(self) -> None:
        self.cut = ""
        self._events = MOST_EVENTS
        self._bytes = MOST_BYTES
        self._ends = time.monotonic() + MOST_SECONDS

    @property
    def seconds(self) -> float:
        return max(0.1, self._ends - time.monotonic())

    def event(self) -> bool:
        self._events -= 1
        return self._allows(self._events >= 0, f"the newest {MOST_EVENTS:,} events")

    def bytes(self, number: int) -> bool:
        self._bytes -= number
        return self._allows(self._bytes >= 0, f"{MOST_BYTES // 2**20} MiB")

    def time(self) -> bool:
        return self._allows(time.monotonic() < self._ends, f"what comes within {MOST_SECONDS:g} seconds")

    def _allows(self, enough: bool, what: str) -> bool:
        if not enough:
            self.cut = what
        return enough


def _events(url: str, budget: _Budget) -> Iterator[Any]:
    """The newest first; a JSON value, or the bytes of one."""
    try:
        split = urlsplit(url)
        userinfo = "@" in split.netloc
    except ValueError:
        raise ConfigurationError("the setting is no URL.") from None
    if userinfo:
        raise ConfigurationError("the URL holds a login, which does not belong into a setting; remove it.")
    if split.scheme in ("http", "https"):
        yield from _from_marquez(url, budget)
    elif split.scheme == "file" and split.netloc in ("", "localhost") and split.path:
        yield from _newest_lines(_file_tail(Path(unquote(split.path)), budget), budget)
    elif split.scheme == "s3" and split.netloc and split.path.strip("/"):
        query = parse_qs(split.query)
        tail = _s3_tail(split.netloc, unquote(split.path[1:]), query.get("aws_conn_id", [None])[0], budget)
        yield from _newest_lines(tail, budget)
    else:
        raise ConfigurationError("expected https://…, file:///…jsonl or s3://bucket/key.")


def _newest_lines(tail: bytes, budget: _Budget) -> Iterator[bytes]:
    for line in reversed(tail.splitlines()):
        if not line.strip():
            continue
        if not budget.event() or not budget.time():
            return
        yield line


def _file_tail(path: Path, budget: _Budget) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise StoreError("the file is no regular file.")
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - MOST_BYTES)
            file.seek(start)
            if start:
                budget.bytes(size)
            return _whole_lines(file.read(MOST_BYTES), cut=start > 0)
    except OSError as error:
        raise StoreError(f"the file can't be read ({error.strerror}).") from None


def _s3_tail(bucket: str, key: str, conn_id: str | None, budget: _Budget) -> bytes:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    patience = Config(
        connect_timeout=MOST_SECONDS, read_timeout=MOST_SECONDS, retries={"total_max_attempts": 1}
    )
    try:
        hook = S3Hook(aws_conn_id=conn_id, config=patience)
        aws_config(hook)
        client = hook.get_conn()
    except Exception as error:  # noqa: BLE001
        # A secrets backend raises what it likes, and its message may tell more than a page may show.
        raise StoreError(f"the AWS connection can't be used ({type(error).__name__}).") from None
    try:
        head = client.head_object(Bucket=bucket, Key=key)
        end, parts = head["ContentLength"], list[bytes]()
        while (
            end > 0 and budget.bytes(_CHUNK_BYTES) and budget.time()
        ):  # backwards, since the newest are at the end
            start = max(0, end - _CHUNK_BYTES)
            read = client.get_object(
                Bucket=bucket, Key=key, IfMatch=head["ETag"], Range=f"bytes={start}-{end - 1}"
            )
            with closing(read["Body"]) as body:
                parts.insert(0, body.read())
            end = start
        return _whole_lines(b"".join(parts), cut=end > 0)
    except ClientError as error:
        raise StoreError(f"S3 answers {error.response.get('Error', {}).get('Code', 'an error')}.") from None
    except (BotoCoreError, OSError) as error:
        raise StoreError(f"S3 can't be asked ({type(error).__name__}).") from None


def _whole_lines(tail: bytes, *, cut: bool) -> bytes:
    """Without the line that the cut has hit."""
    return tail.partition(b"\n")[2] if cut else tail


def _from_marquez(url: str, budget: _Budget) -> Iterator[Any]:
    import requests

    base = url.rstrip("/").removesuffix("/api/v1/events/lineage").removesuffix("/api/v1")
    with requests.Session() as session:
        for offset in range(0, MOST_EVENTS + _PAGE_EVENTS, _PAGE_EVENTS):
            parameters = {"limit": str(_PAGE_EVENTS), "offset": str(offset), "sortDirection": "desc"}
            page = _page(
                lambda: session.get(
                    f"{base}/api/v1/events/lineage",
                    params=parameters,  # noqa: B023 (called at once)
                    timeout=budget.seconds,
                    stream=True,
                    allow_redirects=False,
                ),
                budget,
            )
            if page is None:
                return
            for event in page:
                if not budget.event():
                    return
                yield event
            if len(page) < _PAGE_EVENTS:
                return


def _page(get: Callable[[], Any], budget: _Budget) -> list[Any] | None:
    """:return: ``None`` if the budget has run out."""
    import requests

    try:
        with get() as answer:
            if answer.status_code != 200:
                raise StoreError(f"it answers with status {answer.status_code}.")
            body = _limited(answer.iter_content(65_536), budget)
            if budget.cut:
                return None
            found = json.loads(body.decode("utf-8", "replace"))
    except requests.RequestException as error:
        raise StoreError(f"it can't be asked ({type(error).__name__}).") from None
    except (ValueError, RecursionError):
        raise StoreError("it does not answer with JSON.") from None
    listed = found.get("events") if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise StoreError("its answer holds no events; expected Marquez's /api/v1/events/lineage.")
    return listed


def _limited(chunks: Iterator[bytes], budget: _Budget) -> bytes:
    parts: list[bytes] = []
    for chunk in chunks:
        if not budget.bytes(len(chunk)) or not budget.time():
            break
        parts.append(chunk)
    return b"".join(parts)

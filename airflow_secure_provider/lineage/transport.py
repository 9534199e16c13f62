"""An OpenLineage transport before the one that is used: events are redacted, completed, and on disk before they are sent.

In airflow.cfg::

    [openlineage]
    transport = {"type": "airflow_secure_provider.lineage.transport.SecureTransport", "spool": "/var/lib/airflow/lineage",
                 "transport": {"type": "http", "url": "https://marquez.example.com"}}
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attr
from openlineage.client.serde import Serde
from openlineage.client.transport.transport import Config, Transport

from ..errors import ConfigurationError
from .endings import Endings
from .names import carried
from .spool import MOST_BYTES, Answer, Flushed, Spool

log = logging.getLogger(__name__)

_DELAY_SECONDS = 2.0
_REST_SECONDS = 15.0
_CLOSE_SECONDS = 10.0
_RUNS_UNTIL_REST = 3
_OF_THE_EVENT = 500  # perhaps; 502, 503 and 504 are of the server
_RETRIED = re.compile(r"too many (\d{3}) error responses")
_ON_FULL = ("fail", "drop")
_SERVERS = ("openlineage", "marquez")
# Answers that the same event may not get at another time.
_PASSING = frozenset({401, 403, 404, 407, 408, 423, 425, 429})


@attr.define
class SecureConfig(Config):
    """
    :ivar transport: the configuration of the transport that sends: http, kafka, file, …
    :ivar spool: a folder on a disk that outlives the task.
    :ivar max_delay_seconds: how long an event holds up its task at most, while the server does not answer.
    :ivar spool_bytes: room for waiting events.
    :ivar on_full: ``fail`` or ``drop``.
    :ivar server: ``openlineage``, any, or ``marquez``, which gets names that it can carry, and no event that would undo others.
    """

    transport: dict[str, Any]
    spool: str
    max_delay_seconds: float = _DELAY_SECONDS
    spool_bytes: int = MOST_BYTES
    on_full: str = "fail"
    server: str = "openlineage"

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> SecureConfig:
        """:raises ConfigurationError: for what is missing, unknown or means nothing."""
        where = "[openlineage] transport"
        known = {each.name for each in attr.fields(cls)}
        given = {name: value for name, value in params.items() if name != "type"}
        unknown = sorted(set(given) - known)
        if unknown:
            raise ConfigurationError(
                f"{where} has unknown {unknown[0]}; known are {', '.join(sorted(known))}"
            )
        if not isinstance(given.get("transport"), Mapping) or not given["transport"].get("type"):
            raise ConfigurationError(
                f'{where} has no transport that sends, such as {{"type": "http", "url": …}}'
            )
        _check_inner(given["transport"], where)
        if not str(given.get("spool", "")).startswith("/"):
            raise ConfigurationError(
                f"{where}: spool is an absolute path of a folder on a disk that outlives tasks"
            )
        for option, choices in (("on_full", _ON_FULL), ("server", _SERVERS)):
            if given.get(option, choices[0]) not in choices:
                raise ConfigurationError(
                    f"{where}: {option} {given[option]!r}, expected {' or '.join(choices)}"
                )
        return cls(**given)


class SecureTransport(Transport):
    """
    ``emit`` redacts the event with the masker of now, attaches what was observed of its datasets, writes it to the spool,
    and then tries to send what waits of its run, and of others, within ``max_delay_seconds``. A server that does not answer
    is left alone for some seconds.
    """

    kind = "secure"
    config_class = SecureConfig

    def __init__(self, config: SecureConfig) -> None:
        from openlineage.client.transport import get_default_factory

        self.config = config
        self.spool = Spool(Path(config.spool), int(config.spool_bytes), config.on_full)
        self._marquez = config.server == "marquez"
        self._endings = Endings(self.spool.folder / ".endings")
        self._inner = get_default_factory().create(dict(config.transport))
        self._under_way = False
        self._failed: set[str] = (
            set()
        )  # runs of which the server did not take an event, since it last took one

    def emit(self, event: Any) -> None:
        """:raises SpoolFull: with ``on_full="fail"``; StoreError, if the event could not be kept."""
        from airflow.sdk.configuration import conf

        from .classifying import configured_classes
        from .completion import completed

        folder = conf.get("secure_provider", "contracts", fallback="")
        known = configured_classes(folder, self.spool.folder / ".classes.json")
        body = completed(Serde.to_dict(event), known)
        if self._marquez:
            body = self._for_marquez(body)
        if self.spool.put(body) is not None:
            self._send_within(
                float(self.config.max_delay_seconds), str((body.get("run") or {}).get("runId") or "")
            )

    def flush(self) -> Flushed:
        """Everything that waits, however long it takes, until the server takes nothing."""
        (self.spool.folder / ".rests").unlink(missing_ok=True)
        return self.spool.flush(self._send)

    def send(self, event: Mapping[str, Any]) -> None:
        """At once, past the spool; raises what the inner transport raises."""
        # Only here: what lies in the spool, or is refused, keeps its names.
        emit(self._inner, carried(event) if self._marquez else event)

    def close(self, timeout: float = -1) -> bool:
        return bool(self._inner.close(timeout))

    # --- inside ---------------------------------------------------------------------------------------------

    def _for_marquez(self, body: dict[str, Any]) -> dict[str, Any]:
        from .credentials import credential_facets

        try:
            said = self._endings.repeated(body)
            if said is body and credential_facets():  # then something comes after the end
                self._endings.remember(body)
        except (OSError, ValueError) as error:  # better as it is than not at all
            log.warning("the end of a run is not kept for Marquez: %s", type(error).__name__)
            return body
        return said

    def _send_within(self, seconds: float, run: str) -> None:
        """In a thread that is left behind when it takes too long: the event is safe, and the task goes on."""
        if self._rests():
            return
        until = time.monotonic() + seconds
        sending = threading.Thread(
            target=lambda: self.spool.flush(self._send, until=until, first_run=run),
            name="lineage",
            daemon=True,
        )
        sending.start()
        sending.join(seconds)
        if sending.is_alive() and self._under_way:
            self._rest("it did not answer in time")

    def _send(self, event: dict[str, Any]) -> Answer:
        if self._rests():
            return Answer.LATER
        try:
            sent = carried(event) if self._marquez else event
        except Exception as error:  # noqa: BLE001 (a form of its own, which will not change)
            log.warning("an event can't be written so that Marquez can carry it: %s", type(error).__name__)
            return Answer.REJECTED
        self._under_way = True
        try:
            emit(self._inner, sent)
        except Exception as error:  # noqa: BLE001 (of anybody's transport; its text may quote the event)
            return self._not_taken(error, str((event.get("run") or {}).get("runId") or ""))
        finally:
            self._under_way = False
        self._failed.clear()
        (self.spool.folder / ".rests").unlink(missing_ok=True)
        return Answer.TAKEN

    def _not_taken(self, error: Exception, run: str) -> Answer:
        """A server that fails at one event may take others: it is left alone when it fails at several runs in a row."""
        status = getattr(getattr(error, "response", None), "status_code", None)
        retried = _RETRIED.search(str(error))  # requests' RetryError has no response
        status = int(retried[1]) if status is None and retried else status
        if status is not None and 400 <= status < 500 and status not in _PASSING:
            return Answer.REJECTED
        self._failed.add(run)
        if status != _OF_THE_EVENT or len(self._failed) >= _RUNS_UNTIL_REST:
            self._rest(f"status {status}" if status is not None else type(error).__name__)
        return Answer.LATER

    def _rests(self) -> bool:
        try:
            since = time.time() - (self.spool.folder / ".rests").stat().st_mtime
        except FileNotFoundError:
            return False
        return 0 <= since < _REST_SECONDS

    def _rest(self, why: str) -> None:
        marker = self.spool.folder / ".rests"
        if not self._rests():
            log.warning(
                "the lineage server takes no events (%s); they wait in %s, and are sent by a later task or by "
                "`airflow-secure lineage flush`",
                why,
                self.spool.folder,
            )
        marker.touch(mode=0o600)


class NotTaken(Exception):
    """An answer that does not say that the event was taken."""


def emit(transport: Any, event: Mapping[str, Any]) -> None:
    """Through a transport of the OpenLineage client; raises unless it is known to have been taken."""
    if transport.kind == "kafka":
        from .kafka import deliver

        deliver(transport, event)
        return
    answer = transport.emit(event)
    status = getattr(answer, "status_code", None)
    if getattr(answer, "history", None) or (status is not None and not 200 <= status < 300):
        raise NotTaken("the server has led elsewhere, as to a login")


def send_once(configured: Mapping[str, Any], event: Mapping[str, Any]) -> None:
    """One event through a transport as it is configured, and not by way of a spool; raises if it is not taken."""
    from openlineage.client.transport import get_default_factory

    transport = get_default_factory().create(_without_retries(configured))
    try:
        if isinstance(transport, SecureTransport):
            transport.send(event)
        else:
            emit(transport, event)
    finally:
        transport.close(_CLOSE_SECONDS)


def _without_retries(configured: Mapping[str, Any]) -> dict[str, Any]:
    """The client's own would have somebody wait for ten seconds until it says why."""
    changed = dict(configured)
    if isinstance(changed.get("transport"), Mapping):
        changed["transport"] = _without_retries(changed["transport"])
    if changed.get("type") == "http":
        changed["retry"] = {"total": 0}
    return changed


def _check_inner(inner: Mapping[str, Any], where: str) -> None:
    """:raises ConfigurationError: for one that says of a lost event that it is sent."""
    kind = inner.get("type")
    if kind == "noop":
        raise ConfigurationError(f"{where}: noop sends nothing")
    if kind == "async_http":
        raise ConfigurationError(
            f"{where}: async_http has an event sent by a thread that ends with its process, and tells nobody; use http"
        )
    if kind == "composite" and inner.get("continue_on_failure", True):
        raise ConfigurationError(
            f'{where}: a composite transport hides the failure of one of them; set "continue_on_failure": false'
        )
    if kind == "kafka" and inner.get("flush") is False:
        raise ConfigurationError(
            f'{where}: "flush": false says of an event that it is sent when it is queued; leave it out'
        )
    within = inner.get("transports") or [inner.get("transport")]
    for each in within.values() if isinstance(within, Mapping) else within:
        if isinstance(each, Mapping):
            _check_inner(each, where)


def transport_of(configured: Mapping[str, Any]) -> SecureTransport:
    """:raises ConfigurationError: if it is another one."""
    name = f"{SecureTransport.__module__}.{SecureTransport.__qualname__}"
    if configured.get("type") != name:
        raise ConfigurationError(
            f"[openlineage] transport is of type {configured.get('type')!r}, which has no spool; expected {name!r}"
        )
    return SecureTransport(SecureConfig.from_dict(dict(configured)))

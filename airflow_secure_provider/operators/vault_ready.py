"""Whether Vault will carry a job, before the job starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator
from airflow.sdk.bases.sensor import BaseSensorOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class VaultReadyOperator(BaseOperator):
    """Take the credentials of connections, as the tasks after this one will, and fail if they would not last.

    What it takes is given back at its end. Nothing but counts and names goes to XCom: for each credential connection, engine,
    role and TTL.

    :param conn_ids: connections that VaultSecretsBackend answers for. (templated)
    :param min_ttl: how long the job takes, such as ``"45m"``. Vault is asked to let the login and the credentials
        live as long.
    """

    asks_for_others = True  # see _runtime
    template_fields: Sequence[str] = ("conn_ids",)
    ui_color = "#d9ead3"

    def __init__(
        self, *, conn_ids: Sequence[str], min_ttl: str | float | timedelta | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.conn_ids = conn_ids
        self.min_ttl = min_ttl

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        :raises AirflowFailException: if a connection is not there or denied, or would not last.
        :raises StoreUnavailable: if Vault can't be reached or is sealed; a retry may help.
        """
        return _probe(self, context)


class VaultReadySensor(BaseSensorOperator):
    """The same, and waits while Vault is unreachable, sealed or throttling. What waiting can't help fails at once.

    :param conn_ids: as of :class:`VaultReadyOperator`. (templated)
    :param min_ttl: as of :class:`VaultReadyOperator`.
    :param deferrable: wait in the triggerer, which asks Vault only whether it is up (``sys/health``, without a login).
    """

    asks_for_others = True  # see _runtime
    template_fields: Sequence[str] = ("conn_ids",)
    ui_color = "#d9ead3"

    def __init__(
        self,
        *,
        conn_ids: Sequence[str],
        min_ttl: str | float | timedelta | None = None,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_ids = conn_ids
        self.min_ttl = min_ttl
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        return self.resume(context)

    def poke(self, context: Context) -> Any:
        from airflow.sdk.bases.sensor import PokeReturnValue

        from ..errors import StoreUnavailable

        try:
            return PokeReturnValue(is_done=True, xcom_value=_probe(self, context))
        except StoreUnavailable as error:
            log.info("not ready: %s", error)
            return PokeReturnValue(is_done=False)

    def resume(self, context: Context, event: Any = None, until: float | None = None) -> Any:
        """Deferred again for as long as Vault does not answer, ``timeout`` seconds in all.

        :param until: ``time.time()`` at which it ends.
        """
        until = until or time.time() + self.timeout
        found = self.poke(context)
        if not found:
            self._wait(until)
        return found.xcom_value

    def _wait(self, until: float) -> NoReturn:
        from airflow.sdk.exceptions import AirflowSensorTimeout

        left = until - time.time()
        if left <= 0:
            raise AirflowSensorTimeout(f"Vault was not ready within {self.timeout:g} s")
        from ..connections import vault_backend
        from ..errors import ConfigurationError
        from .vault_up import VaultUpTrigger

        backend = vault_backend()
        if backend is None:
            raise ConfigurationError(_NO_BACKEND)
        access = backend.for_inspection()
        trigger = VaultUpTrigger(
            access.url, access.verify, access.namespace, float(self.poke_interval), access.cert
        )
        self.defer(
            trigger=trigger, method_name="resume", kwargs={"until": until}, timeout=timedelta(seconds=left)
        )
        raise AssertionError("deferring raises")


_NO_BACKEND = "there is no VaultSecretsBackend to ask; configure it in [secrets] backend"


def _probe(task: Any, context: Context) -> list[dict[str, Any]]:
    from airflow.sdk.exceptions import AirflowFailException

    from .. import leases
    from ..connections import vault_backend
    from ..errors import ConfigurationError, StoreUnavailable, raise_alone
    from ..vault.durations import in_words
    from ..vault.shortfalls import shortfalls
    from ._failures import as_airflow_failures
    from ._runtime import runtime_of

    failure: Exception | None = None
    with as_airflow_failures():
        if isinstance(task.conn_ids, str) or not task.conn_ids:
            raise ConfigurationError(f"task {task.task_id!r}: conn_ids is a list of connection ids")
        backend = vault_backend()
        if backend is None:
            raise ConfigurationError(_NO_BACKEND)
        for conn_id in task.conn_ids:
            try:
                found = backend.get_conn_value(conn_id)
            except Exception as error:  # noqa: BLE001 (the backend's denial, of which one kind passes)
                kind = StoreUnavailable if getattr(error, "transient", False) else AirflowFailException
                failure = kind(str(error))
                break
            if found is None:
                raise ConfigurationError(
                    f"connection {conn_id!r} is neither in Vault nor dynamic; see [secrets] backend_kwargs"
                )
    if failure is not None:
        raise_alone(failure)
    with as_airflow_failures():
        seconds = runtime_of(task, context)
        short = shortfalls(leases.BOOK.living(), seconds) if seconds is not None else []
        if short:
            raise ConfigurationError(
                f"the job is expected to take {in_words(seconds or 0)} (min_ttl), and " + "; ".join(short)
            )
    return [
        {
            "connection": each.conn_id,
            "engine": each.engine,
            "role": each.role,
            "ttl_seconds": each.ttl_seconds,
        }
        for each in leases.credential_records()
        if each.conn_id in task.conn_ids
    ]

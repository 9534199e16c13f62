"""Waits in the triggerer until Vault is up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from ..vault.sessions import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, session

log = logging.getLogger(__name__)


class VaultUpTrigger(BaseTrigger):
    """Fires once Vault is reachable, initialised and unsealed. It needs no login and takes no credential.

    :param verify: whether Vault's certificate is checked, or the CA file by which it is, on the triggerer's machine.
    :param interval: seconds before each question.
    :param cert: files of certificate and key that we show, on the triggerer's machine.
    """

    def __init__(
        self, url: str, verify: bool | str, namespace: str, interval: float, cert: list[str] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.url = url
        self.verify = verify
        self.namespace = namespace
        self.interval = interval
        self.cert = cert

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Nothing of it is secret."""
        arguments = {name: getattr(self, name) for name in ("url", "verify", "namespace", "interval", "cert")}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            # Before the first too: Vault may be up, and what failed something else that wants its time.
            await asyncio.sleep(self.interval)
            status = await asyncio.to_thread(self._status)
            if status in (200, 429, 472, 473):  # active, or a standby that passes requests on
                yield TriggerEvent({"status": status})  # type: ignore[no-untyped-call]
                return
            log.info("Vault at %s is not up: %s", self.url, status)

    def _status(self) -> int | str:
        """The status of ``sys/health``, or what kept it from answering."""
        import requests

        headers = {"X-Vault-Namespace": self.namespace} if self.namespace else {}
        cert = tuple(self.cert) if self.cert else None
        with session(verify=self.verify, cert=cert, retry_answers=False) as own:
            try:
                answer = own.get(
                    f"{self.url.rstrip('/')}/v1/sys/health",
                    headers=headers,
                    timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
                    verify=self.verify,  # a session's own would give way to REQUESTS_CA_BUNDLE
                )
            except requests.RequestException as error:
                return type(error).__name__
            return int(answer.status_code)

"""What the lease book asks of the backend: to issue, renew and revoke, each with requests of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..vault.engines import (
    issue_aws_lease,
    issue_database_lease,
    read_static_credential,
    renew,
    revoke,
)
from ..vault.failures import vault_failure
from ..vault.lease import Lease
from ..vault.login import Login
from ..vault.sessions import REVOKE_TIMEOUT_SECONDS, with_session
from ._client import BackendClient
from ._dynamic import DynamicConnection

if TYPE_CHECKING:
    import hvac

T = TypeVar("T")


class BackendLender:
    """:param client: whose login issues and ends the leases."""

    def __init__(self, client: BackendClient) -> None:
        self._client = client
        self.login: Login | None = None

    def issue(self, entry: DynamicConnection, session_name: str | None) -> Lease:
        """:param session_name: of an assumed AWS role. :raises Exception: of the request."""

        def asked(client: hvac.Client) -> Lease:
            self.login = self._client.login_of(
                client
            )  # before, so that the lease is never held under another
            with self._client.new_session(retry_answers=entry.static) as own:
                once = with_session(client, own, self._client.kwargs["timeout"])
                if entry.engine == "aws":
                    return issue_aws_lease(
                        once,
                        entry.mount,
                        entry.role,
                        role_arn=entry.role_arn,
                        ttl=entry.ttl,
                        session_name=session_name,
                    )
                ask = read_static_credential if entry.static else issue_database_lease
                return ask(once, entry.mount, entry.role)

        return self._client._run_with_reauth(asked)

    def renew(self, lease: Lease, seconds: float | None = None) -> int:
        return self._asked("sys/leases/renew", lambda client: renew(client, lease, seconds))

    def revoke(self, lease: Lease, seconds: float) -> None:
        timeout = max(0.1, min(REVOKE_TIMEOUT_SECONDS, seconds))
        self._asked("sys/leases/revoke", lambda client: self._end(client, lease), timeout)

    def seconds_left(self) -> float:
        return self.login.seconds_left() if self.login is not None else float("inf")

    def is_ending(self) -> bool:
        return self.login is not None and self.login.is_stale()

    def _asked(self, path: str, ask: Callable[[Any], T], timeout: float | None = None) -> T:
        """:raises SecureProviderError: for any failure."""
        failure = None
        with self._client.new_session(retry_answers=False, retry_connect=timeout is None) as own:
            try:
                # Under the login that it was issued to, whatever came later.
                client = with_session(
                    self._client._unauthenticated(self.login.token if self.login else None),
                    own,
                    timeout or self._client.kwargs["timeout"],
                )
                return ask(client)
            except Exception as error:  # noqa: BLE001 - mapped
                failure = vault_failure(error, path=path, url=self._client.address)
        raise failure

    def _end(self, client: Any, lease: Lease) -> None:
        from hvac.exceptions import Forbidden

        login = self.login
        if login is not None and login.ended:
            return
        try:
            revoke(client, lease.lease_id)
        except Forbidden:
            if login is None or not login.is_ours:
                raise
            # Not allowed sys/leases/revoke. The login is this process's alone: ending it ends its leases.
            with login.ending:
                if not login.ended:
                    client.auth.token.revoke_self()
                    login.ended = True

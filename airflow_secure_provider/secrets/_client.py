"""The hashicorp provider's client, with logins that processes share, renew and check."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.hashicorp._internal_client.vault_client import _VaultClient

from .. import leases
from ..errors import ConfigurationError, SecureProviderError
from ..vault.failures import vault_failure
from ..vault.login import Login, fingerprint, refuse_unfit
from ..vault.sessions import REVOKE_TIMEOUT_SECONDS, session, with_session
from ._secret_id import read_secret_id, unwrapped_secret_id
from ._settings import OwnSettings

if TYPE_CHECKING:
    import hvac

T = TypeVar("T")

# Who we are to Vault: look-ups that differ in any of these share neither login nor lease.
_IDENTITY = [
    "auth_type", "auth_mount_point", "role_id", "secret_id", "token", "token_path", "username", "password", "key_id",
    "kubernetes_role", "kubernetes_jwt_path", "jwt_role", "jwt_token", "jwt_token_path", "gcp_key_path",
    "azure_tenant_id", "radius_host", "region", "assume_role_kwargs",
]  # fmt: skip
_SETTLE_SECONDS = 1.0


class _Locks:
    """Of this process; a fork has its own, since another thread may have held its parent's."""

    def __init__(self) -> None:
        self.renew()
        os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.login = threading.RLock()


_LOCKS = _Locks()


class BackendClient(_VaultClient):  # type: ignore[misc]
    """
    Logs in once per process, and not again while the token lives: forks and new backends share it.

    :param own: what goes beyond the arguments of the hashicorp provider, which ``stock`` are.
    """

    def __init__(self, own: OwnSettings, **stock: Any) -> None:
        self.own = own
        self._certificate = stock.get("auth_type") == "cert"
        if self._certificate:  # not one of the provider's
            stock["auth_type"], stock["token"] = "token", "cert"
        if own.jwt_client_credentials is not None:
            stock["jwt_token_path"] = stock.get("jwt_token_path") or "(from the token endpoint)"
        super().__init__(**stock)
        if self._certificate:
            self.auth_type, self.token = "cert", None
        self._brings_session = "session" in stock
        self._session_pid: int | None = None
        own_parts = (own.secret_id_path, own.cert_role, own.jwt_client_credentials, self.kwargs.get("cert"))
        self.identity = fingerprint(*(getattr(self, name, None) for name in _IDENTITY), *own_parts)

    @property
    def address(self) -> str:
        return str(self.url or os.environ.get("VAULT_ADDR", "(no url given)")).rstrip("/")

    @property
    def _login_key(self) -> tuple[str, str, str]:
        return self.address, str(self.kwargs.get("namespace") or ""), self.identity

    def prepare(self) -> None:
        """Before any request: a session of this process, and a token that lives."""
        if self._session_pid != os.getpid() and not self._brings_session:
            # A forked child that went on with its parent's TLS connection would garble it for both.
            inherited = self.kwargs.get("session")
            self.kwargs["session"] = self.new_session()
            if "_made" in self.__dict__:
                self.__dict__["_made"].session = self.kwargs["session"]
            if inherited is not None:
                inherited.close()  # this process's descriptors only; the parent's connection lives on
            self._session_pid = os.getpid()
        known = leases.LOGINS.get(self._login_key)
        if known is not None and known.is_stale():
            leases.LOGINS.pop(self._login_key, None)
            known = None
        made = self.__dict__.get("_made")
        if made is not None and (known is None or known.token != made.token):
            self._invalidate_client()

    def checked(self) -> hvac.Client:
        """Logged in, with a token that was taken; what the login raises otherwise."""
        self.prepare()
        return self.client

    def end_login(self) -> None:
        """The login of this process, if it made one: for commands, which end sooner than the token would."""
        login = leases.LOGINS.pop(self._login_key, None)
        self._invalidate_client()
        if login is not None and login.ender is not None and login.is_ours and not login.ended:
            with contextlib.suppress(SecureProviderError):
                login.ender(login.token, REVOKE_TIMEOUT_SECONDS)
        self.close()

    @property
    def verify(self) -> bool | str:
        """Whether Vault's certificate is checked, or the CA file by which it is."""
        verify = self.kwargs.get("verify")
        if verify is None:
            return os.environ.get("VAULT_CACERT") or os.environ.get("VAULT_CAPATH") or True
        return verify if isinstance(verify, str) else bool(verify)

    def new_session(self, *, retry_answers: bool = True, retry_connect: bool = True) -> Any:
        if isinstance(self.verify, str) and not os.path.exists(self.verify):
            raise ConfigurationError(
                f"ca_cert {self.verify!r} does not exist, or this process may not see it"
            )
        return session(
            retry_connect=retry_connect,
            verify=self.verify,
            cert=_pair(self.kwargs.get("cert")),
            proxies=self.kwargs.get("proxies"),
            retry_answers=retry_answers,
        )

    def close(self) -> None:
        if "session" in self.kwargs and not self._brings_session:
            self.kwargs["session"].close()

    def login_of(self, client: hvac.Client) -> Login | None:
        """The login whose token a client has, if it is the living one."""
        known = leases.LOGINS.get(self._login_key)
        return known if known is not None and known.token == client.token else None

    # How the hashicorp provider gets its client.

    @property
    def _client(self) -> hvac.Client:
        """One login for all threads of a process; not the provider's cached_property, which differs between Pythons."""
        with _LOCKS.login:
            made = self.__dict__.get("_made")
            if made is None:
                made = self.__dict__["_made"] = self._new_client()
            return made

    def _invalidate_client(self) -> None:
        self.__dict__.pop("_made", None)

    def _new_client(self) -> hvac.Client:
        known = leases.LOGINS.get(self._login_key)
        if known is not None and not known.is_stale():
            return self._unauthenticated(known.token)
        if "session" not in self.kwargs:
            self.prepare()
        answers: list[dict[str, Any]] = []
        hooks = self.kwargs["session"].hooks["response"]
        started = time.monotonic()

        def remember(answer: Any, *_: Any, **__: Any) -> None:
            if answer.status_code == 200 and "/v1/auth/" in answer.url and "/login" in answer.url:
                answers.append(answer.json().get("auth") or {})

        hooks.append(remember)
        try:
            client = self._logged_in()
            if answers:
                login = Login.of(answers[-1], own=True, started=started)
            else:
                login = Login.of(client.auth.token.lookup_self()["data"], own=False, started=started)
        finally:
            hooks.remove(remember)
        self._refuse_unfit(login, client)
        login.auth_type = self.auth_type
        # A token file's owner (such as Vault Agent) renews it.
        if login.renewable and not (self.auth_type == "token" and self.token_path):
            login.renewer = self._renew_token
        if login.is_ours:
            login.ender = self._end_token
        leases.LOGINS[self._login_key] = login
        return client

    def _refuse_unfit(self, login: Login, client: hvac.Client) -> None:
        try:
            refuse_unfit(login, client, self.own.allow_tokens)
        except Exception:
            if login.is_ours:  # what is not used shall not live on
                with contextlib.suppress(SecureProviderError):
                    self._end_token(login.token)
            raise

    def _run_with_reauth(self, operation: Callable[[hvac.Client], T]) -> T:
        """Log in again only if it is the token that is refused, and not the path: Vault answers 403 to both."""
        from hvac.exceptions import Forbidden

        self.prepare()
        try:
            return operation(self.client)
        except Forbidden:
            if self._token_lives():
                raise
        self.log.debug("Vault no longer takes the token; logging in again.")
        dead = leases.LOGINS.pop(self._login_key, None)
        if dead is not None:
            dead.is_dead()
        self._invalidate_client()
        time.sleep(random.uniform(0, _SETTLE_SECONDS) if leases.in_task() else 0)  # noqa: S311 (no secret)
        return operation(self.client)

    def _token_lives(self) -> bool:
        from hvac.exceptions import Forbidden

        try:
            self.client.auth.token.lookup_self()
        except Forbidden:
            return False
        return True

    # Logins.

    def _unauthenticated(self, token: str | None = None) -> hvac.Client:
        import hvac

        return hvac.Client(url=self.url, token=token, **self.kwargs)

    def _logged_in(self) -> hvac.Client:
        own = self.own
        if own.secret_id_wrapping_token_path and own.secret_id_path:
            self.secret_id = unwrapped_secret_id(
                own.secret_id_wrapping_token_path, own.secret_id_path, self._unauthenticated
            )
        elif own.secret_id_path:
            self.secret_id = read_secret_id(own.secret_id_path)
        if self._certificate:
            client = self._unauthenticated()
            body = {"name": own.cert_role} if own.cert_role else {}
            client.adapter.login(f"/v1/auth/{self.auth_mount_point or 'cert'}/login", json=body)
            return client
        parent: Any = _VaultClient.__dict__["_client"]
        made: hvac.Client = parent.func(self)
        return made

    def _auth_jwt(self, _client: hvac.Client) -> None:
        given = self.own.jwt_client_credentials
        if given is None:
            super()._auth_jwt(_client)
            return
        token = self._identity_token(given)
        _client.auth.jwt.jwt_login(role=self.jwt_role, jwt=token, path=self.auth_mount_point or None)

    def _identity_token(self, given: Any) -> str:
        """OAuth 2.0 client credentials: what the identity provider issues is what Vault is shown."""
        from airflow.sdk.log import mask_secret

        from ..stores.http_authentication import ClientCredentials

        secret = given.get("client_secret") or Path(given["client_secret_path"]).read_text("utf-8").strip()
        credentials = ClientCredentials(
            given["token_url"],
            given["client_id"],
            secret,
            {name: given[name] for name in ("scope", "audience") if name in given},
            in_body=given.get("client_auth") == "body",
            verify=given.get("ca_cert", True),
            timeout=10.0,
            on_token=mask_secret,
        )
        bearer = credentials.headers()["Authorization"]
        return bearer.removeprefix("Bearer ")

    def _renew_token(self, token: str, seconds: int) -> int:
        """:return: the seconds that it lives from now. :raises SecureProviderError: if it is not renewed."""
        renewed = self._apart(
            token, "auth/token/renew-self", lambda each: each.auth.token.renew_self(increment=f"{seconds}s")
        )
        return int(renewed["auth"]["lease_duration"])

    def _end_token(self, token: str, seconds: float = REVOKE_TIMEOUT_SECONDS) -> None:
        """:param seconds: to be done in. :raises SecureProviderError: if it lives on."""
        self._apart(token, "auth/token/revoke-self", lambda each: each.auth.token.revoke_self(), seconds)

    def _apart(
        self,
        token: str,
        path: str,
        ask: Callable[[hvac.Client], Any],
        seconds: float = REVOKE_TIMEOUT_SECONDS,
    ) -> Any:
        """With a session of its own: other threads of the task may be asking too."""
        failure = None
        with self.new_session(retry_answers=False, retry_connect=False) as own:
            try:
                return ask(
                    with_session(
                        self._unauthenticated(token), own, max(0.1, min(REVOKE_TIMEOUT_SECONDS, seconds))
                    )
                )
            except Exception as error:  # noqa: BLE001 - mapped
                failure = vault_failure(error, path=path, url=self.address)
        raise failure


def _pair(cert: Any) -> Any:
    """JSON has no tuples."""
    return tuple(cert) if isinstance(cert, list) else cert

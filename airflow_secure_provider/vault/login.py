"""A token of ours, and whether it should be ours."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError

if TYPE_CHECKING:
    import hvac

KINDS = ("root", "never-expiring", "over-broad")
_SALT = secrets.token_bytes(32)
_PROBE = "airflow-secure-provider-probe"
# Nobody who only reads secrets may change these.
_ADMINISTRATION = tuple(
    f"{path}/{_PROBE}"
    for path in (
        "sys/policies/acl", "sys/policy", "sys/auth", "sys/mounts", "sys/raw", "identity/entity", "identity/group",
        "auth/approle/role", f"auth/{_PROBE}/role", "auth/token/roles",
    )
)  # fmt: skip
_CHANGES = frozenset({"create", "update", "delete", "patch", "sudo", "root"})


@dataclass(slots=True)
class Login:
    """A token and how long it lives.

    :ivar span: seconds that the last answer gave it; infinite for a token that never expires.
    :ivar auth_type: how it was got: ``approle``, ``token``, …
    :ivar made_by: the process that logged in and so may end it; 0 for a token that was given.
    """

    token: str = field(repr=False)
    policies: tuple[str, ...]
    span: float
    renewable: bool
    started: float  # time.monotonic()
    made_by: int
    auth_type: str = ""
    ended: bool = False  # by us, and with it all its leases
    ending: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    renewer: Callable[[str, int], int] | None = field(repr=False, default=None)
    ender: Callable[[str, float], None] | None = field(repr=False, default=None)

    @classmethod
    def of(cls, auth: Mapping[str, Any], *, own: bool, started: float) -> Login:
        """From the ``auth`` of a login's answer, or the ``data`` of a look-up."""
        seconds = auth.get("lease_duration", auth.get("ttl", 0))
        return cls(
            token=str(auth.get("client_token") or auth.get("id")),
            policies=tuple(auth.get("policies") or ()),
            span=float(seconds) or float("inf"),
            renewable=bool(auth.get("renewable")),
            started=started,
            made_by=os.getpid() if own else 0,
        )

    @property
    def is_ours(self) -> bool:
        """Whether this very process logged in: a token of its parent's is not its to end."""
        return self.made_by == os.getpid()

    def seconds_left(self) -> float:
        return self.started + self.span - time.monotonic()

    own_seconds_left = seconds_left  # as a lease has it

    def is_dead(self) -> None:
        """Vault does not take it any more, and what was issued to it is gone too."""
        self.started = float("-inf")
        self.span = 0.0

    def is_stale(self) -> bool:
        return self.seconds_left() < min(5.0, self.span / 4)

    def renew(self, seconds: float | None = None) -> None:
        """Ask for so many seconds, or for as long as it has been given. :raises Exception: of the request."""
        if self.renewer is None:
            raise ConfigurationError("this login can't be renewed")
        started = time.monotonic()
        self.span, self.started = float(self.renewer(self.token, int(seconds or self.span))), started


def fingerprint(*parts: object) -> str:
    """A name for who asks Vault, good for this process and its forks; what they authenticate with can't be guessed."""
    return hmac.new(_SALT, "\x00".join(map(repr, parts)).encode(), hashlib.sha256).hexdigest()[:16]


def broader_than_needed(client: hvac.Client) -> str | None:
    """What the token may do that no reader of secrets needs; None for nothing, or if it may not ask that.

    One request (``sys/capabilities-self``, which the ``default`` policy allows).
    """
    from hvac.exceptions import Forbidden

    try:
        answer = client.adapter.post(
            "/v1/sys/capabilities-self", json={"paths": [*_ADMINISTRATION, f"{_PROBE}/anything"]}
        )
    except Forbidden:
        return None
    held = answer.get("data") or answer
    for path in _ADMINISTRATION:
        if _CHANGES & set(held.get(path, ())):
            return f"it may change {path.rpartition('/')[0]}"
    if set(held.get(f"{_PROBE}/anything", ["deny"])) - {"deny"}:
        return 'its policies open paths that nobody has named (such as `path "*"`)'
    return None


def refuse_unfit(login: Login, client: hvac.Client, allowed: Sequence[str]) -> None:
    """
    :raises ConfigurationError: for a token that is root, never expires or may do too much, unless its kind is allowed.
    """
    if "root" in login.policies:
        found, why = "root", "it is a root token"
    elif login.span == float("inf"):
        found, why = "never-expiring", "it never expires"
        if found in allowed and "over-broad" not in allowed:
            found, why = "over-broad", broader_than_needed(client) or ""
    else:
        found, why = "over-broad", "" if "over-broad" in allowed else broader_than_needed(client) or ""
    if why and found not in allowed:
        raise ConfigurationError(
            f"this Vault token is refused: {why}. Give Airflow an AppRole (or another login) whose policies name what it "
            f'reads, with a TTL; or allow it by name: "allow_tokens": ["{found}"] in backend_kwargs'
        )

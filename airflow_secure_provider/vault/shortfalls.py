"""Whether what Vault has lent will last."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import SecureProviderError
from .durations import as_vault_writes, in_words
from .lease import Held
from .login import Login

_ROUNDING_SECONDS = 2.0  # Vault answers in whole seconds, and an answer takes a while


def shortfalls(living: Iterable[Held], seconds: float) -> list[str]:
    """
    Have Vault give the leases of this task, and the login that they end with, the time that the task will take.

    :return: a sentence for each that Vault does not give as much: by how much it falls short, and what to change.
    """
    found = []
    for held in living:
        if not held.lease.lease_id:
            continue  # a static role's password: sessions go on when it changes
        login = held.lender.login
        if login is not None and login.seconds_left() < seconds:
            found += _shortfall_of_login(login, seconds)
        if held.own_seconds_left() < seconds:
            found += _shortfall_of(held, seconds)
    return list(dict.fromkeys(found))


def _shortfall_of(held: Held, seconds: float) -> list[str]:
    lease, problem = held.lease, ""
    if lease.renewable:
        problem = _renewed(held, seconds)
    left = held.own_seconds_left()
    if left >= seconds - _ROUNDING_SECONDS:
        return []
    setting = {"aws": "default_sts_ttl and max_sts_ttl"}.get(lease.engine, "max_ttl")
    said = (
        f"the credential of connection {held.key.conn_id!r} can live {in_words(left)}, {in_words(seconds - left)} too short"
        f"{problem}: raise {setting} of the role (`vault write {lease.mount}/roles/{lease.role} …`) to "
        f"{as_vault_writes(seconds)} or more, and the mount's own (`vault secrets tune -max-lease-ttl`) if it is lower"
    )
    return [said]


def _shortfall_of_login(login: Login, seconds: float) -> list[str]:
    if login.renewer is None and login.renewable:
        return []  # its owner, such as Vault Agent, renews it
    problem = "" if login.renewer is None else _renewed(login, seconds)
    left = login.seconds_left()
    if left >= seconds - _ROUNDING_SECONDS:
        return []
    said = (
        f"the login to Vault ({login.auth_type or 'token'}), with which all credentials end, can live {in_words(left)}, "
        f"{in_words(seconds - left)} too short{problem}: raise token_max_ttl of its role to {as_vault_writes(seconds)} or more"
    )
    return [said]


def _renewed(each: Held | Login, seconds: float) -> str:
    try:
        each.renew(seconds)
    except SecureProviderError as error:
        return f" (it was not renewed: {error})"
    return ""

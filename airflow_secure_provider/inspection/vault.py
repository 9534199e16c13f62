"""Whether the secrets backend will get from Vault what it is configured for."""

from __future__ import annotations

import os
import stat
import time
from typing import Any
from urllib.parse import urlsplit

from ..errors import SecureProviderError
from ..vault.durations import in_words, parse_duration
from ..vault.engines import issue_aws_lease, issue_database_lease, read_static_credential, revoke
from ..vault.lease import Lease
from ..vault.sessions import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS, with_session
from .findings import Finding, Findings, failed, ok, unknown, warning
from .tls import SOON_DAYS, NoTls, handshake, tls_problem
from .vault_access import Credential, VaultAccess

_PART = "vault"
_PROBE = "airflow-secure-provider-probe"
_MOST_SKEW_SECONDS = 30.0
_SHORT_TTL_SECONDS = 300.0
_LONG_TTL_SECONDS = 86400.0


def check_vault(access: VaultAccess, *, issue: bool = False) -> Findings:
    """:param issue: take each credential for real, and give it back at once."""
    for look in (_tls, _health):  # a login over what is not trusted, or to what is sealed, is not tried
        found = list(look(access))
        yield from found
        if any(each.verdict == "failed" for each in found):
            yield unknown(_PART, "login, policies, roles", "not looked at, since Vault can't be asked")
            return
    try:
        client = access.client()
    except Exception as error:  # noqa: BLE001 (mapped)
        yield failed(_PART, f"login ({access.auth_type})", str(access.failure(error, "login")))
        yield unknown(_PART, "policies, roles", "not looked at, since there is no login")
        return
    yield from _files(access)
    yield from _login(access, client)
    yield from _capabilities(access, client)
    for credential in access.credentials:
        yield from check_credential(access, client, credential, issue=issue)


def check_credential(access: VaultAccess, client: Any, credential: Credential, *, issue: bool) -> Findings:
    """Its role, and with *issue* itself."""
    yield from _role(access, client, credential)
    if issue and "{conn_id}" not in credential.path:
        yield _issued(access, client, credential)


def _tls(access: VaultAccess) -> Findings:
    split = urlsplit(access.url)
    subject = f"TLS of {access.url}"
    if split.scheme != "https":
        yield failed(_PART, subject, "it is plaintext http: every secret passes in the clear; use https")
        return
    if access.verify is False:
        yield failed(_PART, subject, "its certificate is not checked (verify is false); set ca_cert")
        return
    try:
        found = handshake(split.hostname or "", split.port or 443, access.verify, cert=access.cert)
    except NoTls:
        yield failed(_PART, subject, "it speaks no TLS")
        return
    except OSError as error:
        yield failed(
            _PART, subject, f"{tls_problem(error)}; check url, ca_cert and the network between here and there"
        )
        return
    said = f"{found.protocol}, {found.cipher}, trusted, its certificate expires in {found.days_left:.0f} days"
    yield (warning if found.days_left < SOON_DAYS else ok)(_PART, subject, said)


def _health(access: VaultAccess) -> Findings:
    import requests

    subject = "health"
    with access.session() as own:
        try:
            answer = own.get(
                f"{access.url.rstrip('/')}/v1/sys/health?standbyok=true&sealedcode=200&uninitcode=200",
                timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS),
                verify=access.verify,  # a session's own would give way to REQUESTS_CA_BUNDLE
            )
            body = answer.json()
        except (requests.RequestException, ValueError) as error:
            yield failed(_PART, subject, str(access.failure(error, "sys/health")))
            return
    if not body.get("initialized", False):
        yield failed(_PART, subject, "Vault is not initialised")
    elif body.get("sealed", True):
        yield failed(_PART, subject, "Vault is sealed; have its operators unseal it")
    else:
        yield ok(
            _PART,
            subject,
            f"version {body.get('version')}, unsealed" + (", standby" if body.get("standby") else ""),
        )
    skew = abs(float(body.get("server_time_utc", 0)) - time.time())
    said = f"Vault's clock and ours are {skew:.0f} s apart"
    if skew > _MOST_SKEW_SECONDS:
        yield warning(
            _PART,
            "clock",
            f"{said}: JWTs, certificates and STS credentials may be refused; set the clocks (NTP)",
        )
    else:
        yield ok(_PART, "clock", said)


def _files(access: VaultAccess) -> Findings:
    """What others may read they may log in with."""
    for name, path in access.secret_files.items():
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:
            continue  # the login tells
        if mode & 0o077:
            yield warning(
                _PART,
                f"{name} {path}",
                f"mode {mode:04o}: others may read it; chmod 600, and issue a new one",
            )


def _login(access: VaultAccess, client: Any) -> Findings:
    subject = f"login ({access.auth_type})"
    try:
        data = client.auth.token.lookup_self()["data"]
    except Exception as error:  # noqa: BLE001 (mapped)
        yield failed(_PART, subject, str(access.failure(error, "auth/token/lookup-self")))
        return
    ttl = float(data.get("ttl") or 0)
    said = (
        f"policies {', '.join(data.get('policies') or ())}; lives {in_words(ttl) if ttl else 'for ever'}"
        + (", renewable" if data.get("renewable") else ", not renewable")
    )
    if not ttl or "root" in (data.get("policies") or ()):
        yield warning(_PART, subject, f"{said}: allowed by allow_tokens; better an AppRole with a TTL")
    elif ttl < _SHORT_TTL_SECONDS and not data.get("renewable"):
        yield warning(_PART, subject, f"{said}: leases end with it; raise token_ttl")
    else:
        yield ok(_PART, subject, said)


def _capabilities(access: VaultAccess, client: Any) -> Findings:
    """One request: what the policies of the login allow where the configuration will ask."""
    infix = "/data" if access.kv_version == 2 else ""
    named = [each for each in access.credentials if "{conn_id}" not in each.path + (each.template or "")]
    if access.mount_point:
        kv = {f"{access.mount_point}{infix}/{path}/{_PROBE}".replace("//", "/") for path in access.kv_paths}
        templates = [f"{access.mount_point}{infix}/{each.template}" for each in named if each.template]
    else:
        kv, templates = set(), []
        yield unknown(
            _PART,
            "policies for KV",
            "mount_point is null, so the paths are known only when something is looked up",
        )
    needed = dict.fromkeys([*sorted(kv), *templates], "read") | {each.path: each.capability for each in named}
    needed["sys/leases/revoke"] = "update"
    if access.credentials:
        needed["sys/leases/renew"] = "update"
    try:
        answer = client.adapter.post("/v1/sys/capabilities-self", json={"paths": list(needed)})
    except Exception as error:  # noqa: BLE001 (mapped)
        yield unknown(_PART, "policies", str(access.failure(error, "sys/capabilities-self")))
        return
    held = answer.get("data") or answer
    for path, capability in needed.items():
        yield _allowed(path, capability, set(held.get(path) or ()), wildcard=path in kv)


def _allowed(path: str, capability: str, granted: set[str], *, wildcard: bool) -> Finding:
    shown = path.replace(_PROBE, "*")
    subject = f"policy for {shown}"
    if {capability, "root"} & granted:
        return ok(_PART, subject, capability)
    missing = f'path "{shown}" {{ capabilities = ["{capability}"] }}'
    if wildcard:
        return warning(
            _PART, subject, f"not all below it may be read; unless policies name each secret: {missing}"
        )
    if path == "sys/leases/revoke":
        return warning(
            _PART,
            subject,
            f"leases are ended by ending the task's login, and `leases sweep` can't end any; better: {missing}",
        )
    return failed(_PART, subject, f"missing: {missing}")


def _role(access: VaultAccess, client: Any, credential: Credential) -> Findings:
    subject = f"role of {credential.name!r}"
    if "{conn_id}" in credential.path:
        yield unknown(_PART, subject, f"{credential.role_path} is known only when a connection is looked up")
        return
    try:
        data = client.adapter.get(f"/v1/{credential.role_path}")["data"]
    except Exception as error:  # noqa: BLE001 (mapped)
        from hvac.exceptions import Forbidden, InvalidPath

        if isinstance(error, InvalidPath):
            yield failed(_PART, subject, f"{credential.role_path} does not exist in Vault")
        elif isinstance(error, Forbidden):
            yield unknown(
                _PART, subject, f"the login may not read {credential.role_path}, so its TTLs are not known"
            )
        else:
            yield failed(_PART, subject, str(access.failure(error, credential.role_path)))
        return
    if credential.path.split("/")[-2] == "static-creds":
        yield ok(
            _PART,
            subject,
            f"static, its password changes every {in_words(_seconds(data.get('rotation_period')))}",
        )
        return
    ttl, most = (_seconds(data.get(name)) for name in ("default_ttl", "max_ttl"))
    if credential.engine == "aws":
        ttl, most = (_seconds(data.get(name)) for name in ("default_sts_ttl", "max_sts_ttl"))
    said = f"TTL {in_words(ttl) if ttl else 'of the mount'}, at most {in_words(most) if most else 'of the mount'}"
    if not ttl and credential.engine == "database":
        yield warning(_PART, subject, f"{said}, which is 32 days unless it is tuned; set default_ttl")
    elif ttl > _LONG_TTL_SECONDS:
        yield warning(
            _PART,
            subject,
            f"{said}: after a SIGKILL a login lives as long; lower default_ttl, leases are renewed",
        )
    else:
        yield ok(_PART, subject, said)


def _issued(access: VaultAccess, client: Any, credential: Credential) -> Finding:
    subject = f"credential of {credential.name!r}"
    mount, _, role = credential.path.rpartition("/")
    mount, _, kind = mount.rpartition("/")
    try:
        # A session that asks once: an answer that was lost may have been a user, which nobody would revoke.
        with access.session(retry_answers=False) as own:
            once = with_session(client, own, (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
            lease = _ask(once, kind, mount, role, credential)
            if lease.lease_id:
                revoke(once, lease.lease_id)
    except Exception as error:  # noqa: BLE001 (mapped)
        return failed(_PART, subject, str(access.failure(error, credential.path)))
    if kind == "static-creds":
        return ok(_PART, subject, f"readable; its password changes in {in_words(lease.ttl_seconds)}")
    said = f"issued for {in_words(lease.ttl_seconds)}"
    if kind == "sts":
        said += "; STS does not take it back before"
    return ok(_PART, subject, said + (", given back" if kind == "creds" else ""))


def _ask(client: Any, kind: str, mount: str, role: str, credential: Credential) -> Lease:
    if kind != "sts":
        ask = read_static_credential if kind == "static-creds" else issue_database_lease
        return ask(client, mount, role)
    name = "airflow-secure-check"
    return issue_aws_lease(
        client, mount, role, role_arn=credential.role_arn, ttl=credential.ttl, session_name=name
    )


def _seconds(value: Any) -> float:
    try:
        return parse_duration(value) if value else 0.0
    except SecureProviderError:
        return 0.0

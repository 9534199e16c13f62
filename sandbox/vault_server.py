"""The Vault stand-in's server: the part of Vault's HTTP API that this repository uses, over TLS.

It is not Vault. It keeps everything in memory, listens on 127.0.0.1 only, and is for tests and the demo.
Started by :class:`sandbox.vault.VaultStandIn`; read from the top: a request is a path, a verb, a token
and a JSON body; :class:`Core` admits it, and hands it to the backend that is mounted at the path's start.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import hmac
import json
import os
import re
import secrets
import socket
import ssl
import string
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SERVER_NAME = "airflow-secure-provider-vault-stand-in"
DEFAULT_TTL_SECONDS = 32 * 24 * 3600
SWEEP_SECONDS = 0.1
RETRY_SECONDS = 1.0  # between attempts to revoke what could not be revoked

JSON = dict[str, Any]


class Refused(Exception):
    """An answer of 4xx or 5xx, with Vault's ``{"errors": […]}``."""

    def __init__(self, status: int, *errors: str, data: JSON | None = None) -> None:
        super().__init__(*errors)
        self.status, self.errors, self.data = status, list(errors), data


@dataclass(slots=True)
class Request:
    verb: str  # GET, LIST, POST, PUT or DELETE
    path: str  # below /v1/
    body: JSON
    query: Mapping[str, str]
    headers: Mapping[str, str]
    token: Token | None = None

    @property
    def writes(self) -> bool:
        return self.verb in ("POST", "PUT")

    def required(self, name: str) -> Any:
        if name not in self.body:
            raise Refused(400, f"missing {name}")
        return self.body[name]


@dataclass(slots=True)
class Answer:
    """What a request gets: ``envelope`` is the whole body, ``data`` only its data."""

    data: JSON | None = None
    envelope: JSON | None = None
    auth: JSON | None = None
    lease: Lease | None = None
    status: int = 0

    def rendered(self) -> tuple[int, JSON | None]:
        if self.envelope is not None:
            return self.status or 200, self.envelope
        if self.data is None and self.auth is None:
            return self.status or 204, None
        lease = self.lease
        return self.status or 200, {
            "request_id": str(uuid.uuid4()),
            "lease_id": lease.lease_id if lease else "",
            "lease_duration": lease.ttl_seconds if lease else 0,
            "renewable": lease.renewable if lease else False,
            "data": self.data,
            "auth": self.auth,
            "wrap_info": None,
            "warnings": None,
        }


@dataclass(slots=True, eq=False)
class Token:
    token: str
    policies: list[str]
    ttl_seconds: int  # 0: never expires
    path: str
    display_name: str
    max_ttl_seconds: int = DEFAULT_TTL_SECONDS
    renewable: bool = True
    uses: int = 0  # 0: any number
    parent: Token | None = None
    meta: JSON | None = None
    accessor: str = field(default_factory=lambda: _random(24))
    created_at: float = field(default_factory=time.time)
    expires_at: float | None = None  # monotonic

    def auth(self) -> JSON:
        return {
            "client_token": self.token,
            "accessor": self.accessor,
            "policies": self.policies,
            "token_policies": self.policies,
            "metadata": self.meta,
            "lease_duration": self.ttl_seconds,
            "renewable": self.renewable,
            "entity_id": "",
            "token_type": "service",
            "orphan": self.parent is None,
            "num_uses": self.uses,
        }

    def looked_up(self) -> JSON:
        expires = None
        if self.expires_at is not None:
            expires = _iso(time.time() + self.expires_at - time.monotonic())
        return {
            "id": self.token,
            "accessor": self.accessor,
            "policies": self.policies,
            "path": self.path,
            "display_name": self.display_name,
            "meta": self.meta,
            "creation_time": int(self.created_at),
            "creation_ttl": self.ttl_seconds,
            "ttl": _remaining(self.expires_at),
            "expire_time": expires,
            "explicit_max_ttl": 0,
            "renewable": self.renewable,
            "num_uses": self.uses,
            "orphan": self.parent is None,
            "type": "service",
            "entity_id": "",
        }


@dataclass(slots=True, eq=False)
class Lease:
    lease_id: str
    token: Token
    ttl_seconds: int
    max_ttl_seconds: int
    revoke: Callable[[], None]
    extend: Callable[[float], None]  # to so many seconds from now
    renewable: bool = True
    issued_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    expires_at: float = 0.0  # monotonic
    state: str = "active"  # active, revoked
    renewals: int = 0

    def looked_up(self) -> JSON:
        return {
            "id": self.lease_id,
            "issue_time": _iso(self.issued_at),
            "expire_time": _iso(time.time() + self.expires_at - time.monotonic()),
            "last_renewal": None,
            "renewable": self.renewable,
            "ttl": _remaining(self.expires_at),
        }


class Core:
    """Admission of requests, and all state that is not one backend's: tokens, leases, policies, mounts."""

    def __init__(self, root_token: str, unseal_key: str) -> None:
        self.lock = threading.RLock()
        self.unseal_key = unseal_key
        self.sealed = False
        self.policies = {"root": "", "default": _DEFAULT_POLICY}
        self.tokens: dict[str, Token] = {}
        self.leases: dict[str, Lease] = {}
        self.ended: list[Lease] = []
        self.requests: collections.Counter[str] = collections.Counter()
        self.faults: list[JSON] = []
        self.mounts: dict[str, Backend] = {
            "sys/": System(self, "sys/"),
            "auth/token/": Tokens(self, "auth/token/"),
        }
        self.mounts["secret/"] = Versioned(self, "secret/")
        self.tokens[root_token] = Token(root_token, ["root"], 0, "auth/token/root", "root", renewable=False)

    # Admission, step by step.

    def handle(self, request: Request) -> Answer:
        if request.headers.get("X-Vault-Namespace", "").strip("/"):
            raise Refused(400, "the stand-in has no namespaces")
        if request.headers.get("X-Vault-Wrap-TTL"):
            raise Refused(400, "the stand-in does not wrap responses")
        if request.path in ("sys/health", "sys/seal-status", "sys/unseal"):  # 1. answered even when sealed
            return self.mounts["sys/"].handle(request, request.path.removeprefix("sys/"))
        self._inject_fault(request)
        if self.sealed:  # 2.
            raise Refused(503, "Vault is sealed")
        backend, rest = self._backend(request.path)
        if backend is not None and backend.is_login(rest):  # 3. no token needed
            return backend.handle(request, rest)
        request.token = self._admitted(request.headers.get("X-Vault-Token", ""))  # 4. a live token
        self._authorise(request, backend, rest)  # 5. whose policies allow it
        if backend is None:
            raise Refused(404, f"no handler for route {request.path!r}. route entry not found.")
        try:
            return backend.handle(request, rest)
        finally:
            self._count_use(request.token)

    def _inject_fault(self, request: Request) -> None:
        with self.lock:
            for fault in self.faults:
                if request.path.startswith(fault.get("prefix", "")) and fault.get("times", 1) > 0:
                    fault["times"] = fault.get("times", 1) - 1
                    break
            else:
                return
        time.sleep(float(fault.get("delay_seconds", 0)))
        if "status" in fault:
            raise Refused(int(fault["status"]), "injected by the stand-in")

    def _backend(self, path: str) -> tuple[Backend | None, str]:
        with self.lock:
            found = max(
                (mount for mount in self.mounts if f"{path}/".startswith(mount)), key=len, default=None
            )
            return (self.mounts[found], path[len(found) :]) if found else (None, path)

    def _admitted(self, token: str) -> Token:
        with self.lock:
            found = self.tokens.get(token)
        if found is None or (found.expires_at is not None and found.expires_at <= time.monotonic()):
            raise Refused(403, "permission denied")
        return found

    def _authorise(self, request: Request, backend: Backend | None, rest: str) -> None:
        assert request.token is not None
        granted = self.capabilities(request.token, request.path)
        if request.verb == "LIST":
            granted |= self.capabilities(request.token, request.path.rstrip("/") + "/")
        needed = {"GET": "read", "LIST": "list", "DELETE": "delete"}.get(request.verb, "update")
        if request.writes and backend is not None and not backend.exists(rest):
            needed = "create"
        if "root" in granted:
            return
        needs_sudo = request.path.startswith(_ROOT_PATHS)
        if "deny" in granted or needed not in granted or (needs_sudo and "sudo" not in granted):
            raise Refused(403, "1 error occurred:\n\t* permission denied\n\n")

    def _count_use(self, token: Token) -> None:
        with self.lock:
            if not token.uses:
                return
            token.uses -= 1
            spent = token.uses == 0
        if spent:
            self.revoke_token(token)

    def capabilities(self, token: Token, path: str) -> set[str]:
        """What the token's policies allow at the path: of its most specific pattern, all policies together."""
        if "root" in token.policies:
            return {"root"}
        rules: dict[str, set[str]] = {}
        with self.lock:
            for name in token.policies:
                for pattern, granted in parse_policy(self.policies.get(name, "")).items():
                    rules.setdefault(pattern, set()).update(granted)
        matching = [pattern for pattern in rules if _matches(pattern, path)]
        if not matching:
            return set()
        allowed = rules[max(matching, key=_specificity)]
        return {"deny"} if "deny" in allowed else allowed

    # Tokens and leases.

    def create_token(self, token: Token) -> Token:
        if token.ttl_seconds:
            token.expires_at = time.monotonic() + token.ttl_seconds
        with self.lock:
            self.tokens[token.token] = token
        return token

    def revoke_token(self, token: Token) -> None:
        """The token, those made with it, and every lease of theirs."""
        with self.lock:
            self.tokens.pop(token.token, None)
            children = [each for each in self.tokens.values() if each.parent is token]
            leases = [lease for lease in self.leases.values() if lease.token is token]
            for lease in leases:
                lease.expires_at = 0.0  # what fails now is left to the sweeper
        for child in children:
            self.revoke_token(child)
        for lease in leases:
            with contextlib.suppress(Refused):
                self.revoke_lease(lease)

    def add_lease(self, lease: Lease) -> None:
        lease.expires_at = time.monotonic() + lease.ttl_seconds
        with self.lock:
            self.leases[lease.lease_id] = lease

    def revoke_lease(self, lease: Lease) -> None:
        with self.lock:
            if self.leases.pop(lease.lease_id, None) is None:
                return
        try:
            lease.revoke()
        except Exception as error:
            with self.lock:
                lease.expires_at = time.monotonic() + RETRY_SECONDS
                self.leases[lease.lease_id] = lease
            raise Refused(500, f"failed to revoke {lease.lease_id!r}: {type(error).__name__}") from error
        with self.lock:
            lease.state = "revoked"
            self.ended.append(lease)

    def renew_lease(self, lease: Lease, increment: int) -> None:
        now = time.monotonic()
        until = min(now + (increment or lease.ttl_seconds), lease.started + lease.max_ttl_seconds)
        if not lease.renewable or until <= now:
            raise Refused(400, "lease is not renewable")
        lease.extend(until - now)
        with self.lock:
            lease.expires_at = until
            lease.ttl_seconds = round(until - now)
            lease.renewals += 1

    def sweep(self) -> None:
        """End what has expired; runs all the time."""
        while True:
            time.sleep(SWEEP_SECONDS)
            if self.sealed:
                continue
            now = time.monotonic()
            with self.lock:
                tokens = [each for each in self.tokens.values() if each.expires_at and each.expires_at <= now]
                leases = [each for each in self.leases.values() if each.expires_at <= now]
            for token in tokens:
                self.revoke_token(token)
            for lease in leases:
                with contextlib.suppress(Refused):
                    self.revoke_lease(lease)


class Backend:
    """What is mounted at a path; ``rest`` is the path below the mount."""

    type = ""

    def __init__(self, core: Core, mount: str, **_options: Any) -> None:
        self.core, self.mount = core, mount

    def is_login(self, rest: str) -> bool:
        return False

    def exists(self, rest: str) -> bool:
        """Whether a write there is an update (Vault's default) and not a create."""
        return True

    def handle(self, request: Request, rest: str) -> Answer:
        raise NotImplementedError

    def describe(self) -> JSON:
        return {"type": self.type, "options": None, "description": "", "accessor": self.mount, "config": {}}


def _unsupported(request: Request) -> Refused:
    return Refused(405, f"unsupported operation: {request.verb} {request.path} (by the stand-in)")


class System(Backend):
    type = "system"

    def exists(self, rest: str) -> bool:
        kind, _, name = rest.rpartition("/")
        return name in self.core.policies if kind in ("policy", "policies/acl") else True

    def handle(self, request: Request, rest: str) -> Answer:
        core = self.core
        match (request.verb, *rest.split("/")):
            case ("GET" | "HEAD", "health"):
                status = int(request.query.get("sealedcode", 503)) if core.sealed else 200
                now = {"standby": False, "server_time_utc": int(time.time())}
                return Answer(envelope=self._status() | now, status=status)
            case ("GET", "seal-status"):
                return Answer(envelope=self._status())
            case ("PUT" | "POST", "seal"):
                core.sealed = True
                return Answer()
            case ("PUT" | "POST", "unseal"):
                if not hmac.compare_digest(str(request.required("key")), core.unseal_key):
                    raise Refused(400, "invalid key")
                core.sealed = False
                return Answer(envelope=self._status())
            case ("PUT" | "POST", "capabilities-self"):
                assert request.token is not None
                paths = request.body.get("paths") or [request.body.get("path", "")]
                held = {path: sorted(core.capabilities(request.token, path)) or ["deny"] for path in paths}
                return Answer(data=held | {"capabilities": held[paths[0]]})
            case (_, "policy" | "policies", *names):
                return self._policy(request, names[-1] if names else "", newer=rest.startswith("policies"))
            case (_, "mounts" | "auth" as table, *path):
                return self._mount(request, "/".join(path).strip("/"), auth=table == "auth")
            case (_, "leases", *action):
                return self._lease(request, action)
        raise _unsupported(request)

    def _status(self) -> JSON:
        return {
            "type": "shamir",
            "initialized": True,
            "sealed": self.core.sealed,
            "t": 1,
            "n": 1,
            "progress": 0,
            "version": f"0 ({SERVER_NAME})",
            "cluster_name": SERVER_NAME,
        }

    def _policy(self, request: Request, name: str, *, newer: bool) -> Answer:
        policies = self.core.policies
        if request.verb == "LIST" or (request.verb == "GET" and name in ("", "acl")):
            return Answer(data={"keys": sorted(policies), "policies": sorted(policies)})
        if request.verb == "GET":
            if name not in policies:
                raise Refused(404)
            return Answer(data={"name": name, "policy" if newer else "rules": policies[name]})
        if name == "root":
            raise Refused(400, 'cannot update "root" policy')
        if request.verb == "DELETE":
            policies.pop(name, None)
            return Answer()
        text = str(request.required("policy"))
        parse_policy(text)
        with self.core.lock:
            policies[name] = text
        return Answer()

    def _mount(self, request: Request, path: str, *, auth: bool) -> Answer:
        core, prefix = self.core, "auth/" if auth else ""
        if request.verb == "GET" and not path:
            with core.lock:
                mounted = {
                    name.removeprefix(prefix): backend.describe()
                    for name, backend in core.mounts.items()
                    if name.startswith("auth/") == auth
                }
            return Answer(envelope=mounted | {"data": mounted})
        full = f"{prefix}{path}/"
        if request.writes:
            kind = str(request.required("type"))
            if kind == "kv":
                options = {**(request.body.get("config") or {}), **(request.body.get("options") or {})}
                kind = f"kv-v{options.get('version', 1)}"
            known = _AUTH_METHODS if auth else _ENGINES
            if kind not in known:
                raise Refused(400, f"plugin not found in the catalog: {kind} (of the stand-in)")
            with core.lock:
                if full in core.mounts:
                    raise Refused(400, f"path is already in use at {full}")
                core.mounts[full] = known[kind](core, full)
            return Answer()
        if request.verb == "DELETE":
            self._revoke_prefix(full)
            with core.lock:
                core.mounts.pop(full, None)
            return Answer()
        raise _unsupported(request)

    def _lease(self, request: Request, action: list[str]) -> Answer:
        core = self.core
        match (request.verb, *action):
            case ("LIST", "lookup", *below):
                prefix = "/".join(below).strip("/") + "/"
                with core.lock:
                    keys = sorted(
                        name.removeprefix(prefix) for name in core.leases if name.startswith(prefix)
                    )
                if not keys:
                    raise Refused(404)
                return Answer(data={"keys": keys})
            case ("PUT" | "POST", "revoke-prefix" | "revoke-force", *below):
                self._revoke_prefix("/".join(below))
                return Answer()
            case ("PUT" | "POST", "revoke" | "renew" | "lookup" as verb, *below):
                lease_id = request.body.get("lease_id") or "/".join(below)
                if not lease_id:
                    raise Refused(400, "lease_id must be specified")
                return self._one_lease(request, verb, core.leases.get(lease_id))
        raise _unsupported(request)

    def _one_lease(self, request: Request, verb: str, lease: Lease | None) -> Answer:
        if verb == "revoke":
            if not request.body.get("sync"):  # queued, for the sweeper
                if lease is not None:
                    lease.expires_at = 0.0
                return Answer(envelope={}, status=202)
            if lease is not None:
                self.core.revoke_lease(lease)
            return Answer()
        if lease is None:
            raise Refused(400, "invalid lease" if verb == "lookup" else "lease not found")
        if verb == "lookup":
            return Answer(data=lease.looked_up())
        self.core.renew_lease(lease, parse_duration(request.body.get("increment") or 0))
        return Answer(data={}, lease=lease)

    def _revoke_prefix(self, prefix: str) -> None:
        with self.core.lock:
            leases = [
                lease for name, lease in self.core.leases.items() if name.startswith(prefix.rstrip("/") + "/")
            ]
        for lease in leases:
            self.core.revoke_lease(lease)


class Tokens(Backend):
    type = "token"

    def handle(self, request: Request, rest: str) -> Answer:
        own = request.token
        assert own is not None
        match (request.verb, rest):
            case ("GET", "lookup-self"):
                return Answer(data=own.looked_up())
            case ("POST" | "PUT", "create"):
                return Answer(auth=self._create(request, own).auth())
            case ("POST" | "PUT", "lookup"):
                return Answer(data=self._named(request, own).looked_up())
            case ("POST" | "PUT", "renew-self"):
                return Answer(auth=self._renewed(request, own).auth())
            case ("POST" | "PUT", "renew"):
                return Answer(auth=self._renewed(request, self._named(request, own)).auth())
            case ("POST" | "PUT", "revoke-self"):
                self.core.revoke_token(own)
                return Answer()
            case ("POST" | "PUT", "revoke"):
                self.core.revoke_token(self._named(request, own))
                return Answer()
            case ("POST" | "PUT", "revoke-accessor"):
                accessor = str(request.required("accessor"))
                with self.core.lock:
                    found = [each for each in self.core.tokens.values() if each.accessor == accessor]
                if not found:
                    raise Refused(400, "invalid accessor")
                self.core.revoke_token(found[0])
                return Answer()
        raise _unsupported(request)

    def _create(self, request: Request, own: Token) -> Token:
        body = request.body
        asked = list(body.get("policies") or own.policies)
        if "root" not in own.policies and not set(asked) <= set(own.policies):
            raise Refused(400, "child policies must be subset of parent")
        if "root" not in asked and "default" not in asked and not body.get("no_default_policy"):
            asked.append("default")
        ttl = parse_duration(body.get("ttl") or body.get("period") or 0)
        token = Token(
            _new_token(),
            sorted(asked),
            ttl or (0 if "root" in asked else DEFAULT_TTL_SECONDS),
            "auth/token/create",
            "-".join(filter(None, ["token", body.get("display_name")])),
            max_ttl_seconds=parse_duration(body.get("explicit_max_ttl") or 0) or DEFAULT_TTL_SECONDS,
            renewable=body.get("renewable", True),
            uses=int(body.get("num_uses") or 0),
            parent=None if body.get("no_parent") else own,
            meta=body.get("meta"),
        )
        return self.core.create_token(token)

    def _named(self, request: Request, own: Token) -> Token:
        found = self.core.tokens.get(str(request.body.get("token") or own.token))
        if found is None:
            raise Refused(403, "bad token")
        return found

    def _renewed(self, request: Request, token: Token) -> Token:
        if not token.renewable or token.expires_at is None:
            raise Refused(400, "lease is not renewable")
        lifetime = max(0.0, token.created_at + token.max_ttl_seconds - time.time())
        asked = parse_duration(request.body.get("increment") or 0) or token.ttl_seconds
        token.ttl_seconds = round(min(asked, lifetime))
        token.expires_at = time.monotonic() + token.ttl_seconds
        return token


class AppRole(Backend):
    type = "approle"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.roles: dict[str, JSON] = {}
        self.role_ids: dict[str, str] = {}
        self.secret_ids: dict[str, dict[str, JSON]] = {}

    def is_login(self, rest: str) -> bool:
        return rest == "login"

    def exists(self, rest: str) -> bool:
        kind, _, role = rest.partition("/")
        return kind != "role" or "/" in role or role in self.roles

    def handle(self, request: Request, rest: str) -> Answer:
        match (request.verb, *rest.rstrip("/").split("/")):
            case ("POST" | "PUT", "login"):
                return Answer(auth=self._login(request).auth())
            case ("LIST", "role"):
                return Answer(data={"keys": sorted(self.roles)})
            case ("POST" | "PUT", "role", name):
                self.roles[name] = {**_APPROLE_DEFAULTS, **self.roles.get(name, {}), **request.body}
                self.role_ids.setdefault(name, str(uuid.uuid4()))
                self.secret_ids.setdefault(name, {})
                return Answer()
            case ("DELETE", "role", name):
                self.roles.pop(name, None)
                self.role_ids.pop(name, None)
                self.secret_ids.pop(name, None)
                return Answer()
            case (_, "role", name, *_) if name not in self.roles:
                raise Refused(404)
            case ("GET", "role", name):
                return Answer(data=self.roles[name])
            case ("GET", "role", name, "role-id"):
                return Answer(data={"role_id": self.role_ids[name]})
            case ("POST" | "PUT", "role", name, "role-id"):
                self.role_ids[name] = str(request.required("role_id"))
                return Answer()
            case ("POST" | "PUT", "role", name, "secret-id"):
                return Answer(data=self._new_secret_id(name))
            case ("POST" | "PUT", "role", name, "secret-id", "destroy"):
                self.secret_ids[name].pop(str(request.required("secret_id")), None)
                return Answer()
        raise _unsupported(request)

    def _new_secret_id(self, name: str) -> JSON:
        role, secret_id = self.roles[name], str(uuid.uuid4())
        ttl, uses = parse_duration(role["secret_id_ttl"]), int(role["secret_id_num_uses"])
        self.secret_ids[name][secret_id] = {"until": time.monotonic() + ttl if ttl else None, "uses": uses}
        return {
            "secret_id": secret_id,
            "secret_id_accessor": str(uuid.uuid4()),
            "secret_id_ttl": ttl,
            "secret_id_num_uses": uses,
        }

    def _login(self, request: Request) -> Token:
        role_id = str(request.required("role_id"))
        name = next((name for name, each in self.role_ids.items() if each == role_id), None)
        if name is None or not self._take_secret_id(name, str(request.body.get("secret_id") or "")):
            raise Refused(400, "invalid role or secret ID")
        role = self.roles[name]
        token = Token(
            _new_token(),
            sorted({"default", *_listed(role["token_policies"] or role["policies"])}),
            parse_duration(role["token_ttl"]) or DEFAULT_TTL_SECONDS,
            f"{self.mount}login",
            self.mount.removeprefix("auth/").strip("/"),
            max_ttl_seconds=parse_duration(role["token_max_ttl"]) or DEFAULT_TTL_SECONDS,
            uses=int(role["token_num_uses"]),
            meta={"role_name": name},
        )
        return self.core.create_token(token)

    def _take_secret_id(self, name: str, secret_id: str) -> bool:
        if not self.roles[name]["bind_secret_id"]:
            return True
        with self.core.lock:
            held = self.secret_ids[name].get(secret_id)
            if held is None or (held["until"] is not None and held["until"] <= time.monotonic()):
                return False
            if held["uses"] == 1:
                del self.secret_ids[name][secret_id]
            elif held["uses"]:
                held["uses"] -= 1
            return True


class Unversioned(Backend):
    """KV version 1."""

    type = "kv"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.entries: dict[str, JSON] = {}

    def describe(self) -> JSON:
        return super().describe() | {"options": {"version": "1"}}

    def exists(self, rest: str) -> bool:
        return rest in self.entries

    def handle(self, request: Request, rest: str) -> Answer:
        if request.verb == "LIST":
            return Answer(data={"keys": _children(self.entries, rest)})
        if request.writes:
            self.entries[rest] = request.body
            return Answer()
        if request.verb == "DELETE":
            self.entries.pop(rest, None)
            return Answer()
        if rest not in self.entries:
            raise Refused(404)
        return Answer(data=self.entries[rest])


class Versioned(Backend):
    """KV version 2."""

    type = "kv"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.entries: dict[str, dict[int, JSON]] = {}
        self.custom: dict[str, JSON] = {}

    def describe(self) -> JSON:
        return super().describe() | {"options": {"version": "2"}}

    def exists(self, rest: str) -> bool:
        kind, _, path = rest.partition("/")
        return kind not in ("data", "metadata") or path in self.entries

    def handle(self, request: Request, rest: str) -> Answer:
        kind, _, path = rest.partition("/")
        with self.core.lock:
            versions = self.entries.get(path, {})
            match (request.verb, kind):
                case (_, "metadata"):
                    return self._metadata(request, path)
                case ("GET", "data"):
                    return self._read(request, versions)
                case ("POST" | "PUT", "data"):
                    return self._write(request, path, versions)
                case ("DELETE", "data"):
                    _mark_deleted(versions, [max(versions, default=0)], _iso(time.time()))
                case ("POST" | "PUT", "delete"):
                    _mark_deleted(versions, request.required("versions"), _iso(time.time()))
                case ("POST" | "PUT", "undelete"):
                    _mark_deleted(versions, request.required("versions"), "")
                case ("POST" | "PUT", "destroy"):
                    for number in set(map(int, request.required("versions"))) & set(versions):
                        versions[number]["data"] = None
                        versions[number]["metadata"]["destroyed"] = True
                case _:
                    raise _unsupported(request)
            return Answer()

    def _read(self, request: Request, versions: dict[int, JSON]) -> Answer:
        number = int(request.query.get("version") or 0) or max(versions, default=0)
        if number not in versions:
            raise Refused(404)
        found = versions[number]
        if found["metadata"]["destroyed"] or found["metadata"]["deletion_time"]:
            raise Refused(404, data={"data": None, "metadata": found["metadata"]})
        return Answer(data={"data": found["data"], "metadata": found["metadata"]})

    def _write(self, request: Request, path: str, versions: dict[int, JSON]) -> Answer:
        current = max(versions, default=0)
        expected = (request.body.get("options") or {}).get("cas")
        if expected is not None and int(expected) != current:
            raise Refused(400, "check-and-set parameter did not match the current version")
        metadata = {
            "created_time": _iso(time.time()),
            "custom_metadata": self.custom.get(path),
            "deletion_time": "",
            "destroyed": False,
            "version": current + 1,
        }
        versions[current + 1] = {"data": request.required("data"), "metadata": metadata}
        self.entries[path] = versions
        return Answer(data=dict(metadata))

    def _metadata(self, request: Request, path: str) -> Answer:
        if request.verb == "LIST":
            return Answer(data={"keys": _children(self.entries, path)})
        if request.verb == "DELETE":
            self.entries.pop(path, None)
            return Answer()
        if request.writes:
            self.entries.setdefault(path, {})
            self.custom[path] = request.body.get("custom_metadata") or {}
            return Answer()
        versions = self.entries.get(path)
        if not versions:
            raise Refused(404)
        return Answer(
            data={
                "versions": {str(number): each["metadata"] for number, each in versions.items()},
                "current_version": max(versions),
                "oldest_version": min(versions),
                "custom_metadata": self.custom.get(path),
                "cas_required": False,
                "max_versions": 0,
            }
        )


class Database(Backend):
    """Roles in a real PostgreSQL server, made by a role's creation statements and dropped with its lease."""

    type = "database"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.config: dict[str, JSON] = {}
        self.roles: dict[str, JSON] = {}

    def exists(self, rest: str) -> bool:
        kind, _, name = rest.partition("/")
        return kind not in ("config", "roles") or name in self._table(kind)

    def handle(self, request: Request, rest: str) -> Answer:
        match (request.verb, *rest.rstrip("/").split("/")):
            case ("POST" | "PUT", "config", name):
                return self._configure(request, name)
            case ("POST" | "PUT", "roles", name):
                request.required("db_name")
                self.roles[name] = {**_ROLE_DEFAULTS, **self.roles.get(name, {}), **request.body}
                return Answer()
            case ("LIST", "config" | "roles" as kind):
                return Answer(data={"keys": sorted(self._table(kind))})
            case ("GET", "config" | "roles" as kind, name):
                if name not in self._table(kind):
                    raise Refused(404)
                return Answer(
                    data={key: value for key, value in self._table(kind)[name].items() if key != "password"}
                )
            case ("DELETE", "config" | "roles" as kind, name):
                self._table(kind).pop(name, None)
                return Answer()
            case ("GET", "creds", name):
                return self._credentials(request, name)
        raise _unsupported(request)

    def _table(self, kind: str) -> dict[str, JSON]:
        return self.config if kind == "config" else self.roles

    def _configure(self, request: Request, name: str) -> Answer:
        config = {"allowed_roles": [], **self.config.get(name, {}), **request.body}
        if config.get("plugin_name") != "postgresql-database-plugin":
            raise Refused(400, "the stand-in knows postgresql-database-plugin only")
        if "connection_url" not in config:
            raise Refused(400, "connection_url cannot be empty")
        config["allowed_roles"] = _listed(config["allowed_roles"])
        if config.get("verify_connection", True):
            try:
                self._execute(config, ["SELECT 1"], {})
            except Exception as error:
                reason = f"error verifying connection: {type(error).__name__}"
                raise Refused(400, f"error creating database object: {reason}") from error
        self.config[name] = config
        return Answer()

    def _credentials(self, request: Request, name: str) -> Answer:
        assert request.token is not None
        role = self.roles.get(name)
        if role is None:
            raise Refused(400, f"unknown role: {name}")
        config = self.config.get(role["db_name"])
        if config is None:
            raise Refused(500, "1 error occurred:\n\t* failed to find entry for connection\n\n")
        if not {"*", name} & set(config["allowed_roles"]):
            raise Refused(500, f'1 error occurred:\n\t* "{name}" is not an allowed role\n\n')
        max_ttl = parse_duration(role["max_ttl"]) or DEFAULT_TTL_SECONDS
        ttl = min(parse_duration(role["default_ttl"]) or DEFAULT_TTL_SECONDS, max_ttl)
        username = f"v-{request.token.display_name[:8]}-{name[:8]}-{_random(20)}-{int(time.time())}"[:63]
        values = {"name": username, "username": username, "password": f"{_random(16)}-{_random(4)}"}
        created = _statements(role["creation_statements"])
        renewed = _statements(role["renew_statements"]) or _DEFAULT_RENEWAL
        revoked = _statements(role["revocation_statements"]) or _DEFAULT_REVOCATION
        self._change(config, created, values, ttl)
        lease = Lease(
            f"{request.path}/{_random(24)}",
            request.token,
            ttl,
            max_ttl,
            revoke=functools.partial(self._execute, config, revoked, values),
            extend=functools.partial(self._change, config, renewed, values),
        )
        self.core.add_lease(lease)
        return Answer(data={"username": username, "password": values["password"]}, lease=lease)

    def _change(self, config: JSON, statements: list[str], values: Mapping[str, str], seconds: float) -> None:
        try:
            self._execute(config, statements, {**values, "expiration": _expiration(seconds)})
        except Exception as error:
            state = getattr(error, "sqlstate", None) or type(error).__name__
            raise Refused(500, f"1 error occurred:\n\t* the database refused: {state}\n\n") from error

    @staticmethod
    def _execute(config: JSON, statements: list[str], values: Mapping[str, str]) -> None:
        import psycopg

        account = {
            key: urllib.parse.quote(str(config.get(key, "")), safe="") for key in ("username", "password")
        }
        with psycopg.connect(_filled(config["connection_url"], account), connect_timeout=5) as connection:
            for statement in statements:
                connection.execute(_filled(statement, values).encode())


_ENGINES: Mapping[str, type[Backend]] = {"kv-v1": Unversioned, "kv-v2": Versioned, "database": Database}
_AUTH_METHODS: Mapping[str, type[Backend]] = {"approle": AppRole}
_ROOT_PATHS = ("sys/seal", "sys/leases/revoke-prefix", "sys/leases/revoke-force", "sys/leases/lookup/")
_APPROLE_DEFAULTS: JSON = {
    "bind_secret_id": True,
    "policies": [],
    "secret_id_num_uses": 0,
    "secret_id_ttl": 0,
    "token_max_ttl": 0,
    "token_num_uses": 0,
    "token_policies": [],
    "token_ttl": 0,
}
_ROLE_DEFAULTS: JSON = {
    "creation_statements": [],
    "default_ttl": 0,
    "max_ttl": 0,
    "renew_statements": [],
    "revocation_statements": [],
    "rollback_statements": [],
}
# Vault's own default also takes privileges back first; a role that was given any needs its own statements here.
_DEFAULT_REVOCATION = ['DROP ROLE IF EXISTS "{{name}}"']
_DEFAULT_RENEWAL = ["ALTER ROLE \"{{name}}\" VALID UNTIL '{{expiration}}'"]
_DEFAULT_POLICY = """
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
"""
_CAPABILITIES = {"create", "read", "update", "patch", "delete", "list", "sudo", "deny"}


@functools.cache
def parse_policy(text: str) -> Mapping[str, frozenset[str]]:
    """
    The paths of an ACL policy and their capabilities; HCL or JSON.

    Nothing but ``path "…" { capabilities = […] }`` is understood; more is refused, since ignoring it would
    make the stand-in laxer than Vault.
    """
    rules: dict[str, frozenset[str]] = {}
    if text.lstrip().startswith("{"):
        try:
            rules = {path: frozenset(body["capabilities"]) for path, body in json.loads(text)["path"].items()}
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(400, "failed to parse policy") from error
    else:
        bare = re.sub(r"/\*.*?\*/|(?:^|(?<=\s))(?:#|//)[^\n]*", "", text, flags=re.DOTALL)
        rule = r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}'
        if re.sub(rule, "", bare).strip():
            raise Refused(400, "failed to parse policy")
        for path, listed in re.findall(rule, bare):
            rules[path] = rules.get(path, frozenset()) | frozenset(re.findall(r'"([^"]*)"', listed))
    for granted in rules.values():
        if granted - _CAPABILITIES:
            raise Refused(
                400, f"failed to parse policy: invalid capability {sorted(granted - _CAPABILITIES)}"
            )
    return rules


def _matches(pattern: str, path: str) -> bool:
    parts = [("[^/]+" if part == "+" else re.escape(part)) for part in pattern.removesuffix("*").split("/")]
    expression = "/".join(parts) + (".*" if pattern.endswith("*") else "")
    return re.fullmatch(expression, path, flags=re.DOTALL) is not None


def _specificity(pattern: str) -> tuple[float, bool, int, int, str]:
    """Vault's order of precedence, rule by rule in the order of its documentation."""
    wildcards = [match.start() for match in re.finditer(r"(?:^|(?<=/))\+(?=/|$)|\*$", pattern)]
    first = min(wildcards, default=float("inf"))
    return first, not pattern.endswith("*"), -pattern.count("+"), len(pattern), pattern


def parse_duration(value: Any) -> int:
    """Seconds of ``90``, ``"90"``, ``"90s"``, ``"1h30m"``."""
    text = str(value or 0)
    if text.isdigit():
        return int(text)
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if not re.fullmatch(r"(\d+[smhd])+", text):
        raise Refused(400, f"invalid duration {text!r}")
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([smhd])", text))


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values.get(match[1], match[0]), text)


def _statements(value: Any) -> list[str]:
    found: list[str] = []
    for text in [value] if isinstance(value, str) else list(value or []):
        found += [text] if "$$" in text else text.split(";")
    return [text.strip() for text in found if text.strip()]


def _listed(value: Any) -> list[str]:
    return (
        [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)
    )


def _children(entries: Mapping[str, Any], prefix: str) -> list[str]:
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    below = [path.removeprefix(prefix).partition("/") for path in entries if path.startswith(prefix)]
    if not below:
        raise Refused(404)
    return sorted({head + slash for head, slash, _ in below})


def _mark_deleted(versions: dict[int, JSON], numbers: Any, deletion_time: str) -> None:
    for number in set(map(int, numbers)) & set(versions):
        versions[number]["metadata"]["deletion_time"] = deletion_time


def _random(length: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def _new_token() -> str:
    return f"hvs.{_random(24)}"


def _remaining(expires_at: float | None) -> int:
    return 0 if expires_at is None else max(0, round(expires_at - time.monotonic()))


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")


def _expiration(seconds: float) -> str:
    """For VALID UNTIL; a little later than the lease, as Vault has it, so that the lease is what ends the role."""
    return (datetime.now(UTC) + timedelta(seconds=seconds + 5)).strftime("%Y-%m-%d %H:%M:%S+0000")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = SERVER_NAME
    sys_version = ""
    wbufsize = -1  # headers and body in one segment
    timeout = 60  # of an idle connection
    core: Core  # set on a subclass

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.settimeout(10)
        self.request.do_handshake()
        super().setup()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        path = re.sub("/+", "/", urllib.parse.unquote(url.path)).lstrip("/")
        query = dict(urllib.parse.parse_qsl(url.query))
        verb = "LIST" if self.command == "GET" and query.get("list") == "true" else self.command
        try:
            status, envelope = self._dispatch(Request(verb, path, _parsed(body), query, self.headers))
        except Refused as refused:
            status, envelope = refused.status, {"errors": refused.errors}
            if refused.data is not None:
                envelope["data"] = refused.data
        except Exception as error:  # noqa: BLE001 - any other fault is the stand-in's own
            self.log_error("%s %s: %r", verb, path, error)
            status, envelope = 500, {"errors": [f"the stand-in failed: {type(error).__name__}"]}
        with self.core.lock:
            self.core.requests[f"{verb} {path.removeprefix('v1/')} {status}"] += 1
        self._send(status, envelope)

    def _dispatch(self, request: Request) -> tuple[int, JSON | None]:
        if request.path.startswith("v1/"):
            request.path = request.path.removeprefix("v1/")
            return self.core.handle(request).rendered()
        if not request.path.startswith("stand-in/"):
            raise Refused(404)
        with self.core.lock:
            token = self.core.tokens.get(request.headers.get("X-Vault-Token", ""))
            if token is None or "root" not in token.policies:
                raise Refused(403, "permission denied")
            return 200, _stand_in(self.core, request)

    def _send(self, status: int, envelope: JSON | None) -> None:
        content = b"" if envelope is None else json.dumps(envelope).encode()
        self.send_response(status)
        self.send_header("Cache-Control", "no-store")
        if envelope is not None:
            self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    do_GET = do_HEAD = do_LIST = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """A line per answer would bury the errors."""

    def log_error(self, format: str, *args: Any) -> None:
        print("stand-in:", format % args, flush=True)


def _parsed(body: bytes) -> JSON:
    try:
        parsed = json.loads(body) if body else {}
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise Refused(400, "failed to parse JSON input")
    return parsed


def _stand_in(core: Core, request: Request) -> JSON:
    """What tests may ask and Vault has no path for."""
    match (request.verb, request.path.removeprefix("stand-in/")):
        case ("GET", "requests"):
            return {"requests": dict(core.requests)}
        case ("GET", "leases"):
            names = ("lease_id", "state", "ttl_seconds", "renewals", "issued_at")
            listed = [*core.ended, *core.leases.values()]
            return {"leases": [{name: getattr(lease, name) for name in names} for lease in listed]}
        case ("POST" | "PUT", "faults"):
            core.faults = list(request.body.get("faults") or [])
            return {}
    raise Refused(404)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[Handler], context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        # The handshake is the handler thread's: a silent client must not hold up the others.
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that does not trust us, or has left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, required=True, help="written once the server listens")
    options = parser.parse_args()
    core = Core(os.environ.pop("STAND_IN_ROOT_TOKEN"), os.environ.pop("STAND_IN_UNSEAL_KEY"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.certificate, options.key)
    server = Server(("127.0.0.1", options.port), type("BoundHandler", (Handler,), {"core": core}), context)
    threading.Thread(target=core.sweep, daemon=True).start()
    unfinished = options.port_file.with_suffix(".part")
    unfinished.write_text(str(server.server_port), encoding="utf-8")
    unfinished.rename(options.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()

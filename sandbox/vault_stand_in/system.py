"""``sys/``: seal, policies, mounts, leases."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping

from .auth import AppRole
from .aws import Aws
from .core import Backend
from .database import Database
from .kv import Unversioned, Versioned
from .logins import Certificates, Jwt, Kubernetes
from .policies import parse_policy
from .protocol import JSON, SERVER_NAME, Answer, Lease, Refused, Request, iso, unsupported
from .transit import Transit
from .words import parse_duration

_ENGINES: Mapping[str, type[Backend]] = {
    "kv-v1": Unversioned,
    "kv-v2": Versioned,
    "database": Database,
    "aws": Aws,
    "transit": Transit,
}
_AUTH_METHODS: Mapping[str, type[Backend]] = {
    "approle": AppRole,
    "cert": Certificates,
    "jwt": Jwt,
    "kubernetes": Kubernetes,
}


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
            case ("GET", "init"):
                return Answer(envelope={"initialized": True})
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
            case ("PUT" | "POST", "wrapping", verb):
                return self._wrapping(request, verb)
        raise unsupported(request)

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
        raise unsupported(request)

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
        raise unsupported(request)

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

    def _wrapping(self, request: Request, verb: str) -> Answer:
        core, own = self.core, request.token
        assert own is not None
        if verb == "wrap":
            return Answer(data=dict(request.body))
        named = str(request.body.get("token") or own.token)
        token = core.tokens.get(named)
        if token is None or named not in core.wrapped:
            raise Refused(400, "wrapping token is not valid or does not exist")
        if verb == "lookup":
            created = {"creation_path": token.path, "creation_ttl": token.ttl_seconds}
            return Answer(data=created | {"creation_time": iso(token.created_at)})
        if verb != "unwrap":
            raise unsupported(request)
        with core.lock:
            envelope = core.wrapped.pop(named)
        core.revoke_token(token)
        return Answer(envelope=envelope)

    def _revoke_prefix(self, prefix: str) -> None:
        with self.core.lock:
            leases = [
                lease for name, lease in self.core.leases.items() if name.startswith(prefix.rstrip("/") + "/")
            ]
        for lease in leases:
            self.core.revoke_lease(lease)

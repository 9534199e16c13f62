"""Logins: tokens, and AppRole."""

from __future__ import annotations

import time
import uuid
from typing import Any

from .core import Backend, Core
from .protocol import (
    DEFAULT_TTL_SECONDS,
    JSON,
    Answer,
    Refused,
    Request,
    Token,
    new_token,
    unsupported,
)
from .words import listed, parse_duration

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
        raise unsupported(request)

    def _create(self, request: Request, own: Token) -> Token:
        body = request.body
        asked = list(body.get("policies") or own.policies)
        if "root" not in own.policies and not set(asked) <= set(own.policies):
            raise Refused(400, "child policies must be subset of parent")
        if "root" not in asked and "default" not in asked and not body.get("no_default_policy"):
            asked.append("default")
        ttl = parse_duration(body.get("ttl") or body.get("period") or 0)
        token = Token(
            new_token(),
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
        raise unsupported(request)

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
            new_token(),
            sorted({"default", *listed(role["token_policies"] or role["policies"])}),
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

"""Leased PostgreSQL logins."""

from __future__ import annotations

import functools
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

from .core import Backend, Core
from .protocol import (
    DEFAULT_TTL_SECONDS,
    JSON,
    Answer,
    Lease,
    Refused,
    Request,
    iso,
    random_text,
    unsupported,
)
from .words import expiration, filled, listed, parse_duration, statements_of

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
_DEFAULT_ROTATION = ["ALTER ROLE \"{{name}}\" WITH PASSWORD '{{password}}'"]
_DEFAULT_RENEWAL = ["ALTER ROLE \"{{name}}\" VALID UNTIL '{{expiration}}'"]


class Database(Backend):
    """Roles in a real PostgreSQL server, made by a role's creation statements and dropped with its lease."""

    type = "database"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.config: dict[str, JSON] = {}
        self.roles: dict[str, JSON] = {}
        self.static: dict[str, JSON] = {}

    def exists(self, rest: str) -> bool:
        kind, _, name = rest.partition("/")
        if kind == "static-roles":
            return name in self.static
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
            case ("POST" | "PUT", "static-roles", name):
                return self._make_static(request, name)
            case ("DELETE", "static-roles", name):
                self.static.pop(name, None)
                return Answer()
            case ("GET", "static-roles", name) if name in self.static:
                hidden = ("password", "rotated", "last")
                return Answer(
                    data={key: each for key, each in self.static[name].items() if key not in hidden}
                )
            case ("GET", "static-creds", name):
                return self._static_credential(name)
            case ("POST" | "PUT", "rotate-root", name) if name in self.config:
                return self._rotate_root(self.config[name])
            case ("POST" | "PUT", "rotate-role", name) if name in self.static:
                self._rotate(self.static[name])
                return Answer()
        raise unsupported(request)

    def _table(self, kind: str) -> dict[str, JSON]:
        return self.config if kind == "config" else self.roles

    def _configure(self, request: Request, name: str) -> Answer:
        config = {"allowed_roles": [], **self.config.get(name, {}), **request.body}
        if config.get("plugin_name") != "postgresql-database-plugin":
            raise Refused(400, "the stand-in knows postgresql-database-plugin only")
        if "connection_url" not in config:
            raise Refused(400, "connection_url cannot be empty")
        config["allowed_roles"] = listed(config["allowed_roles"])
        if config.get("verify_connection", True):
            try:
                self._execute(config, ["SELECT 1"], {})
            except Exception as error:
                reason = f"error verifying connection: {type(error).__name__}"
                raise Refused(400, f"error creating database object: {reason}") from error
        self.config[name] = config
        return Answer()

    def _rotate_root(self, config: JSON) -> Answer:
        values = {"name": config["username"], "password": f"{random_text(16)}-{random_text(4)}"}
        self._change(config, _DEFAULT_ROTATION, values, 0)
        config["password"] = values["password"]
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
        username = f"v-{request.token.display_name[:8]}-{name[:8]}-{random_text(20)}-{int(time.time())}"[:63]
        values = {"name": username, "username": username, "password": f"{random_text(16)}-{random_text(4)}"}
        created = statements_of(role["creation_statements"])
        renewed = statements_of(role["renew_statements"]) or _DEFAULT_RENEWAL
        revoked = statements_of(role["revocation_statements"]) or _DEFAULT_REVOCATION
        self._change(config, created, values, ttl)
        lease = Lease(
            f"{request.path}/{random_text(24)}",
            request.token,
            ttl,
            max_ttl,
            revoke=functools.partial(self._execute, config, revoked, values),
            extend=functools.partial(self._change, config, renewed, values),
        )
        self.core.add_lease(lease)
        return Answer(data={"username": username, "password": values["password"]}, lease=lease)

    def _make_static(self, request: Request, name: str) -> Answer:
        role = {**self.static.get(name, {}), **request.body}
        role["rotation_period"] = parse_duration(request.required("rotation_period"))
        if role["db_name"] not in self.config:
            raise Refused(500, "1 error occurred:\n\t* failed to find entry for connection\n\n")
        self._rotate(role)
        self.static[name] = role
        return Answer()

    def _rotate(self, role: JSON) -> None:
        password = f"{random_text(16)}-{random_text(4)}"
        values = {"name": role["username"], "username": role["username"], "password": password}
        statements = statements_of(role.get("rotation_statements")) or _DEFAULT_ROTATION
        self._change(self.config[role["db_name"]], statements, values, 0)
        role["password"], role["rotated"], role["last"] = password, time.monotonic(), iso(time.time())

    def _static_credential(self, name: str) -> Answer:
        """What is due is rotated when it is asked for: nobody else can see the difference."""
        role = self.static.get(name)
        if role is None:
            raise Refused(400, f"unknown role: {name}")
        if time.monotonic() - role["rotated"] >= role["rotation_period"]:
            self._rotate(role)
        left = role["rotated"] + role["rotation_period"] - time.monotonic()
        data = {name: role[name] for name in ("username", "password", "rotation_period")}
        return Answer(data=data | {"ttl": max(0, round(left)), "last_vault_rotation": role["last"]})

    def _change(self, config: JSON, statements: list[str], values: Mapping[str, str], seconds: float) -> None:
        try:
            self._execute(config, statements, {**values, "expiration": expiration(seconds)})
        except Exception as error:
            state = getattr(error, "sqlstate", None) or type(error).__name__
            raise Refused(500, f"1 error occurred:\n\t* the database refused: {state}\n\n") from error

    @staticmethod
    def _execute(config: JSON, statements: list[str], values: Mapping[str, str]) -> None:
        import psycopg

        account = {
            key: urllib.parse.quote(str(config.get(key, "")), safe="") for key in ("username", "password")
        }
        with psycopg.connect(filled(config["connection_url"], account), connect_timeout=5) as connection:
            for statement in statements:
                connection.execute(filled(statement, values).encode())

"""Logins by a client certificate, by a JWT whose signature a given key proves, and by a Kubernetes service account."""

from __future__ import annotations

import abc
import tempfile
from typing import Any

from .core import Backend, Core
from .protocol import DEFAULT_TTL_SECONDS, JSON, Answer, Refused, Request, Token, new_token, unsupported
from .words import listed, parse_duration


class _Roles(Backend):
    """Roles with token policies; what proves them is a subclass's."""

    roles_at = "role"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.config: JSON = {}
        self.roles: dict[str, JSON] = {}

    def is_login(self, rest: str) -> bool:
        return rest == "login"

    def handle(self, request: Request, rest: str) -> Answer:
        match (request.verb, *rest.rstrip("/").split("/")):
            case ("POST" | "PUT", "login"):
                name = self.proven(request)
                return Answer(auth=self._token(name).auth())
            case ("POST" | "PUT", "config"):
                self.config = dict(request.body)
                return Answer()
            case ("POST" | "PUT", kind, name) if kind == self.roles_at:
                self.roles[name] = dict(request.body)
                return Answer()
            case ("GET", kind, name) if kind == self.roles_at and name in self.roles:
                return Answer(data=self.roles[name])
        raise unsupported(request)

    @abc.abstractmethod
    def proven(self, request: Request) -> str:
        """The name of the role."""

    def _token(self, name: str) -> Token:
        role = self.roles[name]
        token = Token(
            new_token(),
            sorted({"default", *listed(role.get("token_policies") or role.get("policies") or [])}),
            parse_duration(role.get("token_ttl") or role.get("ttl") or 0) or DEFAULT_TTL_SECONDS,
            f"{self.mount}login",
            f"{self.type}-{name}",
            max_ttl_seconds=parse_duration(role.get("token_max_ttl") or 0) or DEFAULT_TTL_SECONDS,
            meta={"role": name},
        )
        return self.core.create_token(token)


class Certificates(_Roles):
    """``auth/cert``: a certificate below the role's own; the TLS layer has checked the chain to the sandbox's CA."""

    type = "cert"
    roles_at = "certs"

    def proven(self, request: Request) -> str:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        if request.certificate is None:
            raise Refused(400, "client certificate must be supplied")
        shown = x509.load_der_x509_certificate(request.certificate)
        asked = request.body.get("name")
        for name, role in self.roles.items():
            trusted = x509.load_pem_x509_certificates(str(role.get("certificate", "")).encode())
            try:
                shown.verify_directly_issued_by(trusted[0])
            except (InvalidSignature, ValueError, TypeError, IndexError):
                continue
            if asked in (None, "", name):
                return name
        raise Refused(400, "invalid certificate or no client certificate supplied")


class Jwt(_Roles):
    """``auth/jwt`` with ``jwt_validation_pubkeys``: signature, audience, subject and expiry."""

    type = "jwt"

    def proven(self, request: Request) -> str:
        import jwt

        name = str(request.body.get("role") or self.config.get("default_role") or "")
        if name not in self.roles:
            raise Refused(400, f"role {name!r} could not be found")
        role = self.roles[name]
        for key in listed(self.config.get("jwt_validation_pubkeys") or []):
            try:
                claims = jwt.decode(
                    str(request.required("jwt")),
                    key,
                    algorithms=["RS256", "ES256"],
                    audience=listed(role.get("bound_audiences") or []) or None,
                )
            except jwt.PyJWTError:
                continue
            if role.get("bound_subject") in (None, "", claims.get("sub")):
                return name
        raise Refused(400, "error validating token: no known key successfully validated the token signature")


class Kubernetes(_Roles):
    """``auth/kubernetes``: the API server is asked whose token it is (TokenReview)."""

    type = "kubernetes"

    def proven(self, request: Request) -> str:
        import requests

        name = str(request.required("role"))
        if name not in self.roles:
            raise Refused(400, f"invalid role name {name!r}")
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca:
            ca.write(str(self.config.get("kubernetes_ca_cert", "")))
            ca.flush()
            answer = requests.post(
                f"{self.config['kubernetes_host']}/apis/authentication.k8s.io/v1/tokenreviews",
                json={"kind": "TokenReview", "spec": {"token": request.required("jwt")}},
                headers={"Authorization": f"Bearer {self.config.get('token_reviewer_jwt', '')}"},
                verify=ca.name,
                timeout=5,
            )
        status = answer.json().get("status") or {}
        user = str((status.get("user") or {}).get("username", ""))
        _, _, account = user.partition("system:serviceaccount:")
        namespace, _, service = account.partition(":")
        role = self.roles[name]
        if not status.get("authenticated") or not (
            namespace in listed(role.get("bound_service_account_namespaces") or [])
            and service in listed(role.get("bound_service_account_names") or [])
        ):
            raise Refused(403, "permission denied")
        return name

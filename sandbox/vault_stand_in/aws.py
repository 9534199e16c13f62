"""AWS credentials from an STS of AWS or of a test server."""

from __future__ import annotations

from typing import Any

from .core import Backend, Core
from .protocol import JSON, Answer, Lease, Refused, Request, random_text, unsupported
from .words import parse_duration


class Aws(Backend):
    """``sts/ROLE`` of roles with ``credential_type=assumed_role``; the lease can be neither renewed nor taken back."""

    type = "aws"

    def __init__(self, core: Core, mount: str, **options: Any) -> None:
        super().__init__(core, mount, **options)
        self.config: JSON = {}
        self.roles: dict[str, JSON] = {}

    def handle(self, request: Request, rest: str) -> Answer:
        match (request.verb, *rest.rstrip("/").split("/")):
            case ("POST" | "PUT", "config", "root"):
                self.config = dict(request.body)
                return Answer()
            case ("POST" | "PUT", "roles", name):
                if request.required("credential_type") != "assumed_role":
                    raise Refused(400, "the stand-in knows assumed_role only")
                self.roles[name] = dict(request.body)
                return Answer()
            case ("GET", "roles", name) if name in self.roles:
                return Answer(data=self.roles[name])
            case ("GET" | "POST" | "PUT", "sts", name):
                return self._credentials(request, name)
        raise unsupported(request)

    def _credentials(self, request: Request, name: str) -> Answer:
        import boto3

        assert request.token is not None
        if name not in self.roles:
            raise Refused(400, f"Role '{name}' not found")
        role, asked = self.roles[name], {**request.query, **request.body}
        allowed = role.get("role_arns") or []
        arn = asked.get("role_arn") or (allowed[0] if len(allowed) == 1 else "")
        if arn not in allowed:
            raise Refused(400, "role_arn not in allowed role arns")
        seconds = parse_duration(asked.get("ttl") or role.get("default_sts_ttl") or 0) or 3600
        client = boto3.client(
            "sts",
            aws_access_key_id=self.config["access_key"],
            aws_secret_access_key=self.config["secret_key"],
            region_name=self.config.get("region", "us-east-1"),
            endpoint_url=self.config.get("sts_endpoint"),
            verify=self.config.get("stand_in_ca"),  # Vault takes it from its machine
        )
        name = str(asked.get("role_session_name") or f"vault-{random_text(12)}")
        if len(name) > 64:
            raise Refused(400, "1 validation error detected: RoleSessionName has more than 64 characters")
        made = client.assume_role(RoleArn=arn, RoleSessionName=name, DurationSeconds=max(900, seconds))
        client.close()
        lease = Lease(
            f"{request.path}/{random_text(24)}",
            request.token,
            seconds,
            seconds,
            revoke=lambda: None,
            extend=lambda _: None,
            renewable=False,
        )
        self.core.add_lease(lease)
        keys = made["Credentials"]
        return Answer(
            data={
                "access_key": keys["AccessKeyId"],
                "secret_key": keys["SecretAccessKey"],
                "security_token": keys["SessionToken"],
                "session_token": keys["SessionToken"],
                "arn": made["AssumedRoleUser"]["Arn"],
                "ttl": seconds,
            },
            lease=lease,
        )

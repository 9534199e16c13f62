"""Admission of requests, and the state that is not one backend's."""

from __future__ import annotations

import abc
import collections
import contextlib
import threading
import time
from typing import Any

from .policies import DEFAULT_POLICY, WRAPPING_POLICY, matches, parse_policy, specificity
from .protocol import JSON, Answer, Lease, Refused, Request, Token, iso, new_token
from .words import parse_duration

SWEEP_SECONDS = 0.1
RETRY_SECONDS = 1.0  # between attempts to revoke what could not be revoked
_ROOT_PATHS = ("sys/seal", "sys/leases/revoke-prefix", "sys/leases/revoke-force", "sys/leases/lookup/")


class Backend(abc.ABC):
    """What is mounted at a path; ``rest`` is the path below the mount."""

    type = ""

    def __init__(self, core: Core, mount: str, **_options: Any) -> None:
        self.core, self.mount = core, mount

    def is_login(self, rest: str) -> bool:
        return False

    def exists(self, rest: str) -> bool:
        """Whether a write there is an update (Vault's default) and not a create."""
        return True

    @abc.abstractmethod
    def handle(self, request: Request, rest: str) -> Answer:
        """Answer a request that was admitted."""

    def describe(self) -> JSON:
        return {"type": self.type, "options": None, "description": "", "accessor": self.mount, "config": {}}


class Core:
    """Admission of requests, and all state that is not one backend's: tokens, leases, policies, mounts."""

    def __init__(self, root_token: str, unseal_key: str) -> None:
        self.lock = threading.RLock()
        self.unseal_key = unseal_key
        self.sealed = False
        self.policies = {"root": "", "default": DEFAULT_POLICY, "response-wrapping": WRAPPING_POLICY}
        self.tokens: dict[str, Token] = {}
        self.leases: dict[str, Lease] = {}
        self.ended: list[Lease] = []
        self.requests: collections.Counter[str] = collections.Counter()
        self.faults: list[JSON] = []
        self.broken = threading.Event()  # the next request gets no answer
        self.audit: collections.deque[JSON] = collections.deque(maxlen=1000)
        self.wrapped: dict[str, JSON] = {}  # by wrapping token
        self.mounts: dict[str, Backend] = {}  # by path; whoever makes a core mounts what it is to have
        self.tokens[root_token] = Token(root_token, ["root"], 0, "auth/token/root", "root", renewable=False)

    # Admission, step by step.

    def handle(self, request: Request) -> Answer:
        if request.headers.get("X-Vault-Namespace", "").strip("/"):
            raise Refused(400, "the stand-in has no namespaces")
        if request.path in (
            "sys/health",
            "sys/init",
            "sys/seal-status",
            "sys/unseal",
        ):  # 1. answered even when sealed
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
        self.audit.append(
            {"path": request.path, "who": request.token.display_name, "keys": sorted(request.body)}
        )
        try:
            answer = backend.handle(request, rest)
        finally:
            self._count_use(request.token)
        wrap_ttl = request.headers.get("X-Vault-Wrap-TTL")
        return self._wrapped(request, answer, parse_duration(wrap_ttl)) if wrap_ttl else answer

    def _wrapped(self, request: Request, answer: Answer, seconds: int) -> Answer:
        """The answer is kept for one reading with a token that is good for nothing else."""
        token = self.create_token(
            Token(new_token(), ["response-wrapping"], seconds, request.path, "wrapping", renewable=False)
        )
        with self.lock:
            self.wrapped[token.token] = answer.rendered()[1] or {}
        info = {
            "token": token.token,
            "accessor": token.accessor,
            "ttl": seconds,
            "creation_time": iso(token.created_at),
            "creation_path": request.path,
        }
        return Answer(envelope={"request_id": "", "data": None, "auth": None, "wrap_info": info})

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
        matching = [pattern for pattern in rules if matches(pattern, path)]
        if not matching:
            return set()
        allowed = rules[max(matching, key=specificity)]
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
            lease.ttl_seconds = int(until - now)  # never more than it has
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

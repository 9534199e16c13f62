"""A stand-in for Vault: its HTTP API over TLS, in its own process, in memory, on 127.0.0.1."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, Process, clean_environment

if TYPE_CHECKING:
    import hvac

_START_SECONDS = 20.0


class VaultStandIn:
    """
    Not Vault: it speaks the part of Vault's API that this repository uses (see :mod:`sandbox.vault_stand_in`).

    What it holds is gone when it stops. ``/stand-in/…`` is for tests and exists in no Vault.
    """

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.ca_pem = authority.ca_pem
        self.root_token = ""
        self.unseal_key = ""
        self.port = 0
        self._directory = directory.resolve()
        self._authority = authority
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start empty, with a new root token, on the port it had before if there was one."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        port_file = self._directory / "port"
        port_file.unlink(missing_ok=True)
        certificate, key = self._authority.server("vault")
        self.root_token = f"hvs.{secrets.token_urlsafe(24)}"
        self.unseal_key = secrets.token_hex(32)
        module = [sys.executable, "-m", "sandbox.vault_stand_in"]
        command: list[str | Path] = [
            *module,
            "--certificate",
            certificate,
            "--key",
            key,
            "--client-ca",
            self.ca_pem,
        ]
        process = Process(
            "the Vault stand-in",
            [*command, "--port", str(self.port), "--port-file", port_file],
            log=self._directory / "vault-stand-in.log",
            environment=clean_environment(
                self._directory / "home",
                STAND_IN_ROOT_TOKEN=self.root_token,
                STAND_IN_UNSEAL_KEY=self.unseal_key,
            ),
            directory=REPOSITORY,
        )
        self._process = process.start()
        try:
            process.wait_until_ready(port_file.exists, _START_SECONDS)
        except BaseException:
            process.stop()
            raise
        self.port = int(port_file.read_text(encoding="utf-8"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def client(self, token: str | None = None) -> hvac.Client:
        """A client that trusts the stand-in's certificate; with the root token unless another is given."""
        import hvac

        return hvac.Client(url=self.url, token=token or self.root_token, verify=str(self.ca_pem), timeout=10)

    def requests(self, part: str = "") -> int:
        """How many requests it has answered whose ``VERB path status`` contains ``part``."""
        counted: dict[str, int] = self._own("get", "requests")["requests"]
        return sum(number for line, number in counted.items() if part in line)

    def leases(self, prefix: str = "", state: str | None = None) -> list[dict[str, Any]]:
        """Every lease ever issued below the prefix; ``state`` is active or revoked (an expired one is revoked)."""
        listed: list[dict[str, Any]] = self._own("get", "leases")["leases"]
        return [
            each for each in listed if each["lease_id"].startswith(prefix) and state in (None, each["state"])
        ]

    def audited(self, path: str) -> list[dict[str, Any]]:
        """The admitted requests to a path: who asked, and the names of what was sent."""
        listed: list[dict[str, Any]] = self._own("get", "audit")["audit"]
        return [each for each in listed if each["path"].startswith(path)]

    def break_connections(self) -> None:
        """The next request gets no answer, and its connection is closed, as when the server restarts."""
        self._own("post", "break")

    def inject(self, *faults: dict[str, Any]) -> None:
        """
        Answer badly to what comes next, instead of what was injected before.

        :param faults: ``prefix`` of the path, ``times``, and ``status`` or ``delay_seconds`` or both.
        """
        self._own("post", "faults", json={"faults": list(faults)})

    def _own(self, method: str, path: str, **arguments: Any) -> Any:
        client = self.client()
        try:
            return client.adapter.request(method, f"/stand-in/{path}", **arguments)
        finally:
            client.adapter.close()

"""A certificate authority that lives as long as the sandbox."""

from __future__ import annotations

import os
from pathlib import Path

import trustme


class Authority:
    """Issues certificates below one throw-away root; the root's key never leaves this process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._root = trustme.CA(organization_name="airflow-secure-provider sandbox")
        self.ca_pem = directory / "ca.pem"
        self._root.cert_pem.write_to_path(str(self.ca_pem))

    def server(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """A certificate chain and its private key for these hosts; if none is given, for 127.0.0.1 and localhost."""
        return self._issue(name, *(hosts or ("127.0.0.1", "localhost")))

    def client(self, name: str) -> tuple[Path, Path]:
        """A certificate chain and its private key that say who ``name`` is."""
        return self._issue(f"client-{name}", f"{name}@sandbox.invalid", common_name=name)

    def _issue(self, file_name: str, *identities: str, common_name: str | None = None) -> tuple[Path, Path]:
        issued = self._root.issue_cert(*identities, common_name=common_name)
        chain, key = self._directory / f"{file_name}.pem", self._directory / f"{file_name}.key"
        chain.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        key.unlink(missing_ok=True)
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(issued.private_key_pem.bytes())
        return chain, key

"""A real Vault or OpenBao of our own, if its binary is on PATH: unsealed, with TLS and storage that outlives a restart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Self

import hvac
import requests

from sandbox.ca import Authority
from sandbox.environment import Process, clean_environment, free_port

_START_SECONDS = 30.0


def binary() -> str | None:
    return shutil.which("bao") or shutil.which("vault")


def _program() -> str:
    found = binary()
    if found is None:
        raise FileNotFoundError("neither bao nor vault is on PATH")
    return found


class RealVault:
    """:ivar root_token: of this server, which nobody else has."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.ca_pem = authority.ca_pem
        self.url = f"https://127.0.0.1:{free_port()}"
        self.root_token = ""
        self._unseal_key = ""
        certificate, key = authority.server("real-vault")
        storage = directory / "storage"
        storage.mkdir(parents=True, mode=0o700)
        address = self.url.removeprefix("https://")
        configuration = directory / "server.json"
        configuration.write_text(
            json.dumps(
                {
                    "listener": [
                        {
                            "tcp": {
                                "address": address,
                                "tls_cert_file": str(certificate),
                                "tls_key_file": str(key),
                            }
                        }
                    ],
                    "storage": {"raft": {"path": str(storage), "node_id": "one"}},
                    "api_addr": self.url,
                    "cluster_addr": f"https://127.0.0.1:{free_port()}",
                    "disable_mlock": True,
                }
            )
        )
        self._process = Process(
            "the real Vault",
            [_program(), "server", f"-config={configuration}"],
            log=directory / "server.log",
            environment=clean_environment(directory / "home"),
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin, and unseal; the first time also initialise."""
        self._process.start()
        self._process.wait_until_ready(self._answers, _START_SECONDS)
        if not self._unseal_key:
            made = self._ask("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self._unseal_key, self.root_token = made["keys"][0], made["root_token"]
        self._ask("PUT", "sys/unseal", {"key": self._unseal_key})
        self._process.wait_until_ready(self._is_active, _START_SECONDS)
        client = self.client()
        if "secret/" not in client.sys.list_mounted_secrets_engines()["data"]:
            client.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
        client.adapter.close()

    def stop(self) -> None:
        self._process.stop()

    def client(self) -> hvac.Client:
        return hvac.Client(url=self.url, token=self.root_token, verify=str(self.ca_pem), timeout=10)

    def _answers(self) -> bool:
        try:
            self._ask("GET", "sys/seal-status")
        except requests.RequestException:
            return False
        return True

    def _is_active(self) -> bool:
        answer = requests.get(f"{self.url}/v1/sys/health", verify=str(self.ca_pem), timeout=5)
        return answer.status_code == 200

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(
            method, f"{self.url}/v1/{path}", json=body, verify=str(self.ca_pem), timeout=10
        )
        answer.raise_for_status()
        return answer.json()

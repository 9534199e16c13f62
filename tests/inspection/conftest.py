from __future__ import annotations

from tests.vault.conftest import backends, engine, root, task, vault, vault_server

__all__ = ["backends", "engine", "root", "task", "vault", "vault_server"]

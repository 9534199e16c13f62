from __future__ import annotations

from tests.vault.conftest import backends, engine, real_vault, root, task, vault, vault_server

__all__ = ["backends", "engine", "real_vault", "root", "task", "vault", "vault_server"]

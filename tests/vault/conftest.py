from __future__ import annotations

import pytest

from tests.fixtures_vault import USED, vault, vault_server

__all__ = ["vault", "vault_server"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for description in config.stash.get(USED, []):
        terminalreporter.write_line(f"the Vault contract suite ran against {description}")
    if not any("real" in description for description in config.stash.get(USED, ["real"])):
        terminalreporter.write_line("no real Vault: TESTBED_VAULT_ADDR and TESTBED_VAULT_TOKEN name none")

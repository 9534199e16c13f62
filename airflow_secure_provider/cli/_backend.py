"""The Vault backend that Airflow is configured with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..inspection.vault_access import VaultAccess


def vault_access() -> VaultAccess | None:
    """None if no backend of ours is configured. :raises ConfigurationError: if it is, and can't be made."""
    from airflow.configuration import get_custom_secret_backend

    problem = ""
    backend: Any = None
    try:
        # The tasks' own section counts first, as it does for them.
        backend = get_custom_secret_backend(worker_mode=True) or get_custom_secret_backend()
    except Exception as error:  # noqa: BLE001 (of anybody's backend; its text may quote backend_kwargs)
        problem = str(error) if isinstance(error, ConfigurationError) else type(error).__name__
    if problem:
        raise ConfigurationError(f"the secrets backend of Airflow's configuration can't be made: {problem}")
    access: VaultAccess | None = backend.for_inspection() if hasattr(backend, "for_inspection") else None
    return access


def journal_folder() -> Path:
    from airflow.configuration import AIRFLOW_HOME
    from airflow.sdk.configuration import conf

    return Path(
        conf.get("secure_provider", "lease_journal", fallback="")
        or Path(AIRFLOW_HOME) / "secure_provider_leases"
    )

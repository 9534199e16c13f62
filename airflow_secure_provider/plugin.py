"""The Airflow plugin: registers the listener."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from .lineage import listener


class SecureProviderPlugin(AirflowPlugin):
    """Gives back leased credentials at a task's end and adds them, hashed, to its lineage."""

    name = "secure_provider"
    listeners = [listener]  # noqa: RUF012 (Airflow's interface)

"""The Airflow plugin: registers the listener and the page."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from .lineage import listener
from .ui.views import EXTERNAL_VIEWS, FASTAPI_APPS


class SecureProviderPlugin(AirflowPlugin):
    """Gives back leased credentials at a task's end and adds them, hashed, to its lineage; shows the page "Data protection"."""

    name = "secure_provider"
    listeners = [listener]  # noqa: RUF012 (Airflow's interface)
    fastapi_apps = FASTAPI_APPS
    external_views = EXTERNAL_VIEWS

"""Who may read what: Airflow's auth manager decides, here as everywhere in its API."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AssetDetails,
    DagAccessEntity,
    DagDetails,
)
from airflow.models.dag import DagModel


class Reader:
    """One user, for one request. The DAG's team is told to the auth manager, so that its rules for teams hold."""

    def __init__(self, user: Any) -> None:
        self._user = user
        self._dags: dict[tuple[str, DagAccessEntity], bool] = {}
        self._assets: dict[int, bool] = {}

    @cached_property
    def dag_ids(self) -> set[str]:
        """DAGs that there are, and that this user may read."""
        found: set[str] = get_auth_manager().get_authorized_dag_ids(user=self._user, method="GET")
        return found

    def may_read_runs(self, dag_id: str) -> bool:
        """Task runs of a DAG, and so what lineage tells of them."""
        return dag_id in self.dag_ids and self._may(dag_id, DagAccessEntity.TASK_INSTANCE)

    def may_read_xcoms(self, dag_id: str) -> bool:
        return self.may_read_runs(dag_id) and self._may(dag_id, DagAccessEntity.XCOM)

    def may_read_asset(self, asset_id: int) -> bool:
        if asset_id not in self._assets:
            self._assets[asset_id] = get_auth_manager().is_authorized_asset(
                method="GET", details=AssetDetails(id=str(asset_id)), user=self._user
            )
        return self._assets[asset_id]

    def _may(self, dag_id: str, entity: DagAccessEntity) -> bool:
        if (dag_id, entity) not in self._dags:
            self._dags[dag_id, entity] = get_auth_manager().is_authorized_dag(
                method="GET",
                access_entity=entity,
                details=DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)),
                user=self._user,
            )
        return self._dags[dag_id, entity]

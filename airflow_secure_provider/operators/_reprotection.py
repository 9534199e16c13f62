"""One run of ReprotectColumnsOperator, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.openlineage.extractors import OperatorLineage

from ..errors import ConfigurationError
from ..lineage.credentials import credential_facets
from ..lineage.facets import output_dataset
from ..model import DatasetStatus
from ..transfer import Options, TableTarget, reprotect
from ._clients import HookClients, declared_at_rest
from ._failures import as_airflow_failures

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ._settings import ReprotectionTask


class ReprotectionRun(HookClients):
    """
    :ivar tables: the tables, as they were last seen.
    """

    def __init__(self, operator: ReprotectionTask) -> None:
        super().__init__(operator)
        self._operator = operator
        self.tables: Sequence[DatasetStatus] = ()

    def run(self, context: Context) -> dict[str, Any]:
        operator = self._operator
        run = self.name_run(context)
        with as_airflow_failures():
            self.assure_leases(context)
            if isinstance(operator.domains, str):
                raise ConfigurationError(f"task {operator.task_id!r}: domains= is a list of names")
            report = reprotect(
                TableTarget(
                    connect=lambda: self.connect(operator.postgres_conn_id),
                    table="",
                    set_role=operator.set_role,
                    allow_insecure_transport=operator.allow_insecure_transport,
                ),
                Options(
                    keyset=self.open_keyset_at(operator.keyset),
                    declared_at_rest=declared_at_rest(),
                    ask_at_rest=self.ask_at_rest,
                ),
                operator.domains,
                policy=self.policy(),
                task=run,
                on_tables=self._remember_tables,
                on_connection=self.remember,
            )
        self.tables = report.tables
        return report.as_dict()

    def _remember_tables(self, tables: Sequence[DatasetStatus]) -> None:
        self.tables = tables


def lineage(run: ReprotectionRun | None) -> OperatorLineage:
    """The tables as outputs, with the key versions of their columns. Their rows came from nowhere else."""
    tables = run.tables if run is not None else ()
    return OperatorLineage(
        outputs=[output_dataset(table, None, None) for table in tables], run_facets=credential_facets()
    )

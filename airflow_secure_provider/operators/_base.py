"""What an author sets on both operators. Light: a DAG file that imports them loads no Arrow and no driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from ..contract.contract import Contract
    from ..transfer import Source, Target
    from ._execution import Execution
    from ._settings import Clients


class SecureTransferOperator(BaseOperator):
    """The shared half of a transfer; not for DAGs."""

    ui_color = "#d9ead3"
    _execution: Execution | None = None
    reveal_with: str | None = None
    reveal_aws_conn_id: str | None = None
    purpose: str | None = None

    def __init__(
        self,
        *,
        source: str | Sequence[str],
        contract: str | None = None,
        columns: Mapping[str, Any] | None = None,
        keyset: str | None = None,
        aws_conn_id: str | None = "aws_default",
        vault_conn_id: str | None = None,
        postgres_conn_id: str = "postgres_default",
        set_role: str | None = None,
        mode: str = "append",
        key_columns: Sequence[str] = (),
        replace_with: str = "staging",
        force: bool = False,
        create_table: bool = False,
        timeouts: Mapping[str, float] | None = None,
        verify_cells: int = 0,
        require: Mapping[str, Any] | None = None,
        extra_columns: str = "refuse",
        on_suspected_pii: str = "warn",
        reject_to: str | None = None,
        max_rejected_rows: int = 0,
        reject_kms_keys: str | Sequence[str] | None = None,
        allow_insecure_transport: bool = False,
        min_ttl: str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_ttl = min_ttl
        self.source = source
        self.contract = contract
        self.columns = columns
        self.keyset = keyset
        self.aws_conn_id = aws_conn_id
        self.vault_conn_id = vault_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.set_role = set_role
        self.mode = mode
        self.key_columns = key_columns
        self.replace_with = replace_with
        self.force = force
        self.create_table = create_table
        self.timeouts = timeouts
        self.verify_cells = verify_cells
        self.require = require
        self.extra_columns = extra_columns
        self.on_suspected_pii = on_suspected_pii
        self.reject_to = reject_to
        self.max_rejected_rows = max_rejected_rows
        self.reject_kms_keys = reject_kms_keys
        self.allow_insecure_transport = allow_insecure_transport

    def execute(self, context: Context) -> dict[str, Any]:
        from ._execution import Execution

        self._execution = Execution(self)
        return self._execution.run(context)

    def on_kill(self) -> None:
        """End the transaction at once."""
        if self._execution is not None:
            self._execution.kill()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Called by the OpenLineage provider, as is the next."""
        from ._lineage import on_complete

        return on_complete(self, self._execution)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage:
        from ._lineage import on_failure

        return on_failure(self, self._execution)

    def make_contract(self, clients: Clients) -> Contract | None:
        """What happens to the columns, where no contract says it."""
        return None

    def make_source(self, clients: Clients) -> Source:
        """Where the rows come from; each operator has its own."""
        raise TypeError(f"{type(self).__name__} reads nothing; use one of the operators")

    @property
    def target_name(self) -> str:
        """The table, or the object's URI."""
        raise TypeError(f"{type(self).__name__} writes nothing; use one of the operators")

    def make_target(self, clients: Clients) -> Target:
        """Where the rows go: the PostgreSQL table, if the operator says nothing else."""
        from ..transfer import TableTarget

        return TableTarget(
            connect=lambda: clients.connect(self.postgres_conn_id),
            table=self.target_name,
            mode=self.mode,
            set_role=self.set_role,
            allow_insecure_transport=self.allow_insecure_transport,
            key_columns=self.key_columns,
            replace_with=self.replace_with,
            force=self.force,
            create_table=self.create_table,
            timeouts=self.timeouts or {},
            verify_cells=self.verify_cells,
        )

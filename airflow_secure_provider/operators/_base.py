"""What both operators share: contract, keysets, connections out of the official hooks, lineage and asset events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.configuration import conf

from ..contract.contract import Contract, from_columns
from ..contract.odcs import from_odcs
from ..crypto.keyset import Keyset
from ..errors import ConfigurationError, StoreError
from ..keyrings.opening import open_keyset
from ..lineage.credentials import credential_facets
from ..lineage.facets import input_dataset, named_dataset, output_dataset
from ..model import AtRest, DatasetStatus, Evidence, TransferReport
from ..stores.s3 import S3Location, read_small
from ..transfer import Options, Source, Target, transfer
from ._failures import as_airflow_failures

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


class SecureTransferOperator(BaseOperator):
    """The shared half of a transfer into a PostgreSQL table; not for DAGs."""

    reports_credentials = True  # see lineage.listener
    ui_color = "#d9ead3"

    def __init__(
        self,
        *,
        source: str,
        table: str,
        contract: str | None = None,
        columns: Mapping[str, Any] | None = None,
        keyset: str | None = None,
        aws_conn_id: str | None = "aws_default",
        postgres_conn_id: str = "postgres_default",
        set_role: str | None = None,
        mode: str = "append",
        extra_columns: str = "refuse",
        allow_insecure_transport: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.table = table
        self.contract = contract
        self.columns = columns
        self.keyset = keyset
        self.aws_conn_id = aws_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.set_role = set_role
        self.mode = mode
        self.extra_columns = extra_columns
        self.allow_insecure_transport = allow_insecure_transport

    def execute(self, context: Context) -> dict[str, Any]:
        self._contract: Contract | None = None
        self._report: TransferReport | None = None
        self._ends: tuple[DatasetStatus, DatasetStatus] | None = None
        self._connection: Any = None
        with as_airflow_failures():
            self._contract = self._read_contract()
            self._report = transfer(
                self._source(),
                self._contract,
                self._target(),
                self._options(),
                task=_task_run(context),
                on_checked=self._remember_ends,
                on_connection=self._remember_connection,
            )
        self._set_asset_events(context, self._report)
        return self._report.as_dict()

    def on_kill(self) -> None:
        """End the transaction at once: PostgreSQL rolls it back when the connection goes."""
        connection = getattr(self, "_connection", None)
        if connection is not None and not connection.closed:
            connection.cancel_safe(timeout=2.0)
            connection.close()

    # --- lineage, called by the OpenLineage provider ---------------------------------------------------------

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        from airflow.providers.openlineage.extractors import OperatorLineage

        report = getattr(self, "_report", None)
        if report is None:
            return self.get_openlineage_facets_on_failure(task_instance)
        return OperatorLineage(
            inputs=[input_dataset(report.source, report.contract)],
            outputs=[output_dataset(report.target, report.contract, report)],
            run_facets=credential_facets(),
        )

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage:
        """What was seen until the failure. Nothing was written, so there is no column lineage."""
        from airflow.providers.openlineage.extractors import OperatorLineage

        ends, contract = getattr(self, "_ends", None), getattr(self, "_contract", None)
        if ends is None:
            return OperatorLineage(inputs=self._unseen_inputs(), run_facets=credential_facets())
        reference = contract.ref if contract else None
        return OperatorLineage(
            inputs=[input_dataset(ends[0], reference)],
            outputs=[output_dataset(ends[1], reference, None)],
            run_facets=credential_facets(),
        )

    # --- for the two operators ------------------------------------------------------------------------------

    def _source(self) -> Source:
        raise TypeError(f"{type(self).__name__} has no source of its own")

    def _options(self) -> Options:
        return Options(
            keyset=self._open_keyset(self.keyset),
            extra_columns=self.extra_columns,
            declared_at_rest=declared_at_rest(),
        )

    def _target(self) -> Target:
        return Target(
            connect=lambda: self._connect(self.postgres_conn_id),
            table=self.table,
            mode=self.mode,
            set_role=self.set_role,
            allow_insecure_transport=self.allow_insecure_transport,
        )

    def _connect(self, conn_id: str) -> Any:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        return PostgresHook(postgres_conn_id=conn_id).get_conn()

    def _s3_client(self) -> Any:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        return S3Hook(aws_conn_id=self.aws_conn_id).get_conn()

    def _kms_client(self, key_arn: str) -> Any:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        parts = key_arn.split(":")
        region = parts[3] if len(parts) > 3 else None
        return AwsBaseHook(aws_conn_id=self.aws_conn_id, client_type="kms", region_name=region).get_conn()

    def _open_keyset(self, uri: str | None) -> Keyset | None:
        return open_keyset(uri, self._read_document, self._kms_client) if uri else None

    def _unseen_inputs(self) -> list[Any]:
        if not self.source.startswith("s3://"):
            return []
        try:
            location = S3Location.parse(self.source)
        except ConfigurationError:
            return []
        return [named_dataset(f"s3://{location.bucket}", location.key)]

    # --- inside ---------------------------------------------------------------------------------------------

    def _read_contract(self) -> Contract:
        if (self.contract is None) == (self.columns is None):
            raise ConfigurationError(f"task {self.task_id!r}: give either contract= or columns=")
        if self.columns is not None:
            return from_columns(self.columns, self.table)
        assert self.contract is not None  # noqa: S101 (the line above, for the type checker)
        return from_odcs(self._read_document(self.contract), self.contract, self.table)

    def _read_document(self, location: str) -> bytes:
        """A contract or keyset: ``s3://``, absolute, or relative to the DAG file's folder."""
        if location.startswith("s3://"):
            return read_small(self._s3_client(), location)
        path = Path(self.dag.folder) / location
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"{location!r} can't be read at {path}: {error.strerror}") from None

    def _remember_ends(self, source: DatasetStatus, target: DatasetStatus) -> None:
        self._ends = (source, target)

    def _remember_connection(self, connection: Any) -> None:
        self._connection = connection

    def _set_asset_events(self, context: Context, report: TransferReport) -> None:
        """The facts of the load on the outlets that the author declared; only after the commit."""
        facts: dict[str, Any] = {
            "rows": report.rows,
            "already_loaded": report.already_loaded,
            "status": str(report.target.status),
            "contract": f"{report.contract.id} {report.contract.version}",
            "contract_digest": report.contract.digest,
            "source": report.source.dataset.uri,
            "source_version": report.source.dataset.version,
        }
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(facts)


def declared_at_rest() -> dict[str, AtRest]:
    """``[secure_provider] declared_at_rest``, checked.

    :raises ConfigurationError: if it is not what its description says.
    """
    text = conf.get("secure_provider", "declared_at_rest", fallback="") or "{}"
    where = "[secure_provider] declared_at_rest"
    try:
        body = json.loads(text)
        entries = {name: dict(entry) for name, entry in body.items()}
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(f"{where} is not a JSON object of objects") from None
    known = {"scheme", "algorithm", "key_provider", "key_id"}
    for name, entry in entries.items():
        unknown = sorted(set(entry) - known)
        if unknown or not entry.get("scheme"):
            problem = f"unknown key {unknown[0]!r}" if unknown else "scheme is missing"
            raise ConfigurationError(f"{where}, {name!r}: {problem}; it takes {', '.join(sorted(known))}")
    return {
        name: AtRest(evidence=Evidence.DECLARED, note="declared in [secure_provider]", **entry)
        for name, entry in entries.items()
    }


def _task_run(context: Context) -> str:
    instance = context["ti"]
    return f"{instance.dag_id}/{instance.task_id}/{instance.run_id}/{instance.map_index}"

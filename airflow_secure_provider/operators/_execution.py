"""One run of an operator: contract, keysets and connections out of the official hooks, the transfer, asset events."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.configuration import conf

from ..contract.contract import Contract, from_columns
from ..contract.odcs import from_odcs
from ..crypto.keyset import Keyset
from ..errors import ConfigurationError, StoreError
from ..keyrings.opening import open_keyset
from ..model import SCHEMES, AtRest, DatasetStatus, Evidence, TransferReport
from ..stores.s3 import read_small
from ..transfer import Options, Target, transfer
from ._failures import as_airflow_failures

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ._settings import TransferTask

log = logging.getLogger(__name__)


class Execution:
    """What a run knows, while it goes on and for the lineage after it.

    :ivar ends: both ends of the hop, as soon as they are known.
    :ivar report: of the committed transfer.
    """

    def __init__(self, operator: TransferTask) -> None:
        self._operator = operator
        self._connection: Any = None
        self.contract: Contract | None = None
        self.ends: tuple[DatasetStatus, DatasetStatus] | None = None
        self.report: TransferReport | None = None

    def run(self, context: Context) -> dict[str, Any]:
        with as_airflow_failures():
            self.contract = self._read_contract()
            self.report = transfer(
                self._operator.make_source(self),
                self.contract,
                self._target(),
                self._options(),
                task=_task_run(context),
                on_ends=self._remember_ends,
                on_connection=self._remember_connection,
            )
        self._set_asset_events(context, self.report)
        return self.report.as_dict()

    def kill(self) -> None:
        """PostgreSQL rolls back when the connection goes; the statement that runs is cancelled first."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        try:
            connection.cancel_safe(timeout=2.0)
        except Exception as error:  # noqa: BLE001 (whatever it is: closing, which follows, is what counts)
            log.warning(
                "the statement could not be cancelled (%s); the connection is closed", type(error).__name__
            )
        finally:
            connection.close()

    # --- for the operators' sources -------------------------------------------------------------------------

    def s3_client(self) -> Any:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        return S3Hook(aws_conn_id=self._operator.aws_conn_id).get_conn()

    def kms_client(self, key_arn: str, conn_id: str | None = None) -> Any:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        parts = key_arn.split(":")
        region = parts[3] if len(parts) > 3 else None
        hook = AwsBaseHook(
            aws_conn_id=conn_id or self._operator.aws_conn_id, client_type="kms", region_name=region
        )
        return hook.get_conn()

    def connect(self, conn_id: str) -> Any:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        return PostgresHook(postgres_conn_id=conn_id).get_conn()

    # --- inside ---------------------------------------------------------------------------------------------

    def _target(self) -> Target:
        operator = self._operator
        return Target(
            connect=lambda: self.connect(operator.postgres_conn_id),
            table=operator.table,
            mode=operator.mode,
            set_role=operator.set_role,
            allow_insecure_transport=operator.allow_insecure_transport,
        )

    def _options(self) -> Options:
        operator = self._operator
        return Options(
            keyset=self._open_keyset(operator.keyset),
            reveal_with=self._open_keyset(operator.reveal_with, operator.reveal_aws_conn_id),
            purpose=operator.purpose,
            extra_columns=operator.extra_columns,
            declared_at_rest=declared_at_rest(),
        )

    def _read_contract(self) -> Contract:
        operator = self._operator
        made = operator.make_contract(self)
        if made is not None:
            return made
        if operator.columns is not None and operator.contract is None:
            return from_columns(operator.columns, operator.table)
        if operator.contract is not None and operator.columns is None:
            return from_odcs(self._read_document(operator.contract), operator.contract, operator.table)
        raise ConfigurationError(f"task {operator.task_id!r}: give either contract= or columns=")

    def _open_keyset(self, uri: str | None, conn_id: str | None = None) -> Keyset | None:
        if not uri:
            return None
        folder = Path(self._operator.dag.folder)
        return open_keyset(uri, self._read_document, lambda arn: self.kms_client(arn, conn_id), folder)

    def _read_document(self, location: str) -> bytes:
        """A contract or keyset: ``s3://``, absolute, or relative to the DAG file's folder."""
        if location.startswith("s3://"):
            return read_small(self.s3_client(), location)
        path = Path(self._operator.dag.folder) / location
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"{location!r} can't be read at {path}: {error.strerror}") from None

    def _remember_ends(self, source: DatasetStatus, target: DatasetStatus) -> None:
        self.ends = (source, target)

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
        for outlet in self._operator.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(facts)


def declared_at_rest() -> dict[str, AtRest]:
    """``[secure_provider] declared_at_rest``, checked.

    :raises ConfigurationError: if it is not what its description says.
    """
    text = conf.get("secure_provider", "declared_at_rest", fallback="") or "{}"
    where = "[secure_provider] declared_at_rest"
    try:
        entries = {name: dict(entry) for name, entry in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        raise ConfigurationError(f"{where} is not a JSON object of objects") from None
    known = {"scheme", "algorithm", "key_provider", "key_id"}
    for name, entry in entries.items():
        unknown = sorted(set(entry) - known)
        if unknown or entry.get("scheme") not in SCHEMES:
            problem = (
                f"unknown key {unknown[0]!r}" if unknown else f"scheme must be one of {', '.join(SCHEMES)}"
            )
            raise ConfigurationError(f"{where}, {name!r}: {problem}; it takes {', '.join(sorted(known))}")
    return {
        name: AtRest(evidence=Evidence.DECLARED, note="declared in [secure_provider]", **entry)
        for name, entry in entries.items()
    }


def _task_run(context: Context) -> str:
    instance = context["ti"]
    return f"{instance.dag_id}/{instance.task_id}/{instance.run_id}/{instance.map_index}"

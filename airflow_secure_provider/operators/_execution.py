"""One run of a transferring operator: contract, keysets and connections, the transfer, asset events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from ..contract.contract import Contract, from_columns
from ..contract.odcs import from_odcs
from ..errors import ConfigurationError, ContractError
from ..model import DatasetStatus
from ..reports import TransferReport
from ..transfer import Options, RejectTo, Required, transfer
from ._clients import HookClients, declared_at_rest
from ._failures import as_airflow_failures
from ._keys import as_list

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ._settings import TransferTask


class Execution(HookClients):
    """What a run knows, while it goes on and for the lineage after it.

    :ivar ends: both ends of the hop, as soon as they are known.
    :ivar report: of the committed transfer.
    :ivar refusal: what of the contract, or of what its classes require, was not met.
    """

    def __init__(self, operator: TransferTask) -> None:
        super().__init__(operator)
        self._operator = operator
        self.contract: Contract | None = None
        self.ends: tuple[DatasetStatus, DatasetStatus] | None = None
        self.report: TransferReport | None = None
        self.refusal: str | None = None

    def run(self, context: Context) -> dict[str, Any]:
        run = self.name_run(context)
        with as_airflow_failures():
            self.assure_leases(context)
            try:
                self.contract = self._read_contract()
                self.report = transfer(
                    self._operator.make_source(self),
                    self.contract,
                    self._operator.make_target(self),
                    self._options(),
                    task=run,
                    on_ends=self._remember_ends,
                    on_connection=self.remember,
                )
            except ContractError as error:
                self.refusal = str(error)
                raise
        self._set_asset_events(context, self.report)
        return self.report.as_dict()

    # --- inside ---------------------------------------------------------------------------------------------

    def _options(self) -> Options:
        operator = self._operator
        return Options(
            keyset=self.open_keyset_at(operator.keyset),
            reveal_with=self.open_keyset_at(operator.reveal_with, operator.reveal_aws_conn_id),
            purpose=operator.purpose,
            extra_columns=operator.extra_columns,
            on_suspected_pii=operator.on_suspected_pii,
            declared_at_rest=declared_at_rest(),
            ask_at_rest=self.ask_at_rest,
            known_classes=self.known_classes(),
            reject=self._reject(),
            require=Required.of(operator.require, self.read_document)
            if operator.require is not None
            else None,
        )

    def _reject(self) -> RejectTo | None:
        operator = self._operator
        if operator.reject_to is None:
            if operator.max_rejected_rows:
                raise ConfigurationError(
                    f"task {operator.task_id!r}: max_rejected_rows= takes reject_to=, where the rows go"
                )
            return None
        return RejectTo(
            self.s3_client(),
            self.kms_client,
            operator.reject_to,
            kms_keys=as_list(operator.reject_kms_keys),
            most=operator.max_rejected_rows,
        )

    def _read_contract(self) -> Contract:
        operator = self._operator
        made = operator.make_contract(self)
        if made is not None:
            return made
        if operator.columns is not None and operator.contract is None:
            return from_columns(operator.columns, operator.target_name, self.policy())
        if operator.contract is not None and operator.columns is None:
            return from_odcs(
                self.read_document(operator.contract), operator.contract, operator.target_name, self.policy()
            )
        raise ConfigurationError(f"task {operator.task_id!r}: give either contract= or columns=")

    def _remember_ends(self, source: DatasetStatus, target: DatasetStatus) -> None:
        self.ends = (source, target)

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

"""One run of an operator that encrypts something into S3, and what it tells of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.sdk import Asset

from ..contract.contract import Contract
from ..contract.odcs import from_odcs
from ..lineage.credentials import credential_facets
from ..lineage.facets import input_datasets, output_dataset
from ..model import DatasetStatus
from ..reports import LandingReport
from ..transfer import EncryptedObject, land
from ._clients import HookClients, declared_at_rest
from ._failures import as_airflow_failures
from ._keys import as_list

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ._settings import LandingTask


class Landing(HookClients):
    """
    :ivar ends: both ends of the way, as soon as they are known.
    :ivar report: of the object that was written.
    """

    def __init__(self, operator: LandingTask) -> None:
        super().__init__(operator)
        self._operator = operator
        self.contract: Contract | None = None
        self.ends: tuple[DatasetStatus, DatasetStatus] | None = None
        self.report: LandingReport | None = None

    def run(self, context: Context) -> dict[str, Any]:
        operator = self._operator
        run = self.name_run(context)
        with as_airflow_failures():
            self.assure_leases(context)
            policy = self.policy()
            if operator.contract is not None:
                document = self.read_document(operator.contract)
                self.contract = from_odcs(document, operator.contract, operator.target, policy)
            target = EncryptedObject(
                self.s3_client(),
                self.kms_client,
                operator.target,
                kms_keys=as_list(operator.kms_keys),
                raw_key=self.raw_aes_key(operator.raw_aes_key_conn_id),
                context=operator.encryption_context or {},
            )
            self.report = land(
                operator.make_bytes(self),
                target,
                self.contract,
                policy,
                declared=declared_at_rest(),
                ask_at_rest=self.ask_at_rest,
                task=run,
                on_ends=self._remember_ends,
            )
        self._set_asset_events(context, self.report)
        return self.report.as_dict()

    def _remember_ends(self, source: DatasetStatus, target: DatasetStatus) -> None:
        self.ends = (source, target)

    def _set_asset_events(self, context: Context, report: LandingReport) -> None:
        facts = {
            "status": str(report.target.status),
            "version": report.target.dataset.version,
            "bytes": report.bytes_written,
            "contract_digest": report.contract.digest if report.contract else None,
        }
        for outlet in self._operator.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(facts)


def lineage(landing: Landing | None) -> OperatorLineage:
    """Both ends, as far as they were seen; how the columns came from each other nobody looked at."""
    if landing is None or landing.ends is None:
        return OperatorLineage(run_facets=credential_facets())
    source, target = landing.ends
    contract = landing.contract.ref if landing.contract else None
    read = landing.report.bytes_read if landing.report else None
    size = landing.report.bytes_written if landing.report else None
    return OperatorLineage(
        inputs=input_datasets(source, contract, size=read),
        outputs=[output_dataset(target, contract, None, size=size)],
        run_facets=credential_facets(),
    )

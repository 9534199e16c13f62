"""What an operator's run tells the OpenLineage provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.openlineage.extractors import OperatorLineage

from ..errors import ConfigurationError
from ..lineage.credentials import credential_facets
from ..lineage.facets import contract_facet, input_datasets, named_dataset, output_dataset
from ..stores.s3 import S3Location

if TYPE_CHECKING:
    from ._execution import Execution
    from ._settings import TransferTask


def on_complete(operator: TransferTask, execution: Execution | None) -> OperatorLineage:
    """Both datasets with everything seen, and how the columns came from each other."""
    if execution is None or execution.report is None:
        return on_failure(operator, execution)
    report = execution.report
    return OperatorLineage(
        inputs=input_datasets(report.source, report.contract, report),
        outputs=[output_dataset(report.target, report.contract, report)],
        run_facets={**credential_facets(), **contract_facet(report.contract, "met", report.policy)},
    )


def on_failure(operator: TransferTask, execution: Execution | None) -> OperatorLineage:
    """What was seen until the failure. Nothing was written, so there is no column lineage."""
    contract = execution.contract.ref if execution is not None and execution.contract else None
    refusal = execution.refusal if execution is not None else None
    facets = {
        **credential_facets(),
        **contract_facet(contract, "refused" if refusal else "undecided", reason=refusal),
    }
    if execution is None or execution.ends is None:
        return OperatorLineage(inputs=_unseen(operator), run_facets=facets)
    source, target = execution.ends
    return OperatorLineage(
        inputs=input_datasets(source, contract),
        outputs=[output_dataset(target, contract, None)],
        run_facets=facets,
    )


def _unseen(operator: TransferTask) -> list[Any]:
    """The source by its name alone, where its name is all there is to know."""
    try:
        location = S3Location.parse(operator.source if isinstance(operator.source, str) else "")
    except ConfigurationError:
        return []
    return [named_dataset(f"s3://{location.bucket}", location.key)]

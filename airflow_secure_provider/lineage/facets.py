"""From a transfer's facts to OpenLineage facets. ``docs/formats/encryption-facet.md`` specifies our own.

Beside it go the standard facets, so that consumers that know only the standard still see which columns are masked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import attr
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    column_lineage_dataset,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    ownership_dataset,
    schema_dataset,
    storage_dataset,
    tags_dataset,
)
from openlineage.client.serde import Serde

from ..model import Classification, ColumnEdge, ColumnStatus, ContractRef, DatasetStatus, Protection
from ..reports import AnonymityReport, TransferReport
from ..stores.formats import FileFormat

ENCRYPTION = "secureProvider_encryption"
CREDENTIALS = "secureProvider_credentials"
CONTRACT = "secureProvider_contract"
_SOURCE = "airflow-secure-provider"
_TAG = "classification"


@attr.define
class EncryptionDatasetFacet(DatasetFacet):
    """How a dataset is encrypted at rest, in transit and column by column, and how each fact is known."""

    status: str
    atRest: dict[str, Any]
    inTransit: dict[str, Any]
    columns: list[dict[str, Any]]
    contract: dict[str, Any] | None = None
    warnings: list[str] | None = None

    # Names and facts only, which the redactor would take for secrets where they contain such a word.
    _additional_skip_redact: ClassVar[list[str]] = [
        "status",
        "atRest",
        "inTransit",
        "columns",
        "contract",
        "warnings",
    ]

    @staticmethod
    def _get_schema() -> str:
        return "urn:airflow-secure-provider:facet:EncryptionDatasetFacet:1-2-0"


@attr.define
class CredentialsRunFacet(RunFacet):
    """With which leased credentials a task worked: who issued them and for how long; never the secret."""

    credentials: list[dict[str, Any]]

    _additional_skip_redact: ClassVar[list[str]] = ["credentials"]

    @staticmethod
    def _get_schema() -> str:
        return "urn:airflow-secure-provider:facet:CredentialsRunFacet:1-1-0"


@attr.define
class ContractRunFacet(RunFacet):
    """By which contract a task has judged its data, and whether what it requires was met."""

    contract: dict[str, Any]
    verdict: str
    policy: str | None = None
    reason: str | None = None

    _additional_skip_redact: ClassVar[list[str]] = ["contract", "verdict", "policy", "reason"]

    @staticmethod
    def _get_schema() -> str:
        return "urn:airflow-secure-provider:facet:ContractRunFacet:1-0-0"


def contract_facet(
    contract: ContractRef | None, verdict: str, policy: str | None = None, reason: str | None = None
) -> dict[str, ContractRunFacet]:
    """
    :param verdict: ``met``: all was checked and committed; ``refused``: the contract or its classes were not met;
        ``undecided``: the task failed for another reason.
    :param policy: the class policy, once it is known.
    :param reason: of a refusal: names of columns and datasets, and never a value.
    """
    if contract is None:
        return {}
    named = {"id": contract.id, "version": contract.version, "digest": contract.digest}
    return {CONTRACT: ContractRunFacet(contract=named, verdict=verdict, policy=policy, reason=reason)}


def input_datasets(
    status: DatasetStatus,
    contract: ContractRef | None,
    report: TransferReport | None = None,
    size: int | None = None,
) -> list[InputDataset]:
    """The source of a hop; of a query the tables that it reads.

    :param report: of a committed transfer.
    :param size: in bytes, of a source whose rows nobody looked at.
    """
    parts = status.parts or (status,)
    seen = _input_facets(report, size) if len(parts) == 1 else {}
    return [
        InputDataset(
            part.dataset.namespace, part.dataset.name, facets=_facets(part, contract), inputFacets=seen
        )
        for part in parts
    ]


def _input_facets(report: TransferReport | None, size: int | None) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if report is None:
        if size is not None:
            facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
                size=size
            )
        return facets
    if report.already_loaded:  # nobody read it
        return facets
    facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
        rowCount=report.rows + report.rejected, size=report.bytes_read or None
    )
    facets["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
        assertions=[
            data_quality_assertions_dataset.Assertion(
                assertion="rows_fit_contract",
                success=not report.rejected,
                severity="warn",
                description="rows that did not fit the contract, and went into quarantine",
                expected="0",
                actual=str(report.rejected),
            )
        ]
    )
    return facets


def output_dataset(
    status: DatasetStatus,
    contract: ContractRef | None,
    report: TransferReport | None,
    size: int | None = None,
) -> OutputDataset:
    """The target of a hop.

    :param report: of a committed transfer; ``None`` if it failed, and then there is no column lineage to tell.
    :param size: in bytes, of an object whose rows nobody looked at.
    """
    facets = _facets(status, contract)
    if contract is not None and contract.owners:
        facets["ownership"] = ownership_dataset.OwnershipDatasetFacet(
            owners=[ownership_dataset.Owner(owner.name, owner.kind) for owner in contract.owners]
        )
    statistics: dict[str, Any] = {}
    if size is not None:
        statistics["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            size=size
        )
    if report is not None:
        facets["columnLineage"] = _column_lineage(report.source, report.edges)
        if report.anonymity is not None:
            facets["dataQualityAssertions"] = _anonymity(report.anonymity)
        statistics["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=report.rows
        )
    return OutputDataset(
        status.dataset.namespace, status.dataset.name, facets=facets, outputFacets=statistics
    )


UNKNOWN: dict[str, Any] = {
    "status": "unknown",
    "atRest": {"scheme": "unknown", "evidence": "unknown"},
    "inTransit": {"evidence": "unknown"},
    "columns": [],
}


def encryption(status: DatasetStatus) -> dict[str, Any]:
    """The facet as JSON, for an event that is JSON already."""
    facet: dict[str, Any] = Serde.to_dict(_encryption(status, None))
    return facet


def classification_tags(classes: Mapping[str, Classification]) -> dict[str, Any]:
    """The tags facet as JSON, for columns of which only the class is known."""
    tags = [
        tags_dataset.TagsDatasetFacetFields(key=_TAG, value=str(each), source=_SOURCE, field=name)
        for name, each in classes.items()
    ]
    facet: dict[str, Any] = Serde.to_dict(tags_dataset.TagsDatasetFacet(tags=tags))
    return facet


def _anonymity(
    report: AnonymityReport,
) -> data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet:
    """What the target has, over these quasi-identifiers; and, as facts, what it has cost."""
    over = ", ".join(report.quasi_identifiers)
    reached: dict[str, tuple[str, str]] = {"k_anonymity": (f">= {report.required['k']:g}", str(report.k))}
    if report.l_diversity is not None:
        reached["l_diversity"] = (f">= {report.required.get('l', 1):g}", str(report.l_diversity))
    if report.t_closeness is not None:
        reached["t_closeness"] = (f"<= {report.required.get('t', 1):g}", f"{report.t_closeness:.4f}")
    cost = f"{report.suppressed} rows left out; loss {report.loss:.4f}"
    return data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
        assertions=[
            data_quality_assertions_dataset.Assertion(
                assertion=name,
                success=True,
                description=f"over {over}; {cost}",
                expected=expected,
                actual=actual,
            )
            for name, (expected, actual) in reached.items()
        ]
    )


def named_dataset(namespace: str, name: str) -> Dataset:
    """A dataset of which nothing was seen: its status is unknown, not absent."""
    return Dataset(namespace, name, facets={ENCRYPTION: EncryptionDatasetFacet(**UNKNOWN)})


def _facets(status: DatasetStatus, contract: ContractRef | None) -> dict[str, Any]:
    facets: dict[str, Any] = {ENCRYPTION: _encryption(status, contract)}
    if status.columns:  # an empty schema would say that there are none
        facets["schema"] = schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(name=column.name, type=column.type)
                for column in status.columns
            ]
        )
        facets["tags"] = tags_dataset.TagsDatasetFacet(tags=list(_tags(status.columns)))
    if status.dataset.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=status.dataset.version
        )
    if status.dataset.namespace.startswith("s3://"):
        facets["storage"] = storage_dataset.StorageDatasetFacet(
            storageLayer="s3", fileFormat=str(FileFormat.of_key(status.dataset.name))
        )
    return facets


def _encryption(status: DatasetStatus, contract: ContractRef | None) -> EncryptionDatasetFacet:
    rest, transit = status.at_rest, status.in_transit
    return EncryptionDatasetFacet(
        status=str(status.status),
        atRest=_known(
            scheme=rest.scheme,
            algorithm=rest.algorithm,
            keyProvider=rest.key_provider,
            keyId=rest.key_id,
            evidence=str(rest.evidence),
            note=rest.note,
        ),
        inTransit=_known(
            protocol=transit.protocol,
            cipher=transit.cipher,
            peerVerified=transit.peer_verified,
            mutual=transit.mutual,
            evidence=str(transit.evidence),
        ),
        columns=[_column(column) for column in status.columns],
        contract=_known(id=contract.id, version=contract.version, digest=contract.digest)
        if contract
        else None,
    )


def _column(column: ColumnStatus) -> dict[str, Any]:
    return _known(
        name=column.name,
        classification=str(column.classification) if column.classification else None,
        protection=str(column.protection),
        algorithm=column.algorithm,
        reversible=column.reversible,
        domain=column.domain,
        keyset=column.keyset_id,
        keyVersion=column.key_version,
        verifiedCells=column.verified_cells,
    )


def _tags(columns: Iterable[ColumnStatus]) -> Iterable[tags_dataset.TagsDatasetFacetFields]:
    for column in columns:
        if column.classification is not None:
            yield tags_dataset.TagsDatasetFacetFields(
                key=_TAG, value=str(column.classification), source=_SOURCE, field=column.name
            )


def _column_lineage(
    source: DatasetStatus, edges: Sequence[ColumnEdge]
) -> column_lineage_dataset.ColumnLineageDatasetFacet:
    fields: dict[str, column_lineage_dataset.Fields] = {}
    for edge in edges:
        masked = edge.protection is not Protection.NONE
        dataset = edge.dataset or source.dataset
        one = column_lineage_dataset.InputField(
            namespace=dataset.namespace,
            name=dataset.name,
            field=edge.source,
            transformations=[
                column_lineage_dataset.Transformation(
                    type="DIRECT",
                    subtype="TRANSFORMATION" if masked else "IDENTITY",
                    description=edge.description,
                    masking=edge.masking,
                )
            ],
        )
        if edge.target in fields:  # it is computed of several
            fields[edge.target].inputFields.append(one)
            continue
        fields[edge.target] = column_lineage_dataset.Fields(
            inputFields=[one],
            # The legacy pair is the only one that Marquez shows on its edges.
            transformationType="MASKED" if masked else "IDENTITY",
            transformationDescription=edge.description,
        )
    return column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields)


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}

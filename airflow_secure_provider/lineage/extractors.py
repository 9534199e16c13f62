"""Datasets of stock operators that name none themselves. In airflow.cfg::

[openlineage]
extractors = airflow_secure_provider.lineage.extractors.S3ToSqlExtractor;…

The whole list is what ``airflow-secure lineage setup`` writes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.extractors.base import BaseExtractor
from openlineage.client.event_v2 import Dataset
from openlineage.client.facet_v2 import column_lineage_dataset, schema_dataset

from .observations import OBSERVED

_DEFAULT_SCHEMAS = {"postgres": "public", "redshift": "public"}


def prepare(operator: Any) -> None:
    """In the task's own process: what its forks would each import and look up anew, and the task needs anyway."""
    if type(operator).__name__ in ("S3ToSqlOperator", "SqlToS3Operator"):
        _hook(operator)
        import airflow.providers.openlineage.sqlparser  # noqa: F401


class S3ToSqlExtractor(BaseExtractor):  # type: ignore[misc]
    """``S3ToSqlOperator``: the object, the table, and its columns as the author lists them."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        return ["S3ToSqlOperator"]

    def _execute_extraction(self) -> OperatorLineage:
        operator = self.operator
        source = Dataset(f"s3://{operator.s3_bucket}", operator.s3_key.strip("/"))
        named = _table(operator)
        if named is None:
            return OperatorLineage(inputs=[source])
        facets: dict[str, Any] = {}
        columns = [str(each) for each in operator.column_list or ()]
        if columns:
            facets["schema"] = schema_dataset.SchemaDatasetFacet(
                fields=[schema_dataset.SchemaDatasetFacetFields(name=name) for name in columns]
            )
            # Marquez keeps an edge only if both of its columns are in a schema of the same run.
            source.facets = {"schema": facets["schema"]}
            # What the author's own parser does to a value nobody knows: the columns correspond, and no more is said.
            facets["columnLineage"] = column_lineage_dataset.ColumnLineageDatasetFacet(
                fields={name: _from_object(source, name) for name in columns}
            )
        return OperatorLineage(inputs=[source], outputs=[Dataset(*named, facets=facets)])

    def extract_on_complete(self, task_instance: Any) -> OperatorLineage:
        return self._execute_extraction()


class SqlToS3Extractor(BaseExtractor):  # type: ignore[misc]
    """``SqlToS3Operator``: the tables that the query reads, and after it the objects that it wrote."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        return ["SqlToS3Operator"]

    def _execute_extraction(self) -> OperatorLineage:
        return self._lineage([self.operator.s3_key.strip("/")])

    def extract_on_complete(self, task_instance: Any) -> OperatorLineage:
        operator = self.operator
        whole = operator.s3_key.strip("/")
        stem = whole.rpartition(".")[0] or whole
        written = [name for name in OBSERVED.written(f"s3://{operator.s3_bucket}") if name.startswith(stem)]
        return self._lineage(written or [whole])

    def _lineage(self, names: list[str]) -> OperatorLineage:
        """Every object has all of the query's columns."""
        read = _read_by(self.operator)
        facets = {"columnLineage": read.columns} if read.columns is not None else {}
        return OperatorLineage(
            inputs=[Dataset(*each) for each in read.tables],
            outputs=[Dataset(f"s3://{self.operator.s3_bucket}", name, facets=dict(facets)) for name in names],
        )


class S3ListExtractor(BaseExtractor):  # type: ignore[misc]
    """``S3ListOperator``: the folder whose names were read. Of the objects in it nothing was."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        return ["S3ListOperator"]

    def _execute_extraction(self) -> OperatorLineage:
        operator = self.operator
        return OperatorLineage(inputs=[Dataset(f"s3://{operator.bucket}", operator.prefix.strip("/") or "/")])

    def extract_on_complete(self, task_instance: Any) -> OperatorLineage:
        return self._execute_extraction()


def _hook(operator: Any) -> tuple[Any, Any]:
    from airflow.sdk.bases.hook import BaseHook

    if hasattr(type(operator), "db_hook"):  # which is made once
        return operator.db_hook, operator.db_hook.connection
    connection: Any = BaseHook.get_connection(operator.sql_conn_id)
    return connection.get_hook(hook_params=operator.sql_hook_params), connection


def _table(operator: Any) -> tuple[str, str] | None:
    """Namespace and name; None for a database of which the provider can't tell the name in lineage."""
    hook, connection = _hook(operator)
    about = getattr(hook, "get_openlineage_database_info", lambda _: None)(connection)
    if about is None:
        return None
    schema, _, name = operator.table.rpartition(".")
    schema = operator.schema or schema or _DEFAULT_SCHEMAS.get(about.scheme, "")
    parts = [about.database, schema, name]
    from airflow.providers.openlineage.sqlparser import SQLParser

    return SQLParser.create_namespace(about), ".".join(part for part in parts if part)


class _Read(NamedTuple):
    """What a query reads: tables by namespace and name; and which of their columns its own came from, where the parser knows."""

    tables: list[tuple[str, str]]
    columns: column_lineage_dataset.ColumnLineageDatasetFacet | None


def _read_by(operator: Any) -> _Read:
    hook, connection = _hook(operator)
    about = getattr(hook, "get_openlineage_database_info", lambda _: None)(connection)
    if about is None:
        return _Read([], None)
    from airflow.providers.openlineage.sqlparser import SQLParser

    parser = SQLParser(
        dialect=hook.get_openlineage_database_dialect(connection),
        default_schema=_DEFAULT_SCHEMAS.get(about.scheme),
    )
    found = parser.parse(sql=parser.split_sql_string(operator.query))
    if found is None:
        return _Read([], None)
    namespace = parser.create_namespace(about)

    def named(table: Any) -> tuple[str, str]:
        return namespace, ".".join(_whole(table.qualified_name, about.database, parser.default_schema))

    fields = {
        column.descendant.name: column_lineage_dataset.Fields(
            inputFields=[
                column_lineage_dataset.InputField(*named(each.origin), field=each.name)
                for each in column.lineage
                if each.origin is not None
            ],
            transformationType="",
            transformationDescription="by the query",
        )
        for column in found.column_lineage
    }
    facet = column_lineage_dataset.ColumnLineageDatasetFacet(fields=fields) if fields else None
    return _Read([named(each) for each in found.in_tables], facet)


def _whole(name: str, database: str | None, schema: str | None) -> list[str]:
    """``database.schema.table``, whatever of it the query says."""
    parts = name.split(".")
    missing = [database, schema][: 3 - len(parts)] if len(parts) < 3 else []
    return [part for part in [*missing, *parts] if part]


def _from_object(source: Dataset, name: str) -> column_lineage_dataset.Fields:
    return column_lineage_dataset.Fields(
        inputFields=[
            column_lineage_dataset.InputField(namespace=source.namespace, name=source.name, field=name)
        ],
        transformationType="",
        transformationDescription="by the author's parser",
    )

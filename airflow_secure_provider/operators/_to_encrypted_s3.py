"""What operators share that encrypt something into an S3 object, without looking at its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from ..transfer import BytesSource
    from ._landing import Landing
    from ._settings import LandingClients


class ToEncryptedS3Operator(BaseOperator):
    """The shared half; not for DAGs."""

    landing_fields: Sequence[str] = (
        "target",
        "kms_keys",
        "raw_aes_key_conn_id",
        "encryption_context",
        "aws_conn_id",
    )
    ui_color = "#d9ead3"
    postgres_conn_id: str | None = None
    _landing: Landing | None = None

    def __init__(
        self,
        *,
        target: str,
        kms_keys: str | Sequence[str] | None = None,
        raw_aes_key_conn_id: str | None = None,
        encryption_context: Mapping[str, str] | None = None,
        contract: str | None = None,
        aws_conn_id: str | None = "aws_default",
        min_ttl: str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_ttl = min_ttl
        self.target = target
        self.kms_keys = kms_keys
        self.raw_aes_key_conn_id = raw_aes_key_conn_id
        self.encryption_context = encryption_context
        self.contract = contract
        self.aws_conn_id = aws_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        from ._landing import Landing

        self._landing = Landing(self)
        return self._landing.run(context)

    def on_kill(self) -> None:
        """Nothing of the object is there before it is whole."""
        if self._landing is not None:
            self._landing.kill()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Called by the OpenLineage provider, as is the next."""
        from ._landing import lineage

        return lineage(self._landing)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage:
        return self.get_openlineage_facets_on_complete(task_instance)

    def make_bytes(self, clients: LandingClients) -> BytesSource:
        """Where the bytes come from; each operator has its own."""
        raise TypeError(f"{type(self).__name__} reads nothing; use one of the operators")

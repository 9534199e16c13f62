"""What operators that read S3 objects share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._base import SecureTransferOperator

if TYPE_CHECKING:
    from ..transfer import Source
    from ._settings import Clients


class FromObjectOperator(SecureTransferOperator):
    """Reads an S3 object, those under a prefix, or those of a list; not for DAGs."""

    object_fields: Sequence[str] = (
        "encryption_context",
        "kms_key_arns",
        "sse_customer_key_conn_id",
        "fernet_key_conn_id",
        "raw_aes_key_conn_id",
    )

    def __init__(
        self,
        *,
        encryption_context: Mapping[str, str] | None = None,
        kms_key_arns: Sequence[str] | None = None,
        file_format: str | None = None,
        csv_options: Mapping[str, Any] | None = None,
        sse_customer_key_conn_id: str | None = None,
        fernet_key_conn_id: str | None = None,
        raw_aes_key_conn_id: str | None = None,
        allow_unauthenticated: bool = False,
        manifest: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encryption_context = encryption_context
        self.kms_key_arns = kms_key_arns
        self.file_format = file_format
        self.csv_options = csv_options
        self.sse_customer_key_conn_id = sse_customer_key_conn_id
        self.fernet_key_conn_id = fernet_key_conn_id
        self.raw_aes_key_conn_id = raw_aes_key_conn_id
        self.allow_unauthenticated = allow_unauthenticated
        self.manifest = manifest

    def object_source(self, clients: Clients, uri: str | Sequence[str]) -> Source:
        """:raises ConfigurationError: for settings that mean nothing."""
        from ..errors import ConfigurationError
        from ..stores.csv_dialect import CsvDialect
        from ..stores.formats import FileFormat
        from ..transfer import S3Objects, S3Source

        if self.file_format is not None and self.file_format not in list(FileFormat):
            raise ConfigurationError(
                f"file_format {self.file_format!r}, expected one of {', '.join(FileFormat)}"
            )
        if isinstance(self.kms_key_arns, str):
            raise ConfigurationError(
                f"task {self.task_id!r}: kms_key_arns is a text; write it as a list of key ARNs"
            )
        each = S3Source(
            clients.s3_client(),
            clients.kms_client,
            uri if isinstance(uri, str) else "",
            context=self.encryption_context or {},
            key_arns=self.kms_key_arns,
            kind=FileFormat(self.file_format) if self.file_format else None,
            dialect=CsvDialect.of(self.csv_options) if self.csv_options else None,
            customer_key=clients.customer_key(self.sse_customer_key_conn_id),
            fernet_keys=clients.fernet_keys(self.fernet_key_conn_id),
            raw_key=clients.raw_aes_key(self.raw_aes_key_conn_id),
            allow_unauthenticated=self.allow_unauthenticated,
        )
        if self.manifest:
            if not isinstance(uri, str) or uri.endswith("/"):
                raise ConfigurationError(f"task {self.task_id!r}: manifest=True takes one object as source=")
            return S3Objects(each, manifest=True)
        if isinstance(uri, str):
            return S3Objects(each) if uri.endswith("/") else each
        return S3Objects(each, list(uri))

"""Local file or PostgreSQL query → encrypt → S3."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ._to_encrypted_s3 import ToEncryptedS3Operator

if TYPE_CHECKING:
    from ..transfer import BytesSource
    from ._settings import LandingClients


class EncryptToS3Operator(ToEncryptedS3Operator):
    """Encrypt a file of the worker, or the rows of a query, into an S3 object (AWS Encryption SDK), as they stream.

    The content is taken as it is: columns are not looked at, checked or protected; that is :class:`MaskColumnsOperator`.
    The object comes to be when it is whole, or not at all. Its encryption context names the object, the contract's digest
    and this task run (``secure-provider:dataset``, ``:contract``, ``:run``).

    :param target: ``s3://bucket/key``. A key that ends in ``.gz`` or ``.zst`` has its content compressed first, if it is
        not so already. (templated)
    :param source_file: absolute path of a file on the worker. (templated)
    :param query: instead: SQL whose rows are written as CSV with a header, every value quoted and null empty. (templated)
    :param kms_keys: ARN of the KMS key that the object is encrypted under, or a list of several of which any opens it.
        (templated)
    :param raw_aes_key_conn_id: a connection that holds a raw AES key, beside KMS keys or alone; see
        :class:`EncryptedS3ToPostgresOperator`. (templated)
    :param encryption_context: more pairs, for readers to expect; not secret. (templated)
    :param contract: the data contract (ODCS v3.1) of the content. Connections are held to its highest class; without one
        the content counts as restricted.
    :param aws_conn_id: for S3 and KMS. (templated)
    :param postgres_conn_id: of the query. (templated)
    :param set_role: the role that reads. (templated)
    """

    template_fields: Sequence[str] = (
        *ToEncryptedS3Operator.landing_fields,
        "source_file",
        "query",
        "postgres_conn_id",
        "set_role",
    )

    def __init__(
        self,
        *,
        source_file: str | None = None,
        query: str | None = None,
        postgres_conn_id: str = "postgres_default",
        set_role: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_file = source_file
        self.query = query
        self.postgres_conn_id = postgres_conn_id
        self.set_role = set_role

    def make_bytes(self, clients: LandingClients) -> BytesSource:
        from ..errors import ConfigurationError
        from ..transfer import LocalFile, QueryAsCsv

        if bool(self.source_file) == bool(self.query):
            raise ConfigurationError(f"task {self.task_id!r}: give either source_file= or query=")
        if self.source_file:
            return LocalFile(self.source_file)
        connect = partial(clients.connect, str(self.postgres_conn_id))
        return QueryAsCsv(connect, str(self.query), self.set_role, clients.remember)

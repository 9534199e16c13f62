"""PostgreSQL table or S3 object → protect, reveal and generalise columns → PostgreSQL table or S3 object."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ._from_object import FromObjectOperator
from ._from_table import FromTableOperator
from ._keys import as_list

if TYPE_CHECKING:
    from ..transfer import Source, Target
    from ._settings import Clients


class MaskColumnsOperator(FromObjectOperator, FromTableOperator):
    """Make a dataset from another one with fewer, coarser or protected columns: all of it, or nothing.

    The source is a PostgreSQL table or query, or an S3 object of CSV, JSON Lines or Parquet (by its ending); the target is
    a table or an object.

    A column that the source is known to hold protected just as the rule wants passes through unchanged, so tokens go on
    joining. Redacting, generalising or re-protecting ciphertext needs ``reveal_with``.

    :param source: ``schema.table``, or ``s3://bucket/key``. (templated)
    :param query: instead of a source: SQL that gives the rows. (templated)
    :param target: ``schema.table``, or ``s3://bucket/key``. (templated)
    :param where: an SQL condition: only rows of the table for which it holds are read. It stands in Airflow's rendered
        fields, so put no personal data into it. (templated)
    :param source_conn_id: where the source table is; ``postgres_conn_id`` if not given. (templated)
    :param reveal_with: the keyset that opens the source's ciphertext where a rule needs the value. (templated)
    :param encryption_context: pairs that the source object's encryption context must hold. (templated)
    :param kms_key_arns: the KMS keys that may have encrypted the source object. (templated)
    :param manifest: of a source object, as are ``file_format``, ``csv_options``, ``allow_unauthenticated`` and the keys
        (``sse_customer_key_conn_id``, ``fernet_key_conn_id``, ``raw_aes_key_conn_id``); see
        :class:`EncryptedS3ToPostgresOperator`.
    :param target_kms_key: ARN of the KMS key that the target object is encrypted under, or a list of several of which any
        opens it; without it the bucket's default encryption does. (templated)
    :param target_raw_aes_key_conn_id: a connection that holds a raw AES key for the target object, beside KMS keys or alone;
        see ``raw_aes_key_conn_id``. (templated)
    :param target_encryption: ``client-side`` (AWS Encryption SDK) or ``SSE-KMS``, where there is a key.
    :param contract: see :class:`EncryptedS3ToPostgresOperator`, as for all other parameters.
    """

    template_fields: Sequence[str] = (
        "source",
        "query",
        "target",
        "keyset",
        "reveal_with",
        "aws_conn_id",
        "vault_conn_id",
        "postgres_conn_id",
        "source_conn_id",
        "set_role",
        "reject_to",
        "reject_kms_keys",
        "where",
        *FromObjectOperator.object_fields,
        "target_kms_key",
        "target_raw_aes_key_conn_id",
    )

    def __init__(
        self,
        *,
        target: str,
        source: str | Sequence[str] | None = None,
        query: str | None = None,
        reveal_with: str | None = None,
        target_kms_key: str | Sequence[str] | None = None,
        target_raw_aes_key_conn_id: str | None = None,
        target_encryption: str = "client-side",
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source or "", **kwargs)
        self.query = query
        self.target = target
        self.reveal_with = reveal_with
        self.target_kms_key = target_kms_key
        self.target_raw_aes_key_conn_id = target_raw_aes_key_conn_id
        self.target_encryption = target_encryption

    @property
    def target_name(self) -> str:
        return self.target

    def make_source(self, clients: Clients) -> Source:
        from ..errors import ConfigurationError
        from ..transfer import QuerySource

        if bool(self.source) == bool(self.query):
            raise ConfigurationError(f"task {self.task_id!r}: give either source= or query=")
        if self.where is not None and (self.query or _is_object(self.source)):
            raise ConfigurationError(
                f"task {self.task_id!r}: where= is a condition for tables; "
                + ("write it into the query" if self.query else "the source is an object")
            )
        if self.query:
            connect = partial(clients.connect, self.read_conn_id)
            return QuerySource(connect, self.query, set_role=self.read_role)
        if not _is_object(self.source):
            return super().make_source(clients)
        return self.object_source(clients, self.source)

    def make_target(self, clients: Clients) -> Target:
        if not _is_object(self.target):
            return super().make_target(clients)
        from ..transfer import ObjectTarget

        return ObjectTarget(
            clients.s3_client(),
            clients.kms_client,
            self.target,
            kms_keys=as_list(self.target_kms_key),
            raw_key=clients.raw_aes_key(self.target_raw_aes_key_conn_id),
            encryption=self.target_encryption,
            mode=self.mode,
            allow_insecure_transport=self.allow_insecure_transport,
        )


def _is_object(name: str | Sequence[str]) -> bool:
    return not isinstance(name, str) or name.startswith("s3://")

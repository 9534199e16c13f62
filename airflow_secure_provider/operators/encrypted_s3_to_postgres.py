"""S3 → decrypt → protect columns → PostgreSQL over verified TLS, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._from_object import FromObjectOperator

if TYPE_CHECKING:
    from ..transfer import Source
    from ._settings import Clients


class EncryptedS3ToPostgresOperator(FromObjectOperator):
    """Load an encrypted object (CSV, JSON Lines, Parquet) from S3 into a PostgreSQL table and protect its columns on the way.

    The object is decrypted as it streams; plaintext is never written to disk. The rows are committed together, after
    the whole object has authenticated, and a retry loads nothing twice. What a contract or its classes require and is
    not met is refused before the first row moves. Nothing but counts, names, key ids and evidence is logged or goes to
    XCom.

    Reads objects written by the AWS Encryption SDK (with key commitment), by the Amazon S3 Encryption Client (an extra), or
    as Fernet files, and objects under SSE-KMS, DSSE-KMS, SSE-C or SSE-S3.

    :param source: ``s3://bucket/key``; ``s3://bucket/folder/`` for all objects under it, or a list of them, which are loaded
        together. (templated)
    :param table: the target, ``schema.table``. (templated)
    :param contract: the data contract (ODCS v3.1): a path relative to the DAG file's folder, absolute, or ``s3://``.
    :param columns: instead of a contract: column to protection, such as ``{"email": "tokenize", "id": "none"}``.
        Every column is named. Columns are ``internal`` unless ``{"method": …, "classification": …}`` says otherwise.
    :param keyset: where the keyset lies: a path or ``s3://``, perhaps with ``?id=…&min_version=…&key=…``. (templated)
    :param encryption_context: pairs that the object's encryption context must hold. (templated)
    :param kms_key_arns: the KMS keys that may have encrypted it; ``None`` for any that the connection may use. Objects of
        the S3 Encryption Client need it. (templated)
    :param file_format: ``csv``, ``jsonl`` or ``parquet``; by the key's ending if not given, and CSV for an unknown one.
    :param csv_options: how a CSV is written: ``delimiter``, ``quote``, ``header``, ``encoding``, ``null_values``.
    :param sse_customer_key_conn_id: a connection whose password is the base64 of an SSE-C key. (templated)
    :param fernet_key_conn_id: a connection whose password is the key of Fernet files, or several with commas. (templated)
    :param raw_aes_key_conn_id: a connection that holds the raw AES key of an Encryption SDK message: its base64 as password,
        and in its extra ``key_namespace`` and ``key_name``. (templated)
    :param allow_unauthenticated: take objects in which nothing notices an alteration: those that an old S3 Encryption Client
        wrote with AES-CBC, and Parquet under AES_GCM_CTR_V1.
    :param manifest: ``source`` is a manifest that lists the objects, as Redshift's UNLOAD writes it.
    :param aws_conn_id: for S3 and KMS.
    :param vault_conn_id: for a keyset that Vault's Transit engine wraps: a connection of the hashicorp provider. Without it,
        the login of the configured VaultSecretsBackend. (templated)
    :param min_ttl: how long the task takes, such as ``"45m"``, or ``"auto"`` for the 95th percentile of its own past runs. Before
        anything else, Vault is asked to let login and leased credentials live as long, and the task fails if it does not.
    :param postgres_conn_id: its extra needs ``sslmode=verify-full`` and ``sslrootcert``.
    :param set_role: the role to act as, the owner of the table: a leased user owns nothing itself. (templated)
    :param mode: ``append``, ``replace`` what the table holds, or ``upsert``: a row whose key is there changes it.
    :param key_columns: for ``upsert``: by which a row is known. The table has a unique index on just these.
    :param replace_with: for ``replace``: ``staging`` (the rows wait in a temporary table, and take the others' place in one
        short transaction) or ``delete`` (one transaction from the first row to the last: faster).
    :param force: load although the same object was loaded before: ``append`` then has its rows twice.
    :param create_table: make the table of the contract, in the load's transaction, if it is not there.
    :param timeouts: of the session, in seconds: ``statement_timeout``, ``lock_timeout``,
        ``idle_in_transaction_session_timeout``.
    :param verify_cells: look, before the commit, at so many cells of each encrypted, tokenized or pseudonymized column, drawn at
        random from the whole table: the load fails if one is something else, and lineage says how many were seen.
    :param require: the anonymity that the target is to have after it: ``k``, ``quasi_identifiers``, ``l_diversity``, ``t_closeness``,
        ``sensitive``, ``max_suppressed``. Rows are left out and quasi-identifiers made coarser as far as it allows, or there is no load.
    :param extra_columns: columns outside the contract: ``refuse`` or ``drop``.
    :param on_suspected_pii: what happens if an unprotected column of class public or internal looks like personal data:
        ``warn``, ``refuse`` or ``ignore``.
    :param reject_to: ``s3://bucket/folder/``: rows that do not fit go into an object in it after the commit, encrypted, with
        reason and record, instead of stopping the load. (templated)
    :param max_rejected_rows: with more, the load is refused.
    :param reject_kms_keys: ARN of the KMS key that they are encrypted under, or a list of several. (templated)
    :param allow_insecure_transport: load over a connection that is weaker than the columns' class demands; it shows in
        the log, in the report and as exposed or partial in lineage.
    """

    template_fields: Sequence[str] = (
        "source",
        "table",
        "keyset",
        *FromObjectOperator.object_fields,
        "aws_conn_id",
        "vault_conn_id",
        "postgres_conn_id",
        "set_role",
        "reject_to",
        "reject_kms_keys",
    )

    def __init__(self, *, table: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table

    @property
    def target_name(self) -> str:
        return self.table

    def make_source(self, clients: Clients) -> Source:
        return self.object_source(clients, self.source)

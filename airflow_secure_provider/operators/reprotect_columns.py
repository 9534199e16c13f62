"""Protected columns of a database → a keyset's newest version."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from ._reprotection import ReprotectionRun


class ReprotectColumnsOperator(BaseOperator):
    """After a rotation, move the columns of a database to the keyset's newest version.

    Tokens and format-preserving values: all columns of a domain switch together, in one transaction, so that tables join
    before, during and after it. The new values are computed before that in batches; a task that is broken off goes on
    where it was. Readers are never kept waiting; who loads into the domain waits while it switches.

    Encrypted cells are changed in place, batch by batch. Pseudonyms and shifted dates can't be moved, since nothing gives
    their values back: they stay, which the log and the result say.

    Afterwards the old version can be retired (``airflow-secure keys retire``) if nothing is left under it.

    :param keyset: where the keyset lies: a path or ``s3://``, perhaps with ``?id=…&min_version=…``. (templated)
    :param domains: only these domains; all of the keyset by default.
    :param aws_conn_id: for S3 and KMS.
    :param vault_conn_id: for a keyset that Vault's Transit engine wraps: a connection of the hashicorp provider. Without it,
        the login of the configured VaultSecretsBackend. (templated)
    :param min_ttl: how long the task takes, such as ``"45m"``, or ``"auto"`` for the 95th percentile of its own past runs. Before
        anything else, Vault is asked to let login and leased credentials live as long, and the task fails if it does not.
    :param postgres_conn_id: the database; its extra needs ``sslmode=verify-full`` and ``sslrootcert``.
    :param set_role: the role to act as, the owner of the tables. (templated)
    :param allow_insecure_transport: see :class:`EncryptedS3ToPostgresOperator`.
    """

    template_fields: Sequence[str] = (
        "keyset",
        "aws_conn_id",
        "vault_conn_id",
        "postgres_conn_id",
        "set_role",
    )
    ui_color = "#d9ead3"
    _run: ReprotectionRun | None = None

    def __init__(
        self,
        *,
        keyset: str,
        domains: Sequence[str] | None = None,
        aws_conn_id: str | None = "aws_default",
        vault_conn_id: str | None = None,
        postgres_conn_id: str = "postgres_default",
        set_role: str | None = None,
        allow_insecure_transport: bool = False,
        min_ttl: str | float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.min_ttl = min_ttl
        self.keyset = keyset
        self.domains = domains
        self.aws_conn_id = aws_conn_id
        self.vault_conn_id = vault_conn_id
        self.postgres_conn_id = postgres_conn_id
        self.set_role = set_role
        self.allow_insecure_transport = allow_insecure_transport

    def execute(self, context: Context) -> dict[str, Any]:
        from ._reprotection import ReprotectionRun

        self._run = ReprotectionRun(self)
        return self._run.run(context)

    def on_kill(self) -> None:
        """End the transaction at once; what was committed before stays."""
        if self._run is not None:
            self._run.kill()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Called by the OpenLineage provider, as is the next."""
        from ._reprotection import lineage

        return lineage(self._run)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage:
        return self.get_openlineage_facets_on_complete(task_instance)

"""What an operator tells the run of it, and what the run gives back to it: the line between the two halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..contract.contract import Contract
    from ..contract.policy import Policy
    from ..objects.encryption_sdk_keys import RawAesKey
    from ..stores.http import HttpAccess
    from ..transfer import BytesSource, Source, Target


class Clients(Protocol):
    """Connections out of the official hooks."""

    def s3_client(self) -> Any:
        """A boto3 S3 client."""

    def kms_client(self, key_arn: str) -> Any:
        """A boto3 KMS client for the region of a key."""

    def connect(self, conn_id: str) -> Any:
        """A new psycopg 3 connection."""

    def customer_key(self, conn_id: str | None) -> bytes | None:
        """An SSE-C key, out of a connection's password."""

    def raw_aes_key(self, conn_id: str | None) -> RawAesKey | None:
        """A wrapping key in no key service, out of a connection."""

    def fernet_keys(self, conn_id: str | None) -> Sequence[str]:
        """Fernet keys, out of a connection's password."""

    def policy(self) -> Policy:
        """What the classes require."""


class LandingClients(Clients, Protocol):
    """And what operators need that encrypt something into S3."""

    def http_access(self, conn_id: str) -> HttpAccess:
        """Where an API is, and who asks."""

    def remember(self, connection: Any) -> None:
        """A connection that is to be closed when the task is killed."""


class Task(Protocol):
    """What every task of ours says of itself."""

    task_id: str
    dag: Any
    aws_conn_id: str | None


class ReprotectionTask(Task, Protocol):
    """What ReprotectColumnsOperator's author sets, rendered."""

    keyset: str
    domains: Sequence[str] | None
    postgres_conn_id: str
    set_role: str | None
    allow_insecure_transport: bool


class LandingTask(Task, Protocol):
    """What an author sets of an operator that encrypts something into S3."""

    outlets: list[Any]
    target: str
    kms_keys: str | Sequence[str] | None
    raw_aes_key_conn_id: str | None
    encryption_context: Mapping[str, str] | None
    contract: str | None

    def make_bytes(self, clients: LandingClients) -> BytesSource:
        """Where the bytes come from."""


class TransferTask(Task, Protocol):
    """An author's settings, rendered."""

    outlets: list[Any]
    source: str | Sequence[str]
    contract: str | None
    columns: Mapping[str, Any] | None
    keyset: str | None
    reveal_with: str | None
    reveal_aws_conn_id: str | None
    purpose: str | None
    postgres_conn_id: str
    set_role: str | None
    mode: str
    extra_columns: str
    on_suspected_pii: str
    reject_to: str | None
    max_rejected_rows: int
    reject_kms_keys: str | Sequence[str] | None
    require: Mapping[str, Any] | None
    allow_insecure_transport: bool

    def make_contract(self, clients: Clients) -> Contract | None:
        """What happens to the columns, where no contract says it."""

    @property
    def target_name(self) -> str:
        """The table, or the object's URI."""

    def make_source(self, clients: Clients) -> Source:
        """Where the rows come from."""

    def make_target(self, clients: Clients) -> Target:
        """Where the rows go."""

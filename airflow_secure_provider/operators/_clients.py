"""Connections out of the official hooks, and documents and settings that every operator reads."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.configuration import conf

from .. import leases
from ..connections import aws_config, resolve_connections, vault_backend
from ..contract.policy import BUILT_IN, Policy
from ..contract.policy_document import from_document
from ..contract.registry import Registry
from ..crypto.keyset import Keyset
from ..errors import ConfigurationError, StoreError
from ..keyrings.opening import open_keyset
from ..lineage.declarations import declarations
from ..model import AtRest, Classification
from ..objects.encryption_sdk_keys import RawAesKey
from ..stores.at_rest import rds_at_rest
from ..stores.s3 import read_small
from ..vault.durations import in_words
from ..vault.session_names import role_session_name
from ..vault.shortfalls import shortfalls
from ._runtime import runtime_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ..stores.http import HttpAccess
    from ._settings import Task

log = logging.getLogger(__name__)
_CUSTOMER_KEY_BYTES = 32
_KILL_SECONDS = 2.0  # with the cancelling before it, less than the five until SIGKILL


class HookClients:
    """What an operator's run takes from Airflow."""

    def __init__(self, operator: Task) -> None:
        self._task = operator
        self._connection: Any = None
        self._session_name: str | None = None

    def name_run(self, context: Context) -> str:
        """Remember which task run this is, for the roles that it assumes. :return: its name."""
        self._session_name = session_name(context)
        return task_run(context)

    def assure_leases(self, context: Context) -> None:
        """``min_ttl``: before anything else, Vault gives the credentials the time that the task takes, or the task fails.

        :raises ConfigurationError: by how much they fall short, and which setting to change.
        """
        seconds = runtime_of(self._task, context)
        if seconds is None:
            return
        resolve_connections(self._task)
        short = shortfalls(leases.BOOK.living(), seconds)
        if short:
            raise ConfigurationError(
                f"task {self._task.task_id!r} is expected to take {in_words(seconds)} (min_ttl), and "
                + "; ".join(short)
            )

    def _client_of(self, hook: Any) -> Any:
        """A role that the connection assumes is assumed under the task run's name, if the connection names no other."""
        config = aws_config(hook)
        if self._session_name and config.role_arn and config.assume_role_method == "assume_role":
            config.assume_role_kwargs.setdefault("RoleSessionName", self._session_name)
        return hook.get_conn()

    def s3_client(self) -> Any:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        return self._client_of(S3Hook(aws_conn_id=self._task.aws_conn_id))

    def kms_client(self, key_arn: str, conn_id: str | None = None) -> Any:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        parts = key_arn.split(":")
        region = parts[3] if len(parts) > 3 else None
        hook = AwsBaseHook(
            aws_conn_id=conn_id or self._task.aws_conn_id, client_type="kms", region_name=region
        )
        return self._client_of(hook)

    def known_classes(self) -> Callable[[str, str], Mapping[str, Classification]]:
        """What the contracts in ``[secure_provider] contracts`` say.

        :raises ConfigurationError: if there is no such folder, or one of them can't be read.
        """
        folder = conf.get("secure_provider", "contracts", fallback="")
        return (Registry.read(Path(folder)).whole() if folder else Registry()).classes

    def ask_at_rest(self, namespace: str) -> AtRest | None:
        """What RDS says of a database, where ``[secure_provider] rds_conn_id`` names who may ask it."""
        conn_id = conf.get("secure_provider", "rds_conn_id", fallback="")
        if not conn_id or not namespace.startswith("postgres://"):
            return None
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

        return rds_at_rest(self._client_of(AwsBaseHook(aws_conn_id=conn_id, client_type="rds")), namespace)

    def connect(self, conn_id: str) -> Any:
        from ..connections import connect_postgres

        return connect_postgres(conn_id)

    def customer_key(self, conn_id: str | None) -> bytes | None:
        """:raises ConfigurationError: unless the connection's password is the base64 of 32 bytes."""
        if conn_id is None:
            return None
        from airflow.sdk.bases.hook import BaseHook

        try:
            key = base64.b64decode(BaseHook.get_connection(conn_id).password or "", validate=True)
        except ValueError:
            key = b""
        if len(key) != _CUSTOMER_KEY_BYTES:
            raise ConfigurationError(
                f"connection {conn_id!r}: its password is not the base64 of {_CUSTOMER_KEY_BYTES} bytes, as an SSE-C key is"
            )
        return key

    def raw_aes_key(self, conn_id: str | None) -> RawAesKey | None:
        """:raises ConfigurationError: unless the password is the base64 of a key, and the extra names it."""
        if conn_id is None:
            return None
        from airflow.sdk.bases.hook import BaseHook

        connection = BaseHook.get_connection(conn_id)
        namespace, name = (connection.extra_dejson.get(each) or "" for each in ("key_namespace", "key_name"))
        try:
            key = base64.b64decode(connection.password or "", validate=True)
            return RawAesKey(str(namespace), str(name), key)
        except (ValueError, ConfigurationError):
            pass
        raise ConfigurationError(
            f"connection {conn_id!r} is no raw AES key: its password is the base64 of 16, 24 or 32 bytes, and its extra has "
            "key_namespace (not aws-kms) and key_name"
        )

    def fernet_keys(self, conn_id: str | None) -> list[str]:
        """One key, or several with commas between them, as Airflow's own ``fernet_key`` has them."""
        if conn_id is None:
            return []
        from airflow.sdk.bases.hook import BaseHook

        keys = [key.strip() for key in (BaseHook.get_connection(conn_id).password or "").split(",")]
        if not all(keys):
            raise ConfigurationError(f"connection {conn_id!r} has no password, which would be the Fernet key")
        return keys

    def http_access(self, conn_id: str) -> HttpAccess:
        """:raises ConfigurationError: if the connection is none to an API."""
        from airflow.sdk.bases.hook import BaseHook
        from airflow.sdk.log import mask_secret

        from ._http import http_access

        return http_access(BaseHook.get_connection(conn_id), mask_secret)

    def remember(self, connection: Any) -> None:
        """The connection to be closed by :meth:`kill`."""
        self._connection = connection

    def kill(self) -> None:
        """PostgreSQL rolls back when the connection goes; the statement that runs is cancelled first, and the user revoked."""
        connection = self._connection
        if connection is None or connection.closed:
            leases.revoke_task_leases(deadline_seconds=_KILL_SECONDS)
            return
        try:
            connection.cancel_safe(timeout=1.0)
        except Exception as error:  # noqa: BLE001 (whatever it is: closing, which follows, is what counts)
            log.warning(
                "the statement could not be cancelled (%s); the connection is closed", type(error).__name__
            )
        finally:
            connection.close()
            leases.revoke_task_leases(deadline_seconds=_KILL_SECONDS)

    def open_keyset_at(self, uri: str | None, conn_id: str | None = None) -> Keyset | None:
        if not uri:
            return None
        folder = Path(self._task.dag.folder)
        return open_keyset(
            uri, self.read_document, lambda arn: self.kms_client(arn, conn_id), folder, self.vault_client
        )

    def vault_client(self) -> Any:
        """Logged in as ``vault_conn_id``, or as the secrets backend is.

        :raises ConfigurationError: if there is neither.
        """
        conn_id = getattr(self._task, "vault_conn_id", None)
        if conn_id:
            from airflow.providers.hashicorp.hooks.vault import VaultHook

            return VaultHook(vault_conn_id=conn_id).get_conn()
        backend = vault_backend()
        if backend is not None:
            return backend.for_inspection().client()
        raise ConfigurationError(
            f"task {self._task.task_id!r}: its keyset is wrapped by Vault, and neither is VaultSecretsBackend configured nor "
            "vault_conn_id= given"
        )

    def policy(self) -> Policy:
        """``[secure_provider] class_policy``; the built-in one if nothing is set.

        :raises SecureProviderError: if it can't be read: then nobody knows what a class requires.
        """
        location = conf.get("secure_provider", "class_policy", fallback="")
        if not location:
            return BUILT_IN
        if not location.startswith(("s3://", "/")):
            raise ConfigurationError(
                f"[secure_provider] class_policy {location!r}: expected an absolute path, or s3://bucket/key"
            )
        return from_document(self.read_document(location), location)

    def read_document(self, location: str) -> bytes:
        """A contract or keyset: ``s3://``, absolute, or relative to the DAG file's folder."""
        if location.startswith("s3://"):
            return read_small(self.s3_client(), location)
        path = Path(self._task.dag.folder) / location
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"{location!r} can't be read at {path}: {error.strerror}") from None


def declared_at_rest() -> dict[str, AtRest]:
    """``[secure_provider] declared_at_rest``, checked.

    :raises ConfigurationError: if it is not what its description says.
    """
    return declarations(conf.get("secure_provider", "declared_at_rest", fallback="") or "{}")


def session_name(context: Context) -> str:
    """``dag.task.run`` as STS takes it."""
    instance = context["ti"]
    return role_session_name(f"{instance.dag_id}.{instance.task_id}.{instance.run_id}")


def task_run(context: Context) -> str:
    instance = context["ti"]
    return f"{instance.dag_id}/{instance.task_id}/{instance.run_id}/{instance.map_index}"

"""PostgreSQL's TLS, a bucket's encryption, and keysets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..crypto.keyset import Keyset
from ..errors import SecureProviderError
from .findings import Finding, failed, ok, unknown, warning
from .tls import SOON_DAYS, NoTls, handshake, tls_problem

_POSTGRES_PORT = 5432


def check_postgres(name: str, host: str | None, port: int | None, extra: Mapping[str, Any]) -> Finding:
    """The settings of a connection, and a handshake with its server; nobody logs in.

    :param extra: of the Airflow connection: ``sslmode`` and ``sslrootcert`` count.
    """
    subject = f"connection {name!r}"
    mode, ca = extra.get("sslmode"), extra.get("sslrootcert")
    if not host:
        return failed("postgres", subject, "it has no host")
    if mode != "verify-full":
        return failed(
            "postgres",
            subject,
            f"sslmode is {mode or 'not set'}: anyone can pass for the server; set verify-full and sslrootcert",
        )
    if host.startswith("/"):
        return failed("postgres", subject, "its host is a local socket, which has no TLS")
    try:
        found = handshake(
            host, port or _POSTGRES_PORT, True if ca in (None, "system") else str(ca), postgres=True
        )
    except NoTls:
        return failed("postgres", subject, f"{host} offers no TLS; set ssl = on there")
    except OSError as error:
        return failed("postgres", subject, f"{host}:{port or _POSTGRES_PORT}: {tls_problem(error)}")
    said = f"{found.protocol}, {found.cipher}, trusted, the certificate expires in {found.days_left:.0f} days"
    query = extra.get("sqlalchemy_query")
    if not isinstance(query, Mapping) or query.get("sslmode") != mode:
        # PostgresHook 7.1.1 builds SQLAlchemy's URL without the other extras.
        said += "; not so where a hook reads data frames (SqlToS3Operator), unless sqlalchemy_query has sslmode and sslrootcert too"
    return (warning if found.days_left < SOON_DAYS else ok)("postgres", subject, said)


def check_keyset(uri: str, open_it: Callable[[str], Keyset | None]) -> Finding:
    """:param open_it: reads, unwraps and authenticates it, which takes the right to use its wrapping key."""
    subject = uri.partition("?")[0]
    try:
        keys = open_it(uri)
    except SecureProviderError as error:
        return failed("keyset", subject, str(error))
    if keys is None:
        return failed("keyset", subject, "there is none")
    said = f"{keys.id!r} unwraps with {keys.provider} {keys.key_id}; newest version {keys.newest}"
    if keys.provider == "local":
        return warning(
            "keyset",
            subject,
            f"{said}: a local key file has no log of its use; in production take a key service",
        )
    return ok("keyset", subject, said)


def check_transit_audit(client: Any, key_id: str) -> Finding:
    """Whether the audit log of Vault names the keyset in the clear."""
    import requests
    from hvac.exceptions import VaultError

    mount, _, name = key_id.rpartition("/keys/")
    subject = f"audit of {key_id}"
    try:
        devices = client.adapter.get("/v1/sys/audit")
        if not (devices.get("data") or {}):
            return warning(
                "keyset", subject, "Vault has no audit device, so no unwrap is logged: vault audit enable …"
            )
    except (VaultError, requests.RequestException):
        pass  # who may only decrypt may not ask
    try:
        answer = client.adapter.get(f"/v1/sys/mounts/{mount}/tune")
    except (VaultError, requests.RequestException) as error:
        return unknown(
            "keyset",
            subject,
            f"the login may not read sys/mounts/{mount}/tune ({type(error).__name__}); an "
            f"audit device, if there is one, has each unwrap with its path, which names {name!r}",
        )
    shown = (answer.get("data") or answer).get("audit_non_hmac_request_keys") or []
    if "context" in shown:
        return ok(
            "keyset", subject, "an audit device has each unwrap with key and context, which names the keyset"
        )
    return ok(
        "keyset",
        subject,
        f"an audit device has each unwrap with its path, which names {name!r}; for the keyset in the clear: "
        f"vault secrets tune -audit-non-hmac-request-keys=context {mount}",
    )


def check_bucket(bucket: str, client: Any) -> Finding:
    """:param client: a boto3 S3 client."""
    from botocore.exceptions import BotoCoreError, ClientError

    subject = f"bucket {bucket!r}"
    if urlsplit(str(client.meta.endpoint_url)).scheme != "https":
        return failed("s3", subject, "its endpoint is plaintext http; use https")
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return failed(
            "s3",
            subject,
            {404: "there is no such bucket", 403: "access is denied"}.get(status, f"status {status}"),
        )
    except BotoCoreError as error:
        return failed(
            "s3", subject, f"{type(error).__name__}; check endpoint, CA and credentials of the AWS connection"
        )
    try:
        rules = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        default = rules[0]["ApplyServerSideEncryptionByDefault"]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "ServerSideEncryptionConfigurationNotFoundError":
            return warning("s3", subject, "reachable over TLS; it has no default encryption")
        return unknown("s3", subject, f"reachable over TLS; its default encryption can't be read ({code})")
    except (BotoCoreError, KeyError, IndexError) as error:
        return unknown(
            "s3",
            subject,
            f"reachable over TLS; its default encryption can't be read ({type(error).__name__})",
        )
    scheme = {"aws:kms": "SSE-KMS", "aws:kms:dsse": "DSSE-KMS", "AES256": "SSE-S3"}.get(
        default["SSEAlgorithm"], default["SSEAlgorithm"]
    )
    said = f"reachable over TLS; encrypts by default with {scheme}"
    if scheme == "SSE-S3":
        said += ", which is no proof for restricted columns: encrypt on this side, or with a KMS key"
    return ok("s3", subject, said)

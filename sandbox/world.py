"""The demo's world: servers, database, Vault roles, keys and encrypted objects, ready for ``dags/secure_customers.py``."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_secure_provider.crypto import keyset
from airflow_secure_provider.crypto.keyset import Keyset, KeysetDocument
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring
from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.making import DATABASE, DYNAMIC, KEYS, KEYSET, LAKE, make_tables, make_vault, new_secret_id
from sandbox.postgres import Postgres
from sandbox.vault import VaultStandIn


@dataclass(frozen=True, slots=True)
class World:
    """Running servers and what was made on them.

    :param airflow_environment: settings for an Airflow that is to run the DAG.
    :param secrets: values that must turn up in no log, event, XCom or table.
    """

    directory: Path
    postgres: Postgres
    aws: Aws
    vault: VaultStandIn
    kms_key: str
    events: Path
    airflow_environment: Mapping[str, str]
    secrets: Mapping[str, str]

    @property
    def postgres_namespace(self) -> str:
        """As lineage names the server."""
        return f"postgres://{self.postgres.host}:{self.postgres.port}"

    def keyset(self) -> Keyset:
        """Unwrapped, as only somebody who may call kms:Decrypt can."""
        text = self.aws.client("s3").get_object(Bucket=KEYS, Key=KEYSET)["Body"].read()
        wrapper = AwsKmsKeyring(self.kms_key, self.aws.client("kms"))
        return keyset.unwrap(KeysetDocument.from_json(text, KEYSET), wrapper)

    def put_encrypted(self, key: str, plaintext: bytes, dataset: str) -> int:
        """Encrypt on this side and store; S3 never sees the plaintext. :return: bytes stored."""
        body = encrypt(plaintext, self.kms_key, self.aws.client("kms"), {"dataset": dataset})
        self.aws.client("s3").put_object(Bucket=LAKE, Key=key, Body=body)
        return len(body)


@contextlib.contextmanager
def running_world(directory: Path) -> Iterator[World]:
    """Start PostgreSQL, S3 + KMS and the Vault stand-in, and make what the DAG needs."""
    authority = Authority(directory / "ca")
    with contextlib.ExitStack() as owned:
        postgres = owned.enter_context(Postgres(directory / "postgres", authority))
        aws = owned.enter_context(Aws(directory / "aws", authority))
        vault = owned.enter_context(VaultStandIn(directory / "vault", authority))
        vault_password = _make_database(postgres)
        secret_id, role_id = _make_vault(vault, postgres, aws, vault_password)
        secret_file = directory / "secret-id"
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret_id)
        events = directory / "lineage" / "events.jsonl"
        events.parent.mkdir()
        yield World(
            directory,
            postgres,
            aws,
            vault,
            _make_keys(aws),
            events,
            _airflow_environment(vault, postgres, role_id, secret_file, events),
            {
                "AWS secret key": aws.secret_key,
                "Vault root token": vault.root_token,
                "AppRole secret id": secret_id,
                "password of Vault's own database user": vault_password,
            },
        )


def encrypt(plaintext: bytes, kms_key: str, kms: Any, context: Mapping[str, str]) -> bytes:
    """An AWS Encryption SDK message with key commitment and frames of 1 MiB."""
    import aws_encryption_sdk
    from aws_encryption_sdk.identifiers import Algorithm, CommitmentPolicy
    from aws_encryption_sdk.key_providers.kms import KMSMasterKey

    client = aws_encryption_sdk.EncryptionSDKClient(
        commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
    )
    body, _ = client.encrypt(
        source=plaintext,
        key_provider=KMSMasterKey(key_id=kms_key, client=kms),
        encryption_context=dict(context),
        frame_length=1024 * 1024,
        algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
    )
    return bytes(body)


def _make_database(postgres: Postgres) -> str:
    password = secrets.token_urlsafe(24)
    postgres.create_database(DATABASE)
    with postgres.connect(dbname=DATABASE, autocommit=True) as connection:
        # The server's own record of each connection's TLS, for the demo's check.
        connection.execute("ALTER SYSTEM SET log_connections = on")
        connection.execute("SELECT pg_reload_conf()")
        make_tables(connection, password)
    return password


def _make_vault(vault: VaultStandIn, postgres: Postgres, aws: Aws, vault_password: str) -> tuple[str, str]:
    client = vault.client()
    make_vault(
        client,
        connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@{postgres.host}:{postgres.port}/{DATABASE}"
        f"?sslmode=verify-full&sslrootcert={postgres.ca_pem}",
        vault_password=vault_password,
        connections={"crm": postgres.airflow_connection(DATABASE), "aws_default": aws.airflow_connection()},
    )
    role_id = client.auth.approle.read_role_id("airflow")["data"]["role_id"]
    secret_id = new_secret_id(client)
    client.adapter.close()
    return secret_id, str(role_id)


def _make_keys(aws: Aws) -> str:
    kms, s3 = aws.client("kms"), aws.client("s3")
    arn = str(kms.create_key(Description="customer data")["KeyMetadata"]["Arn"])
    for bucket in (LAKE, KEYS):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.region})
    document = keyset.create("customers", AwsKmsKeyring(arn, kms))
    s3.put_object(Bucket=KEYS, Key=KEYSET, Body=document.to_json().encode())
    return arn


def _airflow_environment(
    vault: VaultStandIn, postgres: Postgres, role_id: str, secret_file: Path, events: Path
) -> dict[str, str]:
    backend = {
        "url": vault.url,
        "ca_cert": str(vault.ca_pem),
        "auth_type": "approle",
        "role_id": role_id,
        "secret_id_path": str(secret_file),
        "connections_path": "connections",
        "variables_path": "variables",
        "config_path": None,
        "dynamic": DYNAMIC,
    }
    declared = {
        f"postgres://{postgres.host}:{postgres.port}": {
            "scheme": "volume",
            "algorithm": "not checked (sandbox)",
        }
    }
    transport = {
        "type": "airflow_secure_provider.lineage.transport.SecureTransport",
        "spool": str(events.parent / "spool"),
        "transport": {"type": "file", "log_file_path": str(events), "append": True},
    }
    return {
        "AIRFLOW__SECRETS__BACKEND": "airflow_secure_provider.secrets.vault.VaultSecretsBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(backend),
        "AIRFLOW__SECURE_PROVIDER__DECLARED_AT_REST": json.dumps(declared),
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "demo",
    }

"""How a database rests: what RDS says, held against what people declared."""

from __future__ import annotations

import logging
import secrets
from typing import Any

import pytest

from airflow_secure_provider.model import AtRest, Evidence
from airflow_secure_provider.stores.at_rest import StoreFacts, rds_at_rest
from sandbox.aws import Aws

HERE = "postgres://db.example.com:5432"
VOLUME = AtRest("volume", evidence=Evidence.DECLARED)


@pytest.fixture(scope="module")
def rds(aws: Aws) -> Any:
    client = aws.client("rds")
    common = {
        "Engine": "postgres",
        "DBInstanceClass": "db.t3.micro",
        "MasterUsername": "master",
        "MasterUserPassword": secrets.token_urlsafe(12),
        "AllocatedStorage": 20,
    }
    key = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    client.create_db_instance(DBInstanceIdentifier="sealed", StorageEncrypted=True, KmsKeyId=key, **common)
    client.create_db_instance(DBInstanceIdentifier="open", StorageEncrypted=False, **common)
    client.create_db_cluster(
        DBClusterIdentifier="aurora",
        Engine="aurora-postgresql",
        MasterUsername="master",
        MasterUserPassword=secrets.token_urlsafe(12),
        StorageEncrypted=True,
        KmsKeyId=key,
    )
    return client


def address(rds: Any, name: str) -> str:
    endpoint = rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]["Endpoint"]
    return f"postgres://{endpoint['Address']}:{endpoint['Port']}"


def test_an_instance_tells_its_key(rds: Any) -> None:
    found = rds_at_rest(rds, address(rds, "sealed"))
    assert found is not None
    assert (found.scheme, found.key_provider, found.evidence) == ("volume", "aws-kms", Evidence.OBSERVED)
    assert (
        found.key_id == rds.describe_db_instances(DBInstanceIdentifier="sealed")["DBInstances"][0]["KmsKeyId"]
    )
    assert found.note == "RDS says so of DBInstance sealed"


def test_an_instance_without_encryption_says_so(rds: Any) -> None:
    found = rds_at_rest(rds, address(rds, "open"))
    assert found is not None
    assert (found.scheme, found.evidence) == ("none", Evidence.OBSERVED)


@pytest.mark.parametrize("which", ["Endpoint", "ReaderEndpoint"])
def test_a_cluster_and_its_reader(rds: Any, which: str) -> None:
    cluster = rds.describe_db_clusters(DBClusterIdentifier="aurora")["DBClusters"][0]
    found = rds_at_rest(rds, f"postgres://{cluster[which]}:{cluster['Port']}")
    assert found is not None
    assert (found.scheme, found.evidence) == ("volume", Evidence.OBSERVED)


@pytest.mark.parametrize(
    "namespace",
    [HERE, "postgres://sealed.example.com:5432", "postgres:///tmp:5432", "postgres://sealed:5432"],
)
def test_a_host_name_alone_proves_nothing(rds: Any, namespace: str) -> None:
    """One begins as the instance's does, and is another host."""
    assert rds_at_rest(rds, namespace) is None


def test_the_right_host_at_another_port_is_another_server(rds: Any) -> None:
    assert rds_at_rest(rds, address(rds, "sealed").rpartition(":")[0] + ":6432") is None


def test_no_answer_is_warned_of_and_proves_nothing(aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    from botocore.config import Config

    nowhere = aws.client(
        "rds",
        endpoint_url="https://127.0.0.1:1",
        config=Config(retries={"max_attempts": 0}, connect_timeout=2),
    )
    with caplog.at_level(logging.WARNING):
        assert rds_at_rest(nowhere, HERE) is None
    assert "RDS could not be asked: EndpointConnectionError" in caplog.text


def test_what_is_observed_counts(caplog: pytest.LogCaptureFixture) -> None:
    observed = AtRest("volume", key_id="k1", evidence=Evidence.OBSERVED)
    assert StoreFacts({HERE: VOLUME}, ask=lambda _: observed)[HERE] is observed
    assert StoreFacts(ask=lambda _: observed).get(HERE) is observed
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("declared", "observed"),
    [
        (VOLUME, AtRest("none", evidence=Evidence.OBSERVED)),
        (
            AtRest("volume", key_id="k1", evidence=Evidence.DECLARED),
            AtRest("volume", key_id="k2", evidence=Evidence.OBSERVED),
        ),
    ],
)
def test_a_contradiction_is_loud_and_not_encrypted(
    declared: AtRest, observed: AtRest, caplog: pytest.LogCaptureFixture
) -> None:
    found = StoreFacts({HERE: declared}, ask=lambda _: observed)[HERE]
    assert found.evidence is Evidence.CONTRADICTED
    assert not found.encrypted
    assert f"{HERE}: declared volume" in caplog.text


def test_the_first_declaration_counts_and_a_store_is_asked_once() -> None:
    asked: list[str] = []
    other = AtRest("none", evidence=Evidence.DECLARED)
    facts = StoreFacts({HERE: VOLUME}, {HERE: other, "s3://x": other}, ask=asked.append)
    assert facts[HERE] is facts[HERE] is VOLUME
    assert asked == [HERE]
    assert (facts.get("postgres://else:1"), list(facts)) == (None, [HERE, "s3://x"])

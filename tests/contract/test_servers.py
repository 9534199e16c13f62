"""What a contract says of its servers and its team."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from airflow_secure_provider.contract.contract import Contract
from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.errors import ContractError
from airflow_secure_provider.model import AtRest, Evidence, Owner

from .test_odcs import CONTRACT

POSTGRES = {
    "server": "main",
    "type": "postgres",
    "host": "db.example.com",
    "port": 5433,
    "database": "crm",
    "schema": "crm",
}
LAKE = {"server": "lake", "type": "s3", "location": "s3://lake/crm/*.csv"}


def read(*servers: dict[str, Any], **keys: Any) -> Contract:
    body = yaml.safe_load(CONTRACT) | {"servers": list(servers)} | keys
    return from_odcs(yaml.safe_dump(body), "c.yaml")


def resting(server: dict[str, Any], value: Any) -> dict[str, Any]:
    return server | {"customProperties": [{"property": "atRest", "value": value}]}


def test_servers_say_how_they_rest() -> None:
    found = read(
        resting(
            POSTGRES, {"scheme": "volume", "algorithm": "AES-256", "keyProvider": "aws-kms", "keyId": "k"}
        ),
        resting(LAKE, "SSE-S3"),
    ).declared_at_rest
    note = "declared in contract c.yaml"
    assert found == {
        "postgres://db.example.com:5433": AtRest(
            "volume", "AES-256", "aws-kms", "k", Evidence.DECLARED, note
        ),
        "s3://lake": AtRest("SSE-S3", evidence=Evidence.DECLARED, note=note),
    }


def test_a_server_that_says_nothing_is_not_assumed() -> None:
    assert read(POSTGRES, LAKE).declared_at_rest == {}


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ([resting(POSTGRES, "encrypted")], "server 'main', atRest: scheme must be one of client-side"),
        (
            [resting(POSTGRES, {"scheme": "volume", "key_id": "k"})],
            "unknown key 'key_id'; it takes scheme, algorithm, keyProvider, keyId",
        ),
        ([resting(POSTGRES, None)], "scheme must be one of"),
        (
            [resting(POSTGRES, "volume"), resting(POSTGRES | {"server": "too"}, "none")],
            "is declared twice, and differently",
        ),
        (
            [resting({"server": "k", "type": "kafka", "host": "k:9092"}, "volume")],
            "understood for type postgres, and for s3",
        ),
        ([resting(LAKE | {"location": "https://minio/lake"}, "volume")], "s3 with a location s3://"),
    ],
)
def test_what_is_not_understood_is_refused(servers: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ContractError) as caught:
        read(*servers)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("team", "owners"),
    [
        (
            {
                "name": "crm",
                "members": [
                    {"username": "ana", "role": "Data Owner"},
                    {"username": "bob", "role": "steward"},
                    {"username": "eve", "role": "owner", "dateOut": "2024-01-01"},
                ],
            },
            (Owner("crm", "team"), Owner("ana", "owner")),
        ),
        ([{"username": "ana", "role": "owner"}], (Owner("ana", "owner"),)),
        ({"members": []}, ()),
    ],
)
def test_owners(team: Any, owners: tuple[Owner, ...]) -> None:
    assert read(team=team).ref.owners == owners


def test_no_team_no_owner() -> None:
    assert read().ref.owners == ()

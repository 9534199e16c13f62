"""Lineage of stock operators, on a real Airflow: both datasets, and what was seen of them."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from sandbox.environment import REPOSITORY
from sandbox.making import LAKE
from tests.lineage import official

from .conftest import Stage

pytestmark = pytest.mark.airflow
SCHEMA = json.loads((REPOSITORY / "docs/formats/EncryptionDatasetFacet.json").read_text())


def complete(stage: Stage, dag_id: str, task_id: str, kind: str = "COMPLETE") -> dict[str, Any]:
    found = [each for each in stage.events(dag_id) if each["job"]["name"] == f"{dag_id}.{task_id}"]
    event = [each for each in found if each["eventType"] == kind][-1]
    for dataset in [*event["inputs"], *event["outputs"]]:
        jsonschema.validate(dataset["facets"]["secureProvider_encryption"], SCHEMA)
    return event


@pytest.fixture(scope="module", autouse=True)
def _object(stage: Stage) -> None:
    s3 = stage.world.aws.client("s3")
    s3.put_object(
        Bucket=LAKE,
        Key="stock.csv",
        Body=b"id,name\n1,Ada\n2,Bob\n",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=stage.world.kms_key,
    )
    with stage.world.postgres.connect(dbname="crm") as connection:
        connection.execute("CREATE TABLE crm.stock_people (id bigint, name text)")
        connection.execute("CREATE TABLE crm.stock_names (id bigint, name text)")


def test_s3_to_sql(stage: Stage) -> None:
    run_id = stage.run("stock_in")
    states = stage.airflow.task_states("stock_in", run_id)
    assert states == {"load": "success"}, stage.airflow.task_log("stock_in", run_id, "load")[-3000:]
    event = complete(stage, "stock_in", "load")
    (source,), (target,) = event["inputs"], event["outputs"]
    assert (source["namespace"], source["name"]) == (f"s3://{LAKE}", "stock.csv")
    assert target["name"] == "crm.crm.stock_people"
    seen = source["facets"]["secureProvider_encryption"]
    assert (seen["status"], seen["atRest"]["scheme"], seen["atRest"]["evidence"]) == (
        "protected",
        "SSE-KMS",
        "observed",
    )
    assert seen["atRest"]["keyId"] == stage.world.kms_key
    assert seen["inTransit"]["protocol"].startswith("TLSv1.")
    there = target["facets"]["secureProvider_encryption"]
    assert (there["status"], there["atRest"]["evidence"]) == ("protected", "declared")
    assert there["inTransit"]["peerVerified"] is True
    assert list(target["facets"]["columnLineage"]["fields"]) == ["id", "name"]


def test_sql_to_s3(stage: Stage) -> None:
    stage.run("stock_in")
    run_id = stage.run("stock_out")
    states = stage.airflow.task_states("stock_out", run_id)
    assert set(states.values()) == {"success"}, stage.airflow.task_log("stock_out", run_id, "save")[-3000:]
    event = complete(stage, "stock_out", "save")
    assert [each["name"] for each in event["inputs"]] == ["crm.crm.stock_people"]
    (target,) = event["outputs"]
    # The connection says verify-full, and PostgresHook does not tell SQLAlchemy.
    assert event["inputs"][0]["facets"]["secureProvider_encryption"]["status"] == "partial"
    assert event["inputs"][0]["facets"]["secureProvider_encryption"]["inTransit"]["peerVerified"] is False
    told = complete(stage, "stock_out", "save_verified")["inputs"][0]["facets"]["secureProvider_encryption"]
    assert (told["status"], told["inTransit"]["peerVerified"]) == ("protected", True)
    assert target["name"] == "out/people.csv"
    fields = target["facets"]["columnLineage"]["fields"]
    assert {name: edge["inputFields"][0]["field"] for name, edge in fields.items()} == {
        "id": "id",
        "name": "name",
    }
    classes = {tag["field"]: tag["value"] for tag in target["facets"]["tags"]["tags"]}
    assert classes == {"id": "internal", "name": "internal"}  # as the table's contract calls them
    assert target["facets"]["secureProvider_encryption"]["atRest"]["evidence"] == "observed"


def test_a_secret_in_an_exception_never_reaches_an_event(stage: Stage) -> None:
    run_id = stage.run("stock_wrong")
    assert stage.airflow.task_states("stock_wrong", run_id) == {"query": "failed"}
    event = complete(stage, "stock_wrong", "query", "FAIL")
    assert "invalid input syntax" in event["run"]["facets"]["errorMessage"]["message"]
    assert "***" in event["run"]["facets"]["errorMessage"]["message"]


@pytest.fixture(scope="module")
def others(stage: Stage) -> str:
    return stage.run("stock_others")


def named(datasets: list[dict[str, Any]]) -> list[str]:
    return sorted(f"{each['namespace']} {each['name']}" for each in datasets)


def test_all_of_them_worked(stage: Stage, others: str) -> None:
    assert set(stage.airflow.task_states("stock_others", others).values()) == {"success"}


@pytest.mark.parametrize(
    ("task", "inputs", "outputs"),
    [
        ("bulk_load", ["file"], ["postgres crm.crm.stock_people"]),
        ("copy_out", ["postgres crm.crm.stock_people"], ["file"]),
        ("names", [f"s3://{LAKE} out"], []),
        ("copy", [f"s3://{LAKE} stock.csv"], [f"s3://{LAKE} copies/stock.csv"]),
        ("derive", ["postgres crm.crm.stock_people"], ["postgres crm.crm.stock_names"]),
        ("declared", [f"s3://{LAKE} stock.csv"], ["postgres://db.example.com:5432 crm.crm.people"]),
    ],
)
def test_the_datasets_of_other_operators(
    stage: Stage, others: str, task: str, inputs: list[str], outputs: list[str]
) -> None:
    server = f"postgres://{stage.world.postgres.host}:{stage.world.postgres.port}"
    event = complete(stage, "stock_others", task)
    for wanted, found in ((inputs, named(event["inputs"])), (outputs, named(event["outputs"]))):
        if wanted == ["file"]:
            assert len(found) == 1
            assert found[0].startswith("file")
        else:
            assert found == [each.replace("postgres ", f"{server} ") for each in wanted]


def test_what_was_seen_of_them(stage: Stage, others: str) -> None:
    """A server that nobody spoke to is unknown, whatever its name is."""

    def seen(task: str, side: str) -> dict[str, Any]:
        facet: dict[str, Any] = complete(stage, "stock_others", task)[side][0]["facets"][
            "secureProvider_encryption"
        ]
        return facet

    assert seen("bulk_load", "outputs")["inTransit"]["peerVerified"] is True
    assert seen("bulk_load", "inputs")["status"] == "unknown"
    assert seen("copy", "outputs")["atRest"]["evidence"] == "observed"
    assert seen("declared", "outputs")["status"] == "unknown"
    assert seen("declared", "inputs")["inTransit"]["evidence"] == "unknown"


def test_the_columns_of_a_query(stage: Stage, others: str) -> None:
    (target,) = complete(stage, "stock_others", "derive")["outputs"]
    fields = target["facets"]["columnLineage"]["fields"]
    assert {name: [each["field"] for each in edge["inputFields"]] for name, edge in fields.items()} == {
        "id": ["id"],
        "name": ["name"],
    }


def test_classes_travel_and_one_that_sinks_is_flagged(stage: Stage, others: str) -> None:
    run_id = stage.run("stock_in")
    (target,) = complete(stage, "stock_in", "load")["outputs"]
    facet = target["facets"]["secureProvider_encryption"]
    warning = (
        f"column 'name' is called internal, and restricted arrives in it from 'name' of s3://{LAKE}/stock.csv"
    )
    assert facet["warnings"] == [warning]
    assert warning in stage.airflow.task_log("stock_in", run_id, "load")
    (derived,) = complete(stage, "stock_others", "derive")["outputs"]
    classes = {tag["field"]: tag["value"] for tag in derived["facets"]["tags"]["tags"]}
    assert classes == {"id": "internal", "name": "internal"}


if official.SPEC:

    def test_all_events_meet_the_official_schemas(stage: Stage, others: str) -> None:
        events = [json.loads(line) for line in stage.world.events.read_text().splitlines()]
        assert len(events) > 20
        assert {problem for event in events for problem in official.problems(event)} == set()


def test_the_spool_is_empty_in_the_end(stage: Stage) -> None:
    spool = stage.world.events.parent / "spool"
    assert [each.name for each in spool.iterdir() if not each.name.startswith(".")] == []

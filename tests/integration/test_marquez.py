"""What people see in Marquez: the real server, fed by the tasks of a real Airflow, and asked through its API."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.lineage.marquez import events
from airflow_secure_provider.lineage.names import encoded, renamed
from airflow_secure_provider.lineage.setup import EXTRACTORS
from sandbox import marquez_checks
from sandbox.airflow import Airflow
from sandbox.checks import TASKS
from sandbox.data import CUSTOMER_COLUMNS, ORDER_COLUMNS, Canaries, as_csv, customers, orders
from sandbox.environment import REPOSITORY, short_directory
from sandbox.making import DATABASE, LAKE
from sandbox.marquez import DATABASE as MARQUEZ_DATABASE
from sandbox.marquez import Marquez, MarquezMissing, as_transport, resolved
from sandbox.world import World, running_world

from .conftest import connection_without_vault

pytestmark = [pytest.mark.airflow, pytest.mark.marquez]

DAY = datetime(2026, 11, 20, tzinfo=UTC)
AWKWARD = "2026#1/at 12:00.csv"
SCHEMA = json.loads((REPOSITORY / "docs/formats/EncryptionDatasetFacet.json").read_text())


@dataclass(frozen=True)
class Shown:
    """:ivar runs: the state of each task, by DAG."""

    world: World
    marquez: Marquez
    canaries: Canaries
    runs: dict[str, dict[str, str]]

    @property
    def tables(self) -> str:
        return self.world.postgres_namespace


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    try:
        resolved()
    except MarquezMissing as missing:
        pytest.skip(f"no Marquez: {missing}")
    with (
        short_directory() as directory,
        running_world(directory) as world,
        Marquez(directory / "marquez", world.postgres) as marquez,
    ):
        canaries = Canaries.fresh()
        environment = _make(world, marquez, canaries)
        dags = shutil.copytree(REPOSITORY / "dags", directory / "test-dags")
        shutil.copy(Path(__file__).parent / "dags" / "stock.py", dags)
        with Airflow(directory, dags, environment) as airflow:
            dag_ids = ("secure_customers", "stock_in", "stock_awkward")
            runs = {dag_id: airflow.trigger(dag_id, logical_date=DAY) for dag_id in dag_ids}
            for dag_id, run_id in runs.items():
                airflow.wait(dag_id, run_id, 120)
            states = {dag_id: airflow.task_states(dag_id, run_id) for dag_id, run_id in runs.items()}
        yield Shown(world, marquez, canaries, states)


def _make(world: World, marquez: Marquez, canaries: Canaries) -> dict[str, str]:
    people = customers(500, canaries)
    for name, columns, rows in (
        ("customers", CUSTOMER_COLUMNS, people),
        ("orders", ORDER_COLUMNS, orders(100, people)),
    ):
        body = as_csv(columns, [row.row() for row in rows])
        world.put_encrypted(f"{name}/{DAY:%Y-%m-%d}.csv", body, f"crm.{name}")
    s3 = world.aws.client("s3")
    for key in ("stock.csv", AWKWARD):
        s3.put_object(
            Bucket=LAKE,
            Key=key,
            Body=b"id,name\n1,Ada\n",
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=world.kms_key,
        )
    with world.postgres.connect(dbname=DATABASE) as connection:
        connection.execute("CREATE TABLE crm.stock_people (id bigint, name text)")
    setting = "AIRFLOW__OPENLINEAGE__TRANSPORT"
    return {
        **world.airflow_environment,
        setting: as_transport(marquez, world.airflow_environment[setting]),
        "AIRFLOW__OPENLINEAGE__EXTRACTORS": EXTRACTORS,
        "AIRFLOW_CONN_CRM_ENV": connection_without_vault(world),
    }


# what Airflow's tasks have sent


def test_the_tasks_have_run(shown: Shown) -> None:
    states = {state for states in shown.runs.values() for state in states.values()}
    assert states == {"success"}, shown.runs
    spool = shown.world.events.parent / "spool"
    assert [each.name for each in spool.iterdir() if not each.name.startswith(".")] == []
    assert [each.name for each in (spool / ".endings").iterdir()] == []


def test_the_demo_s_own_checks(shown: Shown) -> None:
    for passed, saw in (
        marquez_checks.hops(shown.marquez, TASKS),
        marquez_checks.graph(shown.marquez, shown.tables, f"{DAY:%Y-%m-%d}"),
        marquez_checks.columns(shown.marquez, shown.tables, REPOSITORY / "dags" / "contracts"),
    ):
        assert passed, saw


def test_a_dataset(shown: Shown) -> None:
    table = shown.marquez.dataset(shown.tables, "crm.crm.customers")
    facets = table["facets"]
    seen = facets["secureProvider_encryption"]
    jsonschema.validate(seen, SCHEMA)
    assert seen["inTransit"]["peerVerified"] is True
    assert seen["atRest"]["evidence"] == "declared"
    protections = {column["name"]: column["protection"] for column in seen["columns"]}
    assert (protections["email"], protections["id"]) == ("tokenize", "none")
    # Written with types, read with the same: Marquez takes a column with another type for another column.
    types = {field["name"]: field["type"] for field in table["fields"]}
    assert len(types) == len(table["fields"]) == len(CUSTOMER_COLUMNS)
    assert (types["id"], types["amount"], types["notes"]) == ("bigint", "numeric(12,2)", "bytea")
    classes = {tag["field"]: tag["value"] for tag in facets["tags"]["tags"]}
    assert (classes["ssn"], classes["id"]) == ("restricted", "internal")
    assert table["tags"] == []  # a facet is no tag of Marquez's
    assert all(field["tags"] == [] for field in table["fields"])
    source = shown.marquez.dataset(f"s3://{LAKE}", f"customers/{DAY:%Y-%m-%d}.csv")
    jsonschema.validate(source["facets"]["secureProvider_encryption"], SCHEMA)
    assert source["facets"]["secureProvider_encryption"]["atRest"]["evidence"] == "observed"
    assert source["facets"]["version"]["datasetVersion"]


def test_the_edges_of_one_column(shown: Shown) -> None:
    column = f"datasetField:{shown.tables}:crm.analytics.customers:email"
    graph = shown.marquez.get("/column-lineage", nodeId=column)["graph"]
    edges = {(edge["origin"], edge["destination"]) for node in graph for edge in node["inEdges"]}
    loaded = f"datasetField:{shown.tables}:crm.crm.customers:email"
    object_key = f"datasetField:s3://{LAKE}:customers/{DAY:%Y-%m-%d}.csv:email"
    assert edges == {(column, loaded), (loaded, object_key)}
    told = {
        node["id"]: node["data"]["transformationDescription"] for node in graph if node["data"]["inputFields"]
    }
    assert told[loaded].startswith("tokenize: AES-SIV")


def test_a_run(shown: Shown) -> None:
    job = marquez_checks.job_of(shown.marquez, "secure_customers.load_customers")
    (run,) = shown.marquez.get(f"/namespaces/demo/jobs/{job['name']}/runs")["runs"]
    assert run["state"] == "COMPLETED"  # though more was said of it after its end
    facets = shown.marquez.get(f"/jobs/runs/{run['id']}/facets", type="run")["facets"]
    (lent,) = facets["secureProvider_credentials"]["credentials"]
    assert (lent["connection"], lent["role"]) == ("crm", "crm-loader")
    assert lent["revokedAt"] > lent["issuedAt"]
    assert facets["secureProvider_contract"]["verdict"] == "met"
    assert facets["secureProvider_contract"]["contract"]["digest"]


def test_stock_operators_and_a_name_that_marquez_cannot_carry(shown: Shown) -> None:
    namespace, carried = encoded(f"s3://{LAKE}", AWKWARD)
    assert (namespace, carried) == (f"s3://{LAKE}", "@32026@231/at 12@3A00.csv")
    for key, job in (("stock.csv", "stock_in.load"), (carried, "stock_awkward.load")):
        source = shown.marquez.dataset(namespace, key)
        seen = source["facets"]["secureProvider_encryption"]
        jsonschema.validate(seen, SCHEMA)
        assert (seen["status"], seen["atRest"]["scheme"]) == ("protected", "SSE-KMS")
        assert seen["atRest"]["keyId"] == shown.world.kms_key
        found = marquez_checks.nodes(shown.marquez, namespace, key)
        assert {f"job:demo:{job}", f"dataset:{shown.tables}:crm.crm.stock_people"} <= found
    edges = marquez_checks.edges_of(shown.marquez, shown.tables, "crm.crm.stock_people")
    assert edges == {"id": "", "name": ""}  # they correspond, and nobody knows more
    table = shown.marquez.dataset(shown.tables, "crm.crm.stock_people")
    assert [field["name"] for field in table["fields"]] == ["id", "name"]  # each once, though it came twice


def test_lineage_show(shown: Shown) -> None:
    def show(*arguments: str) -> Any:
        command = ["lineage", "show", "--marquez", shown.marquez.url, "--format", "json", *arguments]
        outcome = CliRunner().invoke(cli, command)
        assert outcome.exit_code == 0, outcome.output
        return json.loads(outcome.stdout)

    hops = show("analytics.customers")
    assert [hop["job"] for hop in hops] == [
        "demo.secure_customers.share",
        "demo.secure_customers.load_customers",
    ]
    assert hops[1]["source"]["name"] == f"customers/{DAY:%Y-%m-%d}.csv"
    assert {hop["source"]["status"] for hop in hops} == {"protected"}
    assert {"email", "ssn", "notes"} <= set(hops[1]["masked"])
    assert "id" not in hops[1]["masked"]
    assert {hop["source"]["name"] for hop in show("stock_people")} == {"stock.csv", AWKWARD}
    (before,) = show("crm.crm.customers", "--as-of", hops[0]["at"], "--downstream")
    assert before["at"] == hops[0]["at"]
    early = CliRunner().invoke(
        cli, ["lineage", "show", "x", "--marquez", shown.marquez.url, "--as-of", "2026-01-01"]
    )
    assert "no event has a dataset 'x'; there are 0" in early.output


def test_no_value_and_no_secret_is_in_marquez(shown: Shown) -> None:
    with shown.world.postgres.connect(dbname=MARQUEZ_DATABASE) as connection:
        stored = connection.execute("SELECT string_agg(event::text, '') FROM lineage_events").fetchone()
    assert stored
    text = stored[0].encode()
    assert b"crm.analytics.customers" in text  # there is something to search
    assert shown.canaries.found_in(text) == []
    assert [name for name, secret in shown.world.secrets.items() if secret.encode() in text] == []


# what Marquez can carry, seen with events of our own


def _event(
    job: str, source: tuple[str, str], target: tuple[str, str], at: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    about = {"_producer": "https://example.com", "_schemaURL": "https://example.com/schema.json"}
    schema = {**about, "fields": [{"name": "a", "type": "text"}]}
    edge = {"namespace": source[0], "name": source[1], "field": "a"}
    lineage = {**about, "fields": {"a": {"inputFields": [edge], "transformationType": "MASKED"}}}
    return {
        "eventType": "COMPLETE",
        "eventTime": at,
        "run": {"runId": str(uuid.uuid4())},
        "job": {"namespace": "names", "name": job},
        "inputs": [{"namespace": source[0], "name": source[1], "facets": {"schema": schema}}],
        "outputs": [
            {
                "namespace": target[0],
                "name": target[1],
                "facets": {"schema": schema, "columnLineage": lineage},
            }
        ],
        "producer": "https://example.com",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def _post(marquez: Marquez, event: dict[str, Any]) -> int:
    body = json.dumps(event).encode()
    address = f"{marquez.url}/api/v1/lineage"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


NAMES = [
    ("s3://lake", "2026/11.csv"),
    ("s3://lake", "//twice"),
    ("s3://lake", "a#b"),
    ("s3://lake", "a:b"),
    ("s3://lake", "a\nb"),
    ("s3://lake", "a b/ü%20;=?&+'\"\\{}[]<>|^`~,@3A@@"),
    ("postgres://h:5432", "2db.s.t"),
    ("arn:aws:glue:eu-central-1:123", "table/db/t"),
    ("postgres://[::1]:5432", "db.s.t"),
    ("kafka://a:1,b:2", "topic"),
    ("10.0.0.1:9092", "topic"),
    ("has a space#é", "2"),
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_encoded_names_can_be_asked_for(shown: Shown, name: tuple[str, str]) -> None:
    job = f"job-{NAMES.index(name)}"
    assert _post(shown.marquez, renamed(_event(job, ("file", job), name), encoded)) == 201
    namespace, carried = encoded(*name)
    found = shown.marquez.dataset(namespace, carried)
    assert (found["namespace"], found["name"]) == (namespace, carried)
    assert len(marquez_checks.nodes(shown.marquez, namespace, carried)) == 3
    assert marquez_checks.edges_of(shown.marquez, namespace, carried) == {"a": "MASKED"}
    one = shown.marquez.get("/column-lineage", nodeId=f"datasetField:{namespace}:{carried}:a")
    assert len(one["graph"]) == 2
    assert shown.marquez.get("/namespaces", limit=1000)["namespaces"]


@pytest.mark.parametrize("name", [NAMES[n] for n in (0, 1, 6, 7)])
def test_without_it_they_cannot(shown: Shown, name: tuple[str, str]) -> None:
    """If this fails, a newer Marquez can do more, and ``lineage/names.py`` may do less."""
    assert _post(shown.marquez, _event("plain", ("file", "plain"), name)) == 201
    with pytest.raises(urllib.error.HTTPError) as refused:
        marquez_checks.nodes(shown.marquez, *name)
    refused.value.close()
    assert refused.value.code in (404, 500)


def test_events_page_by_page(shown: Shown) -> None:
    at_once = [_event(f"at-once-{n}", ("file", "x"), ("file", "y")) for n in range(7)]
    for event in at_once:
        assert _post(shown.marquez, event) == 201
    whole = [json.dumps(each, sort_keys=True) for each in events(shown.marquez.url, page=10_000)]
    assert len(whole) == len(set(whole)) > 30
    for page in (1, 3, 10):  # smaller than what happened at one moment, and not
        paged = [json.dumps(each, sort_keys=True) for each in events(shown.marquez.url, page=page)]
        assert len(paged) == len(whole)
        assert set(paged) == set(whole)
    runs = {event["run"]["runId"] for event in events(shown.marquez.url)}
    assert {event["run"]["runId"] for event in at_once} <= runs
    until = datetime(2026, 1, 1, tzinfo=UTC)
    assert len(list(events(shown.marquez.url, until, page=3))) >= len(at_once)

"""Who gets to see what: Airflow's login, its teams, and nothing for anybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests.ui.facts import event, report
from tests.ui.test_store import store_of

PAGES = ("", "dataset?name=x", "run?dag_id=load&run_id=run-1")
FILES = ("datasets.csv", "datasets.json", "run.json?dag_id=load&run_id=run-1")
Client = Callable[..., Any]


@pytest.mark.parametrize("path", PAGES + FILES)
def test_anonymous_is_401(client: Client, told: Callable[..., None], path: str) -> None:
    told("load", report())
    answer = client().get(f"/data-protection/{path}")
    assert answer.status_code == 401
    assert "people" not in answer.text


@pytest.mark.parametrize("path", PAGES + FILES)
def test_a_wrong_token_is_refused(client: Client, path: str) -> None:
    answer = client().get(f"/data-protection/{path}", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code in (401, 403)


def test_every_route_asks_who_it_is(airflow_app: Any) -> None:
    """A route that is added without the dependency would be open to all: Airflow asks nobody."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi.routing import APIRoute

    from airflow_secure_provider.ui.app import make_app

    def asks(dependant: Any) -> bool:
        return any(each.call is get_user or asks(each) for each in dependant.dependencies)

    routes = [each for each in make_app()._app.routes if isinstance(each, APIRoute)]  # type: ignore[attr-defined]
    assert len(routes) == 6
    for route in routes:
        assert asks(route.dependant), route.path
        assert route.methods == {"GET"}


@pytest.mark.parametrize("path", ["run", "run.json"])
@pytest.mark.parametrize("task", ["", "&task_id=task", "&task_id=task&map_index=-1"])
def test_another_teams_run_is_404_as_one_that_is_not_there(
    client: Client, told: Callable[..., None], path: str, task: str
) -> None:
    told("load", report())
    ana, bob = client("ana"), client("bob")
    there = f"/data-protection/{path}?dag_id=load&run_id=run-1{task}"
    assert ana.get(there).status_code == 200
    others = bob.get(there)
    nowhere = bob.get(there.replace("run-1", "run-2"))
    no_dag = bob.get(there.replace("load", "none"))
    assert others.status_code == nowhere.status_code == no_dag.status_code == 404
    assert others.text == nowhere.text == no_dag.text


def test_rows_are_those_of_ones_own_team(client: Client, told: Callable[..., None]) -> None:
    told("load", report(target="crm.crm.ours"))
    told("sell", report(target="crm.sales.theirs"))
    told("open", report(target="crm.all.everyones"))
    names = {
        name: {each["name"] for each in client(name).get("/data-protection/datasets.json").json()["datasets"]}
        for name in ("ana", "bob", "root")
    }
    assert names["ana"] == {"people.csv", "crm.crm.ours", "crm.all.everyones"}
    assert names["bob"] == {"people.csv", "crm.sales.theirs", "crm.all.everyones"}
    assert names["root"] == {"people.csv", "crm.crm.ours", "crm.sales.theirs", "crm.all.everyones"}


def test_what_another_team_saw_of_a_dataset_is_not_told(client: Client, told: Callable[..., None]) -> None:
    """Of the dataset that both read, each sees the own runs only."""
    told("load", report())
    told("sell", report(target="crm.sales.theirs"))
    page = client("ana").get("/data-protection/dataset?namespace=s3://lake&name=people.csv")
    assert page.status_code == 200
    assert "load" in page.text
    assert "sell" not in page.text
    assert (
        client("ana")
        .get("/data-protection/dataset?namespace=postgres://db:5432&name=crm.sales.theirs")
        .status_code
        == 404
    )
    assert "sell" not in client("ana").get("/data-protection/").text


def test_assets_and_lineage_follow_the_same_rules(
    client: Client, told: Callable[..., None], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told("load", assets={"s3://lake/ours": {}})
    told("sell", assets={"s3://lake/theirs": {}})
    events = [event("load", outputs=("crm.crm.one",)), event("sell", outputs=("crm.crm.two",)), event("gone")]
    store_of(events, tmp_path, monkeypatch)
    found = client("ana").get("/data-protection/datasets.json").json()["datasets"]
    assert {each["name"] for each in found} == {"s3://lake/ours", "in.csv", "crm.crm.one"}
    assert {run["dagId"] for each in found for run in each["seen"]} == {"load"}


def test_who_may_not_read_xcoms_gets_none(client: Client, told: Callable[..., None]) -> None:
    """The auth manager is asked for the entity, not only for the DAG."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    told("load", report(), assets={"s3://lake/asset": {}})
    allowed = SimpleAuthManager.is_authorized_dag

    def without(entity: DagAccessEntity) -> Any:
        def answer(self: Any, *, access_entity: Any = None, **given: Any) -> bool:
            return access_entity is not entity and allowed(self, access_entity=access_entity, **given)

        return mock.patch.object(SimpleAuthManager, "is_authorized_dag", answer)

    def names() -> set[str]:
        answer = client("ana").get("/data-protection/datasets.json")
        return {each["name"] for each in answer.json()["datasets"]}

    with without(DagAccessEntity.XCOM):
        assert names() == {"s3://lake/asset"}
    with without(DagAccessEntity.TASK_INSTANCE):
        assert names() == set()
        assert client("ana").get("/data-protection/run?dag_id=load&run_id=run-1").status_code == 404
    with mock.patch.object(SimpleAuthManager, "is_authorized_asset", return_value=False):
        assert names() == {"people.csv", "crm.crm.people"}

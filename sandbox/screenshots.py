"""``python -m sandbox.screenshots``: pictures of the page "Data protection" for the docs, out of the demo's data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sandbox.airflow import Airflow
from sandbox.browser import browser
from sandbox.data import CUSTOMER_COLUMNS, ORDER_COLUMNS, Canaries, as_csv, customers, orders
from sandbox.demo import DAGS, DAY
from sandbox.environment import REPOSITORY, isolate_this_process, short_directory, unwind_on_signals
from sandbox.world import World, running_world

IMAGES = REPOSITORY / "docs" / "images"
_MOST_BYTES = 150_000
_DAG = "secure_customers"
_PLAIN = """
from airflow.providers.amazon.aws.operators.s3 import S3CopyObjectOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset

with DAG("marketing_export", schedule=None):
    S3CopyObjectOperator(
        task_id="copy",
        source_bucket_key="s3://customer-lake/leads/plain.csv",
        dest_bucket_key="s3://customer-lake/leads/for_agency.csv",
    ) >> EmptyOperator(task_id="upload", outlets=[Asset(name="upload", uri="sftp://agency.example.com/leads.csv")])
"""


def main() -> int:
    with unwind_on_signals(), short_directory() as directory:
        isolate_this_process(directory / "home")
        with running_world(directory) as world, browser(directory / "browser") as running:
            _fill(world)
            dags = _dags(directory)
            environment = dict(world.airflow_environment)
            environment["AIRFLOW__SECURE_PROVIDER__LINEAGE_STORE"] = world.events.as_uri()
            with Airflow(directory, dags, environment) as airflow:
                run_id = airflow.trigger(_DAG, logical_date=DAY)
                other = airflow.trigger("marketing_export", logical_date=DAY)
                for dag, run in ((_DAG, run_id), ("marketing_export", other)):
                    if airflow.wait(dag, run, 240) != "success":
                        print(f"{dag} failed: {airflow.task_states(dag, run)}", file=sys.stderr)
                        return 1
                _take(running, airflow, run_id)
    for image in IMAGES.glob("*.png"):
        if image.stat().st_size > _MOST_BYTES:
            print(
                f"{image.name} has {image.stat().st_size:,} bytes; {_MOST_BYTES:,} is enough", file=sys.stderr
            )
            return 1
    return 0


def _fill(world: World) -> None:
    people = customers(1_000, Canaries.fresh())
    rows = [person.row() for person in people]
    world.put_encrypted(f"customers/{DAY:%Y-%m-%d}.csv", as_csv(CUSTOMER_COLUMNS, rows), "crm.customers")
    sold = [order.row() for order in orders(500, people)]
    world.put_encrypted(f"orders/{DAY:%Y-%m-%d}.csv", as_csv(ORDER_COLUMNS, sold), "crm.orders")
    world.aws.client("s3").put_object(Bucket="customer-lake", Key="leads/plain.csv", Body=b"id\n1\n")


def _dags(directory: Path) -> Path:
    import shutil

    dags = Path(shutil.copytree(DAGS, directory / "dags", ignore=shutil.ignore_patterns("api_to_s3.py")))
    (dags / "marketing_export.py").write_text(_PLAIN)
    return dags


def _take(running: Any, airflow: Airflow, run_id: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    for theme in ("light", "dark"):
        context = running.new_context(color_scheme=theme, viewport={"width": 1280, "height": 700})
        page = context.new_page()
        page.goto(airflow.url)
        page.get_by_test_id("nav-sidebar").wait_for()
        page.goto(f"{airflow.url}/plugin/data-protection")
        frame = page.frame_locator("iframe[title='Data protection']")
        frame.locator("table").wait_for()
        page.wait_for_timeout(1_000)  # Airflow's own parts of the page
        page.screenshot(path=IMAGES / f"data-protection-{theme}.png")
        if theme == "light":
            _take_details(page, airflow, run_id)
        context.close()


def _take_details(page: Any, airflow: Airflow, run_id: str) -> None:
    root = f"{airflow.url}/data-protection"
    page.goto(f"{root}/run?dag_id={_DAG}&run_id={quote(run_id)}")
    page.set_viewport_size({"width": 1400, "height": 500})
    page.screenshot(path=IMAGES / "data-protection-hops.png")
    page.set_viewport_size({"width": 1280, "height": 700})
    page.goto(f"{airflow.url}/dags/{_DAG}/runs/{quote(run_id)}/tasks/share/plugin/data-protection-of-task")
    page.frame_locator("iframe[title='Data protection']").locator("svg[role=img]").wait_for()
    page.wait_for_timeout(1_000)
    page.screenshot(path=IMAGES / "data-protection-task.png")
    page.goto(f"{root}/?q=crm.analytics.customers")
    page.get_by_role("link", name="crm.analytics.customers").click()
    page.get_by_role("heading", level=1).wait_for()
    page.screenshot(path=IMAGES / "data-protection-dataset.png")


if __name__ == "__main__":
    sys.exit(main())

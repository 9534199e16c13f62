"""``make demo``: the main job on real servers, from encrypted objects to a share for analysts, checked and shown."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from sandbox.airflow import Airflow
from sandbox.checks import Check, Seen, run_checks
from sandbox.data import CUSTOMER_COLUMNS, ORDER_COLUMNS, Canaries, as_csv, customers, orders
from sandbox.environment import REPOSITORY, isolate_this_process, short_directory, unwind_on_signals
from sandbox.keeping import keep
from sandbox.marquez import VERSION, Marquez, MarquezMissing, as_transport
from sandbox.page import show
from sandbox.world import World, running_world

CUSTOMERS = 200_000
ORDERS = 20_000
DAY = datetime(2026, 11, 20, tzinfo=UTC)
DAGS = REPOSITORY / "dags"
KEEP = os.environ.get("KEEP", "0") not in ("", "0")


class Steps:
    """Progress, one line a step, with the time it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._last = time.monotonic()

    def done(self, what: str) -> None:
        now = time.monotonic()
        self._console.print(f"[green]✓[/] {what}  [dim]{now - self._last:.1f} s[/]", highlight=False)
        self._last = now

    def told(self, what: str) -> None:
        self._console.print(f"  [dim]{what}[/]", highlight=False)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


def main() -> int:
    console = Console(soft_wrap=False, width=min(Console().width, 130) if sys.stdout.isatty() else 118)
    steps = Steps(console)
    console.print("[bold]airflow-secure-provider: the main job on real servers[/]")
    try:
        with unwind_on_signals(), short_directory() as directory, _world(directory) as world:
            steps.done("PostgreSQL, S3 + KMS and the Vault stand-in are up, over TLS with a throw-away CA")
            failed = _run(console, steps, world, directory)
    except MarquezMissing as error:
        console.print(f"[bold red]no Marquez:[/] {error}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped and removed")
        return 128 + signal.SIGINT
    console.print(f"[dim]{steps.seconds:.0f} s in all; everything is stopped and removed[/]")
    return 1 if failed else 0


@contextlib.contextmanager
def _world(directory: Path) -> Iterator[World]:
    isolate_this_process(directory / "home")
    with running_world(directory) as world:
        yield world


@contextlib.contextmanager
def _lineage(
    steps: Steps, world: World, directory: Path
) -> Iterator[tuple[Marquez | None, Mapping[str, str]]]:
    """With ``MARQUEZ=1`` a Marquez that gets the events too, and what Airflow needs for it."""
    store = "AIRFLOW__SECURE_PROVIDER__LINEAGE_STORE"  # of the page "Data protection"
    if os.environ.get("MARQUEZ", "0") in ("", "0"):
        yield None, {**world.airflow_environment, store: world.events.as_uri()}
        return
    with Marquez(directory / "marquez", world.postgres, steps.told) as marquez:
        steps.done(f"Marquez {VERSION} is up; ask its API: {marquez.url}/api/v1/namespaces")
        setting = "AIRFLOW__OPENLINEAGE__TRANSPORT"
        transport = as_transport(marquez, world.airflow_environment[setting], keep=True)
        yield marquez, {**world.airflow_environment, setting: transport, store: marquez.url}


def _run(console: Console, steps: Steps, world: World, directory: Path) -> bool:
    canaries = Canaries.fresh()
    people = customers(CUSTOMERS, canaries)
    sold = orders(ORDERS, people)
    plain_customers = as_csv(CUSTOMER_COLUMNS, [person.row() for person in people])
    plain_orders = as_csv(ORDER_COLUMNS, [order.row() for order in sold])
    stored = world.put_encrypted(f"customers/{DAY:%Y-%m-%d}.csv", plain_customers, "crm.customers")
    stored += world.put_encrypted(f"orders/{DAY:%Y-%m-%d}.csv", plain_orders, "crm.orders")
    steps.done(
        f"{CUSTOMERS:,} customers and {ORDERS:,} orders encrypted here and put into S3 ({stored / 1e6:.1f} MB)"
    )
    with (
        _lineage(steps, world, directory) as (marquez, environment),
        Airflow(directory, DAGS, environment) as airflow,
    ):
        steps.done("Airflow is up: scheduler, DAG processor, API server, LocalExecutor")
        run_id = airflow.trigger("secure_customers", logical_date=DAY)
        told: set[tuple[str, str]] = set()

        def tell(states: dict[str, str]) -> None:
            for task, state in states.items():
                if (task, state) not in told and state in ("running", "success", "failed", "up_for_retry"):
                    steps.told(f"{task}: {state}")
                    told.add((task, state))

        state = airflow.wait("secure_customers", run_id, 240, tell)
        steps.done(f"dags/secure_customers.py ended: {state}")
        if state != "success":
            for task, its in airflow.task_states("secure_customers", run_id).items():
                if its != "success":
                    log = airflow.task_log("secure_customers", run_id, task)
                    console.print(f"{task}: {its}: {why(log)}", markup=False, style="red")
            if KEEP:
                keep(console, world, airflow, marquez)
            return True
        seen = Seen(
            world,
            airflow,
            run_id,
            people,
            sold,
            plain_customers + plain_orders,
            canaries,
            DAGS / "contracts",
            f"{DAY:%Y-%m-%d}",
            marquez,
        )
        results = run_checks(seen)
        steps.done("checked")
        show(console, seen, results)
        failed = _tell_failures(console, results)
        if KEEP:
            keep(console, world, airflow, marquez)
    return failed


def why(log: str) -> str:
    """The errors in a task's log, which is one JSON object a line."""
    told = []
    for line in log.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            told += [f"{each['exc_type']}: {each['exc_value']}" for each in entry.get("error_detail") or []]
    return "; ".join(told) or log[-2000:]


def _tell_failures(console: Console, results: list[Check]) -> bool:
    failed = [check for check in results if not check.passed]
    for check in failed:
        console.print(f"[bold red]failed:[/] {check.name}: {check.saw}", highlight=False)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

"""The demo checks itself: each check says what it saw, and one that fails makes the demo fail."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.crypto.keyset import Keyset
from airflow_secure_provider.protection.reversible import ColumnCipher
from sandbox import marquez_checks
from sandbox.airflow import Airflow
from sandbox.data import Canaries, Customer, Order
from sandbox.making import DATABASE
from sandbox.marquez import DATABASE as MARQUEZ_DATABASE
from sandbox.marquez import Marquez
from sandbox.world import World

TABLES = ("crm.customers", "crm.orders", "analytics.customers")
TASKS = ("load_customers", "load_orders", "share")


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything the checks look at.

    :param plaintext: both source files, as they were before they were encrypted.
    :param day: of the run, as it stands in the objects' names.
    :param marquez: if it is there too.
    """

    world: World
    airflow: Airflow
    run_id: str
    customers: list[Customer]
    orders: list[Order]
    plaintext: bytes
    canaries: Canaries
    contracts: Path
    day: str = ""
    marquez: Marquez | None = None

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.world.postgres.connect(dbname=DATABASE) as connection:
            return list(connection.execute(statement.encode()).fetchall())


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    passed: bool
    saw: str


def run_checks(seen: Seen) -> list[Check]:
    """All checks; a check that breaks counts as failed and says how."""
    checks: dict[str, Callable[[Seen], tuple[bool, str]]] = {
        "row counts": _row_counts,
        "TLS, as the database saw it": _tls,
        "tokens join as the plaintext did": _joins,
        "cells reveal to the source values": _reveals,
        "the share holds no persons, and five of each kind": _share,
        "the canary search finds the source": _canary_control,
        "canaries are nowhere else": _canaries,
        "credentials are nowhere": _credentials,
        "lineage: both ends of each hop, with status": _lineage,
        "leases: one a task, all revoked": _leases,
    } | (_OF_MARQUEZ if seen.marquez is not None else {})
    results = []
    for name, check in checks.items():
        try:
            passed, saw = check(seen)
        except Exception as error:  # noqa: BLE001 (one broken check must not hide the others)
            passed, saw = False, f"{type(error).__name__}: {error}"
        results.append(Check(name, passed, saw))
    return results


def _marquez_hops(seen: Seen) -> tuple[bool, str]:
    assert seen.marquez is not None
    return marquez_checks.hops(seen.marquez, TASKS)


def _marquez_graph(seen: Seen) -> tuple[bool, str]:
    assert seen.marquez is not None
    return marquez_checks.graph(seen.marquez, seen.world.postgres_namespace, seen.day)


def _marquez_columns(seen: Seen) -> tuple[bool, str]:
    assert seen.marquez is not None
    return marquez_checks.columns(seen.marquez, seen.world.postgres_namespace, seen.contracts)


_OF_MARQUEZ: dict[str, Callable[[Seen], tuple[bool, str]]] = {
    "Marquez: each run, both of its ends": _marquez_hops,
    "Marquez: from the share back to S3": _marquez_graph,
    "Marquez: each column, masked or not": _marquez_columns,
}


def _row_counts(seen: Seen) -> tuple[bool, str]:
    expected = {
        "crm.customers": len(seen.customers),
        "crm.orders": len(seen.orders),
    }
    got = {table: seen.query(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    shared = 0.99 * len(seen.customers) <= got["analytics.customers"] <= len(seen.customers)
    return shared and expected.items() <= got.items(), ", ".join(
        f"{table} {count:,}" for table, count in got.items()
    )


def _tls(seen: Seen) -> tuple[bool, str]:
    """The server's log names every connection of a leased user with its protocol and cipher."""
    log = b"".join(path.read_bytes() for path in (seen.world.directory / "postgres").rglob("*.log")).decode(
        errors="replace"
    )
    lines = [line for line in log.splitlines() if "connection authorized: user=v-" in line]
    bare = [line for line in lines if "SSL enabled (protocol=TLSv1.3" not in line]
    return bool(
        lines
    ) and not bare, f"{len(lines)} connections of leased users in its log, {len(bare)} without TLS 1.3"


def _joins(seen: Seen) -> tuple[bool, str]:
    expected = _pairs(seen, {customer.id for customer in seen.customers})
    of_share = _pairs(seen, {row[0] for row in seen.query("SELECT id FROM analytics.customers")})
    crm = seen.query("SELECT count(*) FROM crm.orders o JOIN crm.customers c ON c.email = o.buyer_email")[0][
        0
    ]
    share = seen.query(
        "SELECT count(*) FROM crm.orders o JOIN analytics.customers c ON c.email = o.buyer_email"
    )[0][0]
    return (
        crm == expected > 0 and share == of_share,
        f"{crm:,} pairs with crm, {share:,} with analytics, {expected:,} and {of_share:,} in the plaintext",
    )


def _pairs(seen: Seen, ids: set[int]) -> int:
    by_email = Counter(each.email for each in seen.customers if each.email is not None and each.id in ids)
    return sum(by_email[order.buyer_email] for order in seen.orders if order.buyer_email is not None)


def _reveals(seen: Seen) -> tuple[bool, str]:
    keyset = seen.world.keyset()
    contract = from_odcs((seen.contracts / "customers.odcs.yaml").read_bytes(), "customers", "crm.customers")
    compared = 0
    for rule in contract.rules:
        if rule.protection.reversible:
            source = [getattr(customer, rule.name) for customer in seen.customers]
            if revealed(seen, "crm.customers", rule, keyset) != source:
                return False, f"column {rule.name} differs"
            compared += len(source)
    return (
        compared > 0,
        f"{compared:,} cells of {sum(rule.protection.reversible for rule in contract.rules)} columns",
    )


def revealed(seen: Seen, table: str, rule: Any, keyset: Keyset, limit: str = "") -> list[str | None]:
    """A column's values, in the order of ids."""
    cells = [row[0] for row in seen.query(f"SELECT {rule.name} FROM {table} ORDER BY id {limit}")]
    values: list[str | None] = ColumnCipher(rule, keyset).reveal(pa.array(cells)).to_pylist()
    return values


def _share(seen: Seen) -> tuple[bool, str]:
    """Each row as its person is, as coarse as the share is; and no kind of which there are less than five."""
    got = seen.query("SELECT id, birth_date, postcode, card FROM analytics.customers ORDER BY id")
    years = 10 if all(year % 10 == 0 for _, year, _, _ in got if year is not None) else 1
    kept = max(len(postcode or "") for _, _, postcode, _ in got)
    of_id = {customer.id: customer for customer in seen.customers}
    wrong = 0
    for number, year, postcode, card in got:
        customer = of_id[number]
        born = int(customer.birth_date[:4]) // years * years if customer.birth_date else None
        area = customer.postcode[:kept] if customer.postcode is not None and kept else None
        hidden = card is None or "*" * (len(card) // 2) in card
        wrong += (year, postcode) != (born, area) or not hidden
    smallest = min(Counter((year, postcode) for _, year, postcode, _ in got).values())
    columns = [
        row[0]
        for row in seen.query(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'analytics' AND table_name = 'customers'"
        )
    ]
    persons = sorted(set(columns) & {"first_name", "last_name", "ssn", "phone", "notes"})
    return (
        not wrong and not persons and smallest >= 5,
        f"{len(got):,} rows compared, {wrong} differ; {smallest} or more alike; columns {', '.join(columns)}",
    )


def places(seen: Seen) -> Iterator[tuple[str, bytes]]:
    """Wherever a value could have leaked to."""
    yield from _tables(seen, DATABASE)
    if seen.marquez is not None:
        yield from _tables(seen, MARQUEZ_DATABASE)
    directories = {
        "log": seen.airflow.logs_directory,
        "console log": seen.airflow.process_logs_directory,
        "database server's log": seen.world.directory / "postgres",
        "Vault stand-in's log": seen.world.directory / "vault",
        "lineage event": seen.world.events.parent,
        "Marquez's log": seen.world.directory / "marquez",
    }
    for what, directory in directories.items():
        for path in sorted(directory.rglob("*")):
            if (
                path.is_file()
                and ("log" in what or what == "lineage event")
                and path.suffix in (".log", ".jsonl", "")
            ):
                if what == "database server's log" and path.suffix != ".log":
                    continue
                yield f"{what} {path.name}", path.read_bytes()
    for path in sorted(seen.airflow.home.glob("airflow.db*")):
        yield f"metadata database {path.name}", path.read_bytes()
    for task in TASKS:
        yield (
            f"XCom of {task}",
            json.dumps(seen.airflow.xcoms("secure_customers", seen.run_id, task)).encode(),
        )


def _tables(seen: Seen, database: str) -> Iterator[tuple[str, bytes]]:
    with seen.world.postgres.connect(dbname=database) as connection:
        listed = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in listed:
            with (
                connection.cursor() as cursor,
                cursor.copy(f'COPY "{schema}"."{table}" TO STDOUT'.encode()) as copy,
            ):
                yield f"table {schema}.{table} of {database}", b"".join(bytes(piece) for piece in copy)


def _canary_control(seen: Seen) -> tuple[bool, str]:
    lines = seen.plaintext.decode().count(seen.canaries.mark)
    found = seen.canaries.found_in(seen.plaintext)
    hexed = seen.canaries.found_in(seen.plaintext.hex().encode())
    return (
        "raw" in found and "hex" in hexed and lines >= 8 * 50,
        f"{lines} canaries in the source, found raw and in hex",
    )


def _canaries(seen: Seen) -> tuple[bool, str]:
    searched, size, leaks = 0, 0, []
    for name, content in places(seen):
        searched, size = searched + 1, size + len(content)
        leaks += [f"{name} ({form})" for form in seen.canaries.found_in(content)]
    in_places = "; ".join(leaks[:5]) if leaks else "none found"
    return (
        not leaks and searched > 10,
        f"{searched} places, {size / 1e6:,.0f} MB searched in {len(seen.canaries.forms())} forms: {in_places}",
    )


def _credentials(seen: Seen) -> tuple[bool, str]:
    leaks = [
        f"{secret} in {name}"
        for name, content in places(seen)
        for secret, value in seen.world.secrets.items()
        if value.encode() in content
    ]
    return not leaks, "; ".join(
        leaks
    ) if leaks else f"{len(seen.world.secrets)} kinds of secret searched for, none found"


def events(seen: Seen) -> list[dict[str, Any]]:
    return [json.loads(line) for line in seen.world.events.read_text().splitlines() if line.strip()]


def completions(seen: Seen) -> dict[str, dict[str, Any]]:
    """The COMPLETE event of each task."""
    return {
        event["job"]["name"].split(".")[-1]: event
        for event in events(seen)
        if event["eventType"] == "COMPLETE" and event["job"]["name"].split(".")[-1] in TASKS
    }


def _lineage(seen: Seen) -> tuple[bool, str]:
    completed = completions(seen)
    problems = []
    for task in TASKS:
        event = completed.get(task)
        if event is None:
            problems.append(f"{task}: no COMPLETE event")
            continue
        for side in ("inputs", "outputs"):
            statuses = [
                each["facets"].get("secureProvider_encryption", {}).get("status") for each in event[side]
            ]
            if statuses != ["protected"]:
                problems.append(f"{task} {side}: {statuses}")
        if "secureProvider_credentials" not in event["run"]["facets"]:
            problems.append(f"{task}: no credential facet")
    return not problems, "; ".join(
        problems
    ) if problems else f"{len(events(seen))} events, {len(completed)} hops, all protected"


def _leases(seen: Seen) -> tuple[bool, str]:
    leases = seen.world.vault.leases("database/creds/crm-loader")
    active = [lease for lease in leases if lease["state"] == "active"]
    users = seen.query("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'")[0][0]
    passed = len(leases) == len(TASKS) and not active and users == 0
    return (
        passed,
        f"{len(leases)} issued to {len(TASKS)} tasks, {len(active)} still active, {users} database users left",
    )

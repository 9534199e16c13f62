"""What the demo asks of Marquez's API, as a person would look at it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_secure_provider.contract.odcs import from_odcs
from airflow_secure_provider.model import Protection
from sandbox.making import DATABASE, LAKE
from sandbox.marquez import Marquez

NAMESPACE = "demo"
TABLES = {"customers": "crm.customers", "analytics": "analytics.customers", "orders": "crm.orders"}

Result = tuple[bool, str]


def hops(marquez: Marquez, tasks: tuple[str, ...]) -> Result:
    """Each task's run has ended, with one dataset on each side, both protected."""
    problems = []
    for task in tasks:
        job = job_of(marquez, f"secure_customers.{task}")
        state = job["latestRun"]["state"]
        if state != "COMPLETED":
            problems.append(f"{task} is {state}")
        for side in ("inputs", "outputs"):
            found = [marquez.dataset(each["namespace"], each["name"]) for each in job[side]]
            statuses = [each["facets"]["secureProvider_encryption"]["status"] for each in found]
            if statuses != ["protected"]:
                problems.append(f"{task} {side}: {statuses}")
    return not problems, "; ".join(
        problems
    ) or f"{len(tasks)} runs completed, {2 * len(tasks)} ends protected"


def graph(marquez: Marquez, postgres_namespace: str, day: str) -> Result:
    """From the share back to the object in S3."""
    found = nodes(marquez, postgres_namespace, table("analytics"))
    wanted = {
        f"dataset:s3://{LAKE}:customers/{day}.csv",
        f"job:{NAMESPACE}:secure_customers.load_customers",
        f"dataset:{postgres_namespace}:{table('customers')}",
        f"job:{NAMESPACE}:secure_customers.share",
        f"dataset:{postgres_namespace}:{table('analytics')}",
    }
    missing = sorted(wanted - found)
    return (
        not missing,
        f"missing: {', '.join(missing)}" if missing else f"{len(found)} nodes from S3 to the share",
    )


def columns(marquez: Marquez, postgres_namespace: str, contracts: Path) -> Result:
    """Each column has its edge, marked as masked where the contract protects it, and only there."""
    problems, counted, masked = [], 0, 0
    for contract in TABLES:
        edges = edges_of(marquez, postgres_namespace, table(contract))
        text = (contracts / f"{contract}.odcs.yaml").read_bytes()
        for rule in from_odcs(text, f"{contract}.odcs.yaml", TABLES[contract]).rules:
            if rule.protection is Protection.DROP:
                continue
            wanted = "IDENTITY" if rule.protection is Protection.NONE else "MASKED"
            got = edges.get(rule.name)
            counted, masked = counted + 1, masked + (got == "MASKED")
            if got != wanted:
                problems.append(f"{TABLES[contract]}.{rule.name} is {got}, expected {wanted}")
    return not problems, "; ".join(problems[:5]) or f"{counted} columns with edges, {masked} of them masked"


def table(contract: str) -> str:
    return f"{DATABASE}.{TABLES[contract]}"


def job_of(marquez: Marquez, name: str) -> dict[str, Any]:
    found: dict[str, Any] = marquez.get(f"/namespaces/{NAMESPACE}/jobs/{quote(name, safe='')}")
    return found


def nodes(marquez: Marquez, namespace: str, name: str) -> set[str]:
    """Ids of all that is connected with a dataset."""
    found: Mapping[str, Any] = marquez.get("/lineage", nodeId=f"dataset:{namespace}:{name}")
    return {each["id"] for each in found["graph"]}


def edges_of(marquez: Marquez, namespace: str, name: str) -> dict[str, str]:
    """By column that something flows into: the kind of its edges, as Marquez shows it."""
    found: Mapping[str, Any] = marquez.get("/column-lineage", nodeId=f"dataset:{namespace}:{name}")
    return {
        node["data"]["field"]: node["data"]["transformationType"]
        for node in found["graph"]
        if (node["data"]["namespace"], node["data"]["dataset"]) == (namespace, name)
        and node["data"]["inputFields"]
    }

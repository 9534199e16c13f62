"""The page that ``make demo`` ends with."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from airflow_secure_provider.contract.odcs import from_odcs
from sandbox.checks import TASKS, Check, Seen, completions


def show(console: Console, seen: Seen, results: list[Check]) -> None:
    completed = completions(seen)
    _rows(console, seen)
    _columns(console, seen)
    _hops(console, completed)
    _anonymity(console, seen)
    _leases(console, seen, completed)
    _timings(console, seen)
    _checks(console, results)
    console.print(
        "\n[bold]Next[/]\n"
        "  The DAG you have just run       dags/secure_customers.py, its contracts in dags/contracts/\n"
        "  Use it on your own servers      README.md; Vault: docs/howto/vault.md\n"
        "  What is promised, and what not  docs/explanation/guarantees.md\n"
        "  Run the tests                   make test",
        highlight=False,
    )


def _rows(console: Console, seen: Seen) -> None:
    names = ("id", "last_name", "email", "card", "birth_date", "postcode")
    shown = Table(
        title="Three customers: in the source, in crm, in analytics", title_justify="left", show_lines=False
    )
    shown.add_column("where", no_wrap=True, min_width=9)
    whole = {"id": 5, "card": 16, "postcode": 8}  # what tells most must not be cut
    for name in names:
        least = whole.get(name, 4)
        shown.add_column(name, overflow="ellipsis", no_wrap=True, min_width=least, max_width=max(least, 14))
    crm = seen.query(f"SELECT {', '.join(names)} FROM crm.customers ORDER BY id LIMIT 3")
    share = {
        row[0]: row
        for row in seen.query(
            "SELECT id, email, card, birth_date, postcode FROM analytics.customers ORDER BY id LIMIT 3"
        )
    }
    for customer, row in zip(seen.customers, crm, strict=False):
        shown.add_row("source", *(_cell(getattr(customer, name)) for name in names))
        shown.add_row("crm", *map(_cell, row))
        if customer.id not in share:
            shown.add_row("analytics", "left out", end_section=True)
            continue
        number, email, card, born, postcode = share[customer.id]
        shown.add_row(
            "analytics",
            _cell(number),
            "—",
            _cell(email),
            _cell(card),
            _cell(born),
            _cell(postcode),
            end_section=True,
        )
    console.print()
    console.print(shown)


def _columns(console: Console, seen: Seen) -> None:
    shown = Table(title="Each column of crm.customers, and why", title_justify="left")
    for name in ("column", "class", "protection", "why"):
        shown.add_column(name)
    contract = from_odcs((seen.contracts / "customers.odcs.yaml").read_bytes(), "customers", "crm.customers")
    for rule in contract.rules:
        why = f"contract {contract.ref.id} {contract.ref.version}"
        if rule.classification == "restricted":
            why += "; restricted must be protected"
        extra = f", domain {rule.domain}" if rule.protection == "tokenize" else ""
        shown.add_row(rule.name, str(rule.classification), f"{rule.protection}{extra}", why)
    console.print(shown)


def _hops(console: Console, completed: dict[str, dict[str, Any]]) -> None:
    shown = Table(title="Encryption of each hop, from its lineage event", title_justify="left")
    for name in ("task", "dataset", "status", "at rest (evidence)", "in transit (evidence)"):
        shown.add_column(name, overflow="fold")
    for task in TASKS:
        for side in ("inputs", "outputs"):
            for dataset in completed.get(task, {}).get(side, []):
                facet = dataset["facets"]["secureProvider_encryption"]
                rest, transit = facet["atRest"], facet["inTransit"]
                verified = "peer verified" if transit.get("peerVerified") else "peer not verified"
                shown.add_row(
                    f"{task} {'from' if side == 'inputs' else 'to'}",
                    dataset["name"],
                    facet["status"],
                    f"{rest['scheme']} ({rest['evidence']})",
                    f"{transit.get('protocol')}, {verified} ({transit['evidence']})",
                )
    console.print(shown)
    console.print(
        "[dim]The sandbox's database is 'declared' encrypted only to show how a declaration looks: nothing checks it, "
        "and lineage says so.[/]"
    )


def _anonymity(console: Console, seen: Seen) -> None:
    reached = seen.airflow.xcoms("secure_customers", seen.run_id, "share")["return_value"]["anonymity"]
    steps = ", ".join(f"{name} by {level}" for name, level in reached["levels"].items() if level) or "nothing"
    console.print(
        f"How alike the persons of the share are: at least [bold]{reached['k']}[/] in each of {reached['classes']:,} classes of "
        f"{' and '.join(reached['quasi_identifiers'])} (k={reached['required']['k']} required); {reached['suppressed']:,} rows left "
        f"out, made coarser: {steps}",
        highlight=False,
    )


def _leases(console: Console, seen: Seen, completed: dict[str, dict[str, Any]]) -> None:
    shown = Table(title="The leases of the database credential", title_justify="left")
    for name in ("task", "role", "lease (hashed)", "issued", "TTL", "now"):
        shown.add_column(name)
    states = {
        lease["lease_id"]: lease["state"] for lease in seen.world.vault.leases("database/creds/crm-loader")
    }
    ended = "revoked" if all(state == "revoked" for state in states.values()) else "see the failed check"
    for task in TASKS:
        facet = completed.get(task, {}).get("run", {}).get("facets", {}).get("secureProvider_credentials", {})
        for credential in facet.get("credentials", []):
            shown.add_row(
                task,
                credential["role"],
                credential["leaseIdSha256"][:16],
                credential["issuedAt"][11:19],
                f"{credential['ttlSeconds']} s",
                ended,
            )
    console.print(shown)


def _timings(console: Console, seen: Seen) -> None:
    shown = Table(title="Timings, from each task's report (XCom)", title_justify="left")
    for name in ("task", "rows", "seconds", "rows/s", "where the time went"):
        shown.add_column(name)
    for task in TASKS:
        report = seen.airflow.xcoms("secure_customers", seen.run_id, task)["return_value"]
        steps = ", ".join(
            f"{step} {seconds:.2f} s" for step, seconds in report["timings"].items() if seconds >= 0.005
        )
        shown.add_row(
            task, f"{report['rows']:,}", f"{report['seconds']:.2f}", f"{report['rows_per_second']:,}", steps
        )
    console.print(shown)
    console.print(
        f"[dim]Lineage events were in {seen.world.events.name}: {len(seen.world.events.read_text().splitlines())} of them[/]"
    )


def _checks(console: Console, results: list[Check]) -> None:
    shown = Table(title="Checks", title_justify="left")
    shown.add_column("")
    shown.add_column("check")
    shown.add_column("seen", overflow="fold")
    for check in results:
        shown.add_row("[green]✓[/]" if check.passed else "[bold red]✗[/]", check.name, Text(check.saw))
    console.print(shown)


def _cell(value: object) -> Text:
    if value is None:
        return Text("null", style="dim")
    if isinstance(value, (bytes, memoryview)):
        return Text("\\x" + bytes(value).hex())
    return Text(str(value))

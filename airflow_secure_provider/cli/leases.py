"""``airflow-secure leases``."""

from __future__ import annotations

from pathlib import Path

import click

from .io import logs_apart


@click.group()
def leases() -> None:
    """What Vault has lent to tasks of this machine."""


@leases.command("sweep")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where tasks note their leases; [secure_provider] lease_journal by default.",
)
@click.option("--dry-run", is_flag=True, help="Only count; nothing is asked of Vault.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def sweep_leases(folder: Path | None, dry_run: bool, as_json: bool) -> None:
    """Revoke what killed tasks of this machine have left, instead of waiting for its TTL.

    Run it on each worker, as the user that tasks run as, every few minutes. Ends with status 1 if something could not be
    revoked.
    """
    import json

    from ..errors import ConfigurationError
    from ..inspection.sweep import sweep
    from ._backend import journal_folder, vault_access

    with logs_apart() as say:
        access = None if dry_run else vault_access()
        if access is None and not dry_run:
            raise ConfigurationError(
                "Airflow's configuration has no VaultSecretsBackend, whose login would revoke; see [secrets] backend"
            )
        report = sweep(folder or journal_folder(), access)
        if access is not None:
            access.close()
        if as_json:
            say(json.dumps({"counts": dict(report.counts), "failures": report.failures}))
        else:
            names = {"left": "to revoke"}
            words = [f"{number} {names.get(what, what)}" for what, number in sorted(report.counts.items())]
            say("leases of tasks that no longer run: " + (", ".join(words) or "none"))
            for url in sorted(report.elsewhere):
                click.echo(f"not asked, since it is not the configured Vault: {url}", err=True)
            for line in report.failures:
                click.echo(f"not revoked: {line}", err=True)
    if report.failures:
        raise SystemExit(1)

"""``airflow-secure lineage``."""

from __future__ import annotations

from typing import Any

import click

from .io import logs_apart


@click.group()
def lineage() -> None:
    """Lineage events that wait for their server."""


@lineage.command("flush")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def flush_events(as_json: bool) -> None:
    """Send what waits in the spool of [openlineage] transport, in the order of each run.

    Ends with status 1 if something still waits.
    """
    import json

    with logs_apart() as say:
        transport = _transport()
        flushed = transport.flush()
        dropped = transport.spool.dropped()
        facts = {
            "taken": flushed.taken,
            "rejected": flushed.rejected,
            "left": flushed.left,
            "dropped": dropped,
        }
        if as_json:
            say(json.dumps(facts))
        else:
            say(
                f"{flushed.taken} events sent, {flushed.left} still wait"
                + (
                    f", {flushed.rejected} refused for good (see {transport.spool.folder}/rejected)"
                    if flushed.rejected
                    else ""
                )
                + (f"; {dropped} dropped before, for want of room" if dropped else "")
            )
    if flushed.left:
        raise SystemExit(1)


def _transport() -> Any:
    import json

    from airflow.sdk.configuration import conf

    from ..errors import ConfigurationError
    from ..lineage.transport import transport_of

    text = conf.get("openlineage", "transport", fallback="")
    if not text:
        raise ConfigurationError("[openlineage] transport is not set, so there is no spool")
    try:
        configured = json.loads(text)
    except ValueError:
        raise ConfigurationError("[openlineage] transport is not JSON") from None
    return transport_of(configured)

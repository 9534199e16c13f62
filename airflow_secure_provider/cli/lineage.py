"""``airflow-secure lineage``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from .io import logs_apart


@click.group()
def lineage() -> None:
    """Which dataset came from which; and events that wait for their server."""


@lineage.command("flush")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def flush_events(as_json: bool) -> None:
    """Send what waits in the spool of [openlineage] transport, in the order of each run.

    Stops at the first that the server does not take now, and ends then with status 1.
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


@lineage.command("setup")
@click.option("--http", "url", metavar="URL", help="A lineage server: https://host:port.")
@click.option("--marquez", metavar="URL", help="Marquez, which gets events that it can carry.")
@click.option("--kafka", "servers", metavar="HOST:PORT,…", help="Kafka's bootstrap servers; takes --topic.")
@click.option("--topic", help="Of Kafka.")
@click.option("--file", "log_file", metavar="PATH", help="A file, an event a line.")
@click.option(
    "--spool", required=True, metavar="FOLDER", help="Where events wait; on a disk that outlives tasks."
)
@click.option(
    "--write", "cfg", type=click.Path(path_type=Path, dir_okay=False), help="Set it in this airflow.cfg."
)
def set_up_lineage(
    url: str | None,
    marquez: str | None,
    servers: str | None,
    topic: str | None,
    log_file: str | None,
    spool: str,
    cfg: Path | None,
) -> None:
    """Print what airflow.cfg needs for lineage, or set it there; then `airflow-secure check` tries it.

    Secrets are not for the command line: put them into the section afterwards.
    """
    from ..errors import ConfigurationError
    from ..lineage.setup import as_section, settings, written_into
    from .io import replace_file

    if sum(map(bool, (url, marquez, servers, log_file))) != 1 or bool(servers) != bool(topic):
        raise click.UsageError(
            "give one of --http URL, --marquez URL, --kafka SERVERS with --topic, and --file PATH"
        )
    url = url or marquez
    if url and not re.match(r"https?://[^/]", url):
        raise click.UsageError(f"{url}: expected a URL such as https://host:port")
    inner: dict[str, Any] = {"type": "file", "log_file_path": log_file, "append": True}
    if url:
        if not url.startswith("https://"):
            click.echo("over plaintext http, names of tables and columns pass in the clear", err=True)
        inner = {"type": "http", "url": url}
    elif servers:
        inner = {"type": "kafka", "topic": topic, "config": {"bootstrap.servers": servers}}
    options = settings(inner, spool, "marquez" if marquez else None)
    if cfg is None:
        click.echo(as_section(options), nl=False)
        return
    try:
        text = cfg.read_text(encoding="utf-8")
    except FileNotFoundError:  # Airflow writes none, with its secrets, where there is one
        raise ConfigurationError(
            f"{cfg} is not there: name the file that Airflow reads, $AIRFLOW_HOME/airflow.cfg; a new Airflow writes it "
            "with `airflow db migrate`. If environment variables say all the rest, make an empty one"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{cfg} can't be read: {error.strerror}") from None
    replace_file(cfg, written_into(text, options))
    click.echo(f"{cfg}: [openlineage] transport and extractors are set; now `airflow-secure check`")
    for name in sorted({f"AIRFLOW__OPENLINEAGE__{option.upper()}" for option in options} & set(os.environ)):
        click.echo(f"{name} is set and goes before the file: unset it", err=True)


@lineage.command("show")
@click.argument("dataset")
@click.option(
    "--events",
    "places",
    metavar="FILE|s3://…",
    multiple=True,
    help="A file or object with an OpenLineage event a line; s3://bucket/folder/ for all below it. Once for each.",
)
@click.option(
    "--aws-conn-id", default="aws_default", show_default=True, help="For S3: an Airflow connection."
)
@click.option("--marquez", metavar="URL", help="Out of this Marquez; a token for a proxy in MARQUEZ_TOKEN.")
@click.option(
    "--upstream",
    "direction",
    flag_value="upstream",
    default="upstream",
    help="Where it came from (the default).",
)
@click.option("--downstream", "direction", flag_value="downstream", help="Where it went.")
@click.option("--as-of", metavar="TIME", help="What was known then, such as 2026-11-21T12:00:00Z.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "mermaid"]), default="table", show_default=True
)
def show_lineage(
    dataset: str,
    places: tuple[str, ...],
    aws_conn_id: str,
    marquez: str | None,
    direction: str,
    as_of: str | None,
    form: str,
) -> None:
    """The hops that lead to DATASET, and how each end was protected.

    DATASET is a namespace and a name with a slash between them, such as s3://bucket/key, or a name that only one has.
    """
    import json

    from ..lineage.classes import column_classes
    from ..lineage.drawing import mermaid
    from ..lineage.graph import parse_time, read
    from .lineage_events import lines_of_marquez

    if bool(places) == bool(marquez):
        raise click.UsageError("give one of --events FILE and --marquez URL")
    until = parse_time(as_of.replace("Z", "+00:00")) if as_of else None
    with logs_apart():
        chosen = lines_of_marquez(marquez, until) if marquez else _lines(places, aws_conn_id)
        graph = read(chosen)
    if graph.skipped:
        click.echo(f"{graph.skipped} lines are no events, and were skipped", err=True)
    hops = graph.walk(graph.find(dataset), upstream=direction == "upstream", as_of=until)
    classes = column_classes(graph.hops(until))
    if form == "json":
        click.echo(json.dumps([_as_dict(hop, classes) for hop in hops], indent=2))
    elif form == "mermaid":
        click.echo(mermaid(hops))
    elif not hops:
        click.echo(f"nothing is {direction} of it")
    else:
        _print_table(hops, classes)


def _lines(places: tuple[str, ...], aws_conn_id: str) -> Iterator[str]:
    from .lineage_events import lines_of

    for place in places:
        yield from lines_of(place, aws_conn_id)


def _as_dict(hop: Any, classes: Any) -> dict[str, Any]:
    from ..lineage.classes import strictest, warnings

    told: dict[str, Any] = hop.as_dict()
    for side, end in (("source", hop.source), ("target", hop.target)):
        told[side]["class"] = strictest(classes, end.uri)
        told[side]["warnings"] += warnings(classes, end.uri)
    return told


def _print_table(hops: list[Any], classes: Any) -> None:
    from ..lineage.classes import strictest, warnings

    for hop in hops:
        click.echo(f"{hop.at:%Y-%m-%d %H:%M:%S}  {_plain(hop.job)}")
        for arrow, end in (("from", hop.source), ("to", hop.target)):
            colour = {"protected": "green", "exposed": "red"}.get(end.status, "yellow")
            status = click.style(f"{end.status:9}", fg=colour)
            click.echo(
                f"  {arrow:5}{status}  {_plain(end.uri)}\n{'':18}at rest {end.at_rest}; in transit {end.in_transit}; "
                f"columns up to {strictest(classes, end.uri) or 'unknown'}"
            )
            for warning in dict.fromkeys([*end.warnings, *warnings(classes, end.uri)]):
                click.echo(f"{'':18}{click.style('!', fg='red')} {_plain(warning)}")
        if hop.masked:
            click.echo(f"{'':18}masked: {_plain(', '.join(hop.masked))}")


def _plain(text: str) -> str:
    """A name may hold line breaks and the terminal's own commands."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


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

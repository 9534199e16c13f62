"""``airflow-secure scan``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from .io import expect_new, logs_apart, new_file, open_

if TYPE_CHECKING:
    from ..discovery.judging import Finding
    from ..inspection.scan import Columns, Scan
    from ..model import AtRest
    from ..stores.formats import FileFormat

_CLASSES = click.Choice(["public", "internal", "confidential", "restricted"])
_COLOURS = {"found": "red", "ask": "yellow", "nothing": "green"}
_LEFT_TO_THE_AUTHOR = 3
_TABLE = re.compile(r'("[^"]+"|\w+)(\.("[^"]+"|\w+))?')


@click.command("scan")
@click.argument("source", metavar="FILE|s3://…|TABLE")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the contract goes (default: standard output)."
)  # fmt: skip
@click.option("--name", help="Of the dataset (default: of the file or table).")
@click.option(
    "--format", "read_as", type=click.Choice(["csv", "jsonl", "parquet"]), help="(default: by the ending)."
)
@click.option("--delimiter", help="Of a CSV, if not a comma.")
@click.option("--encoding", help="Of a CSV, if not UTF-8; as Python names it, such as cp1252.")
@click.option(
    "--no-header", is_flag=True, help="A CSV begins with its first record; columns are column_1, …."
)
@click.option("--conn-id", help="SOURCE is a table: an Airflow connection to its PostgreSQL.")
@click.option(
    "--database", metavar="CONNINFO", help="The same without Airflow. Leave the password to PGPASSFILE."
)
@click.option("--set-role", metavar="ROLE", help="The role to read the table as.")
@click.option(
    "--aws-conn-id", default="aws_default", show_default=True, help="For S3: an Airflow connection."
)
@click.option("--rows", type=click.IntRange(1), help="Look at the first so many only.")
@click.option("--assume", type=_CLASSES, help="The class of columns that are asked about.")
@click.option("--default", type=_CLASSES, help="The class of columns in which nothing was found.")
@click.option("--json", "as_json", is_flag=True, help="The findings, for machines, instead of a contract.")
def scan(
    source: str,
    output: Path | None,
    name: str | None,
    rows: int | None,
    assume: str | None,
    default: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Look for personal data, and propose a contract (ODCS) with classes, protections and the evidence for each.

    SOURCE is a CSV, JSON Lines or Parquet file, an S3 object, or, with --conn-id or --database, a table. No value is shown
    or kept. Columns that are asked about, and those in which nothing was found, get no class unless --assume and --default
    say one: no load takes the contract before you do. Ends with status 3 if such columns are left.
    """
    from ..inspection.scan import Words, proposal
    from ..inspection.scan import scan as run
    from ..model import Classification

    if output is not None:
        expect_new(output)  # before all is read
    asked = _Asked(source, **given)
    words = Words(Classification(assume) if assume else None, Classification(default) if default else None)
    with logs_apart() as say:
        with asked.open() as opened:
            done = run(opened, source, rows)
            if done.whole and hasattr(opened, "finish"):
                opened.finish()  # nothing is said of what does not authenticate
        body, left = proposal(done, name or asked.name, asked.physical, words)
        text = _json(done, left) if as_json else _yaml(body)
        if output is None:
            say(text.rstrip("\n"))
        else:
            with new_file(output, 0o644) as out:
                out.write(text.encode())
        _report(done, left)
    if left:
        raise SystemExit(_LEFT_TO_THE_AUTHOR)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Where the rows are."""

    source: str
    read_as: str | None
    delimiter: str | None
    encoding: str | None
    no_header: bool
    conn_id: str | None
    database: str | None
    set_role: str | None
    aws_conn_id: str

    @property
    def _is_table(self) -> bool:
        if self.conn_id and self.database:
            raise click.UsageError("give one of --conn-id and --database")
        return bool(self.conn_id or self.database)

    @property
    def name(self) -> str:
        if self._is_table:
            return self.source.replace('"', "") if '"' in self.source else self.source.lower()
        stem = Path(self.source.removeprefix("s3://")).name.partition(".")[0]
        return re.sub(r"[^\w\-]+", "-", stem) or "dataset"

    @property
    def physical(self) -> str | None:
        """As the registry of contracts knows it: PostgreSQL's own spelling, without quotes."""
        if self._is_table:
            from ..stores.postgres import TableName

            table = TableName.parse(self.source)
            return str(table) if "." in self.source else table.table
        return self.source if self.source.startswith("s3://") else None

    @contextmanager
    def open(self) -> Iterator[Columns]:
        if self._is_table:
            with self._table() as opened:
                yield opened
            return
        if not self.no_header:
            with self._file(True, ()) as opened:
                yield opened
            return
        with self._file(True, ()) as first:  # how many columns there are
            names = [f"column_{number}" for number, _ in enumerate(first.columns, 1)]
        with self._file(False, names) as opened:
            yield opened

    @contextmanager
    def _file(self, header: bool, names: Any) -> Iterator[Columns]:
        from ..errors import ConfigurationError
        from ..objects.compression import Decompressed
        from ..stores.csv_dialect import CsvDialect
        from ..stores.files import open_reader
        from ..stores.formats import Compression, FileFormat

        said = {"delimiter": self.delimiter, "encoding": self.encoding}
        dialect = CsvDialect.of({"header": header} | {name: value for name, value in said.items() if value})
        if self.source.startswith("s3://"):
            with self._object(dialect, names) as opened:
                yield self._split(opened, FileFormat.of_key(self.source))
            return
        path = Path(self.source)
        if _TABLE.fullmatch(self.source) and not path.exists() and not FileFormat.known(path):
            raise click.UsageError(
                f"there is no file {self.source}; of a table say --conn-id or --database too"
            )
        with open_(path) as file:
            codec = Compression.of_key(path.name)
            kind = FileFormat.of(path.with_suffix("") if codec else path, self.read_as)
            if codec and kind is FileFormat.PARQUET:
                raise ConfigurationError(f"{path}: Parquet is compressed inside; unpack the file first")
            content = Decompressed(_Plain(file), codec.value, self.source) if codec else file
            yield self._split(open_reader(content, self.source, kind, {}, dialect, names), kind)

    def _split(self, opened: Columns, kind: FileFormat) -> Columns:
        """With the wrong delimiter a CSV is one column wide, of which nothing could be said."""
        from ..errors import FormatError

        (only, *more) = opened.columns or [""]
        found = next((each for each in ";\t|" if each in only), None)
        if found and not more and not self.delimiter and (self.read_as or kind) == "csv":
            shown = "$'\\t'" if found == "\t" else f"'{found}'"
            raise FormatError(
                f"{self.source}: its header is one column, with {shown} in it; if that stands between columns, "
                f"say --delimiter {shown} (or --delimiter , if it does not)"
            )
        return opened

    @contextmanager
    def _object(self, dialect: Any, names: Any) -> Iterator[Columns]:
        from ..errors import ContractError
        from ..model import Classification, ColumnRule, Protection
        from ..stores.formats import FileFormat
        from ..transfer import S3Source
        from .aws import client

        def kms(arn: str) -> Any:
            parts = arn.split(":")
            return client(self.aws_conn_id, "kms", parts[3] if len(parts) > 3 else None)

        kind = FileFormat(self.read_as) if self.read_as else None
        there = S3Source(client(self.aws_conn_id, "s3"), kms, self.source, kind=kind, dialect=dialect)
        if there.transport_ahead.protocol == "none":
            raise ContractError(f"{self.source} would be read over plaintext http; use an https endpoint")
        rules = [ColumnRule(name, Classification.RESTRICTED, Protection.NONE) for name in names]
        with closing(there.open({}, rules)) as opened:
            yield opened

    @contextmanager
    def _table(self) -> Iterator[Columns]:
        from ..errors import ContractError
        from ..transfer import PostgresSource

        with closing(PostgresSource(self._connect, self.source, self.set_role).open({})) as opened:
            seen = opened.status.in_transit
            if seen.protocol == "none":
                raise ContractError(
                    f"{self.source}: the connection is not encrypted, and nobody knows what the table holds: "
                    "use sslmode=verify-full"
                )
            yield opened

    def _connect(self) -> Any:
        if self.conn_id:
            from airflow.sdk.exceptions import AirflowNotFoundException

            from ..connections import connect_postgres
            from ..errors import ConfigurationError

            try:
                return connect_postgres(self.conn_id)
            except AirflowNotFoundException:
                raise ConfigurationError(
                    f"there is no connection {self.conn_id!r}: define it in Airflow, or as AIRFLOW_CONN_{self.conn_id.upper()}"
                ) from None
        import psycopg

        return psycopg.connect(self.database or "")


@dataclass(frozen=True, slots=True)
class _Plain:
    """A local file, as what inflates objects takes it."""

    file: IO[bytes]

    @property
    def at_rest(self) -> AtRest:
        from ..model import AtRest

        return AtRest()

    def read(self, size: int, /) -> bytes:
        return self.file.read(size)

    def finish(self) -> None:
        """Nothing authenticates it."""


def _yaml(body: Any) -> str:
    import yaml

    names = "".join(each["name"] for each in body["schema"][0]["properties"])
    # What steers a terminal or turns the direction of text is escaped.
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=names.isprintable(), width=120)


def _json(done: Scan, left: list[str]) -> str:
    import json

    return json.dumps(
        {
            "rows": done.rows,
            "whole": done.whole,
            "undecided": left,
            "columns": [_as_dict(each) for each in done.findings],
        },
        indent=2,
    )


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.column,
        "verdict": finding.verdict,
        "kind": finding.kind,
        "by_name": finding.hinted,
        "evidence": [each.as_dict() for each in finding.evidence],
        "why": finding.why,
    }


def _report(done: Scan, left: list[str]) -> None:
    """For people, beside the contract."""
    names = [_shown(each.column) for each in done.findings]
    width = max(map(len, names), default=0)
    for each, name in zip(done.findings, names, strict=True):
        verdict = click.style(f"{each.verdict:8}", fg=_COLOURS[each.verdict])
        kind = f"{each.kind}: " if each.kind else ""
        click.echo(f"{verdict}{name:{width}}  {kind}{each.words}".rstrip(), err=True)
    part = "" if done.whole else " (the first ones only)"
    todo = ": give each a classification in the contract" if left else ""
    click.echo(
        f"{done.rows:,} rows{part}; {len(left)} of {len(done.findings)} columns are left to you{todo}",
        err=True,
    )


def _shown(name: str) -> str:
    """A column's name may be made to steer a terminal."""
    return name if name.isprintable() else ascii(name)

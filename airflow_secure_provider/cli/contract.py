"""``airflow-secure contract``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .io import new_file, read

if TYPE_CHECKING:
    from ..contract.imports.foreign import Imported

_CLASSES = click.Choice(["public", "internal", "confidential", "restricted"])
_LEFT_TO_THE_AUTHOR = 3


@click.group()
def contract() -> None:
    """Contracts out of other catalogs."""


@contract.command("import")
@click.option("--dbt", metavar="FILE", help="manifest.json or schema.yml: tags and meta of columns.")
@click.option("--datahub", metavar="FILE", help="A JSON export: tags and glossary terms of fields.")
@click.option(
    "--openmetadata", metavar="FILE", help="Tables as its API gives them, in JSON: tags of columns."
)
@click.option(
    "--ranger", metavar="FILE", multiple=True, help="Tags of resources, tag policies; once for each file."
)
@click.option(
    "--map", "maps", metavar="TAG=CLASS[:PROTECTION]", multiple=True, help="What a tag means; once for each."
)
@click.option(
    "--ignore", "ignored", metavar="TAG", multiple=True, help="Says nothing of the class; once for each."
)
@click.option("--dataset", "datasets", metavar="NAME", multiple=True, help="Only this one; once for each.")
@click.option(
    "--default", type=_CLASSES, help="The class of columns without tags, or with ignored ones only."
)
@click.option("--id", "contract_id", default="imported", show_default=True, help="Of the contract.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="(default: standard output)."
)
def import_contract(
    dbt: str | None,
    datahub: str | None,
    openmetadata: str | None,
    ranger: tuple[str, ...],
    maps: tuple[str, ...],
    ignored: tuple[str, ...],
    datasets: tuple[str, ...],
    default: str | None,
    contract_id: str,
    output: Path | None,
) -> None:
    """Make a contract (ODCS) of what another catalog says of columns.

    What a tag means is yours to say, with --map: nothing is guessed. What is not mapped is listed on standard error, and a
    column without a class is one that no load takes. Ends with status 3 if anything is left.
    """
    import yaml

    from ..contract.imports.foreign import Imported
    from ..contract.imports.mapping import Meaning, contract_document
    from ..model import Classification

    given = {"dbt": dbt, "datahub": datahub, "openmetadata": openmetadata}
    chosen = [(kind, file) for kind, file in given.items() if file] + [("ranger", file) for file in ranger]
    if not chosen or len({kind for kind, _ in chosen}) > 1:
        raise click.UsageError("give one of --dbt, --datahub, --openmetadata and --ranger")
    meanings = dict(map(Meaning.parse, maps))
    parts = [_read(kind, file) for kind, file in chosen]
    imported = Imported(
        tuple(each for part in parts for each in part.datasets if not datasets or each.name in datasets),
        {tag: protection for part in parts for tag, protection in part.protections.items()},
        tuple(words for part in parts for words in part.left),
    )
    body, left = contract_document(
        imported, contract_id, meanings, Classification(default) if default else None, ignored
    )
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)
    _check(body, text)
    if output is None:
        click.echo(text, nl=False)
    else:
        with new_file(output, 0o644) as out:
            out.write(text.encode())
    for words in left:
        click.echo(words, err=True)
    if left:
        raise SystemExit(_LEFT_TO_THE_AUTHOR)


def _read(kind: str, file: str) -> Imported:
    from ..contract.imports.datahub import read_datahub
    from ..contract.imports.dbt import read_dbt
    from ..contract.imports.openmetadata import read_openmetadata
    from ..contract.imports.ranger import read_ranger

    readers = {
        "dbt": read_dbt,
        "datahub": read_datahub,
        "openmetadata": read_openmetadata,
        "ranger": read_ranger,
    }
    return readers[kind](read(Path(file)), file)


def _check(body: dict[str, Any], text: str) -> None:
    """What is complete must also be a contract that loads take: a restricted column needs a protection."""
    from ..contract.odcs import from_odcs
    from ..errors import ConfigurationError

    if not body["schema"]:
        raise ConfigurationError("there is no such dataset in it, or none with columns")
    for each in body["schema"]:
        if each["properties"] and all("classification" in column for column in each["properties"]):
            from_odcs(text, "imported", each["name"])

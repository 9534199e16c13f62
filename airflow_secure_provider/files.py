"""A local file through its contract: protect every column as its rule says, or reveal what can be revealed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import pyarrow as pa

from .contract.contract import Contract, names_some
from .crypto.keyset import Keyset
from .errors import ConfigurationError, ContractError
from .model import ColumnRule, ColumnStatus, Protection
from .protection.conversion import LOGICAL, convert
from .protection.plan import ColumnStep, fit, plan
from .protection.reversible import as_bytes
from .stores.csv_dialect import CsvDialect
from .stores.files import Writable, Writer, json_types, open_reader, open_writer
from .stores.formats import FileFormat


def protect_file(
    source: IO[bytes],
    out: IO[bytes],
    contract: Contract,
    keyset: Keyset | None,
    *,
    where: str,
    read_as: FileFormat,
    write_as: FileFormat,
    extra_columns: str = "refuse",
    key_version: int | None = None,
    dialect: CsvDialect | None = None,
) -> int:
    """Protect a file. Dropped columns are left out, unprotected ones stay as they are.

    :param keyset: may be ``None`` if no column is keyed.
    :param key_version: of deterministic protections; the newest by default.
    :param dialect: how a CSV that is read is written; by default with commas, in UTF-8.
    :return: the number of rows.
    :raises SecureProviderError: what was written until then is incomplete.
    """
    reader = open_reader(source, where, read_as, json_types(contract.rules), dialect)
    rules = contract.match(reader.columns, where, extra_columns=extra_columns)
    steps = plan(rules, keyset, versions=_fixed(rules, key_version))
    return _through(reader.batches(), steps, out, write_as, where, stored)


def reveal_file(
    source: IO[bytes],
    out: IO[bytes],
    rules: Sequence[ColumnRule],
    keyset: Keyset,
    *,
    where: str,
    read_as: FileFormat,
    write_as: FileFormat,
    key_version: int | None = None,
) -> int:
    """Give back the values of reversibly protected columns; all others stay as they are.

    The file may hold any of the rules' columns.

    :param key_version: under which ``fpe`` columns were protected, which their values do not say; the newest by default.
    :return: the number of rows.
    :raises ContractError: if a column is not in the contract: then nobody knows what it holds.
    :raises DecryptionError: and no row of the batch is given.
    """
    known = {rule.name: rule for rule in rules}
    reader = open_reader(source, where, read_as, _protected_json_types(rules))
    columns = reader.columns
    unknown = [name for name in columns if name not in known]
    if unknown:
        if not names_some(columns, known):
            raise ContractError(
                f"{where}: none of the {len(columns)} names in its header is a column of the contract; is there a header?"
            )
        raise ContractError(
            f"{where}: column {unknown[0]!r} is not in the contract; name its dataset, or add the column"
        )
    several = len(keyset.versions) > 1 and key_version is None
    formatted = [name for name in columns if known[name].protection is Protection.FPE]
    if formatted and several:
        raise ConfigurationError(
            f"{where}: column {formatted[0]!r} is fpe, whose values don't say their key version, and keyset {keyset.id!r} has "
            f"{', '.join(map(str, keyset.versions))}: name it with --key-version"
        )
    states = {
        name: _recorded(known[name], keyset, key_version)
        for name in columns
        if known[name].protection.reversible
    }
    steps = plan([_open_rule(known[name]) for name in columns], None, states, keyset)
    return _through(reader.batches(), steps, out, write_as, where, _revealed)


def _through(
    batches: Iterable[Any],
    steps: Sequence[ColumnStep],
    out: IO[bytes],
    kind: FileFormat,
    where: str,
    finish: Callable[..., Any],
) -> int:
    """Nothing is written before the first batch is there."""
    made = RecordFile(out, kind, [step.rule.name for step in steps])
    try:
        for batch in _never_none(batches, steps):
            first = made.rows + 1
            columns = [step.apply(batch, first_record=first, where=where) for step in steps]
            made.write(
                [
                    finish(column, step, kind, first_record=first, where=where)
                    for column, step in zip(columns, steps, strict=True)
                ]
            )
    finally:
        made.close()
    return made.rows


class RecordFile:
    """Records into a file of a format, whose types are those of the first batch."""

    def __init__(self, out: Writable, kind: FileFormat, names: Sequence[str]) -> None:
        self._out = out
        self._kind = kind
        self._names = list(names)
        self._schema: Any = None
        self._writer: Writer | None = None
        self.rows = 0

    def write(self, columns: Sequence[Any]) -> None:
        if self._schema is not None:  # a later batch may need larger offsets, or fewer
            columns = [column.cast(field.type) for column, field in zip(columns, self._schema, strict=True)]
        batch = pa.RecordBatch.from_arrays(list(columns), names=self._names)
        if self._writer is None:
            self._schema = batch.schema
            self._writer = open_writer(self._out, self._kind, self._schema)
        self._writer.write(batch)
        self.rows += batch.num_rows

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _never_none(batches: Iterable[Any], steps: Sequence[ColumnStep]) -> Iterator[Any]:
    """A source without rows has a batch without rows, so that a file's header is written."""
    empty = True
    for batch in batches:
        empty = False
        yield batch
    if empty:
        names = {
            name
            for step in steps
            for name in (step.rule.name, *step.rule.beside, *(each.name for each in step.source_beside))
        }
        yield pa.RecordBatch.from_pylist(
            [], schema=pa.schema([(name, pa.string()) for name in sorted(names)])
        )


def stored(column: Any, step: ColumnStep, kind: FileFormat, *, first_record: int, where: str) -> Any:
    """A protected column as a file of this format holds it."""
    if step.passes and kind.holds_bytes and step.rule.protection.in_cells:
        return as_bytes(column)
    if step.rule.protection is Protection.NONE:
        return _typed(column, step.rule, kind, first_record, where)
    return fit(column, text_target=not kind.holds_bytes)


def _revealed(column: Any, step: ColumnStep, kind: FileFormat, *, first_record: int, where: str) -> Any:
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return fit(column, text_target=not kind.holds_bytes)  # what nothing reveals
    return _typed(column, step.rule, kind, first_record, where)


def _typed(column: Any, rule: ColumnRule, kind: FileFormat, first_record: int, where: str) -> Any:
    """With the type that the contract says, as text in CSV."""
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if kind is not FileFormat.CSV and not is_text:
        return column  # typed already, and perhaps more exactly than the contract can say
    wanted = pa.string() if kind is FileFormat.CSV else LOGICAL[rule.logical_type]
    what = f"a {rule.logical_type}"
    return convert(column, wanted, name=rule.name, what=what, first_record=first_record, where=where)


def _protected_json_types(rules: Sequence[ColumnRule]) -> Mapping[str, Any]:
    return {
        name: kind
        for name, kind in json_types(rules).items()
        if next(rule for rule in rules if rule.name == name).protection is Protection.NONE
    }


def _fixed(rules: Sequence[ColumnRule], version: int | None) -> dict[tuple[Protection, str], int]:
    if version is None:
        return {}
    return {(rule.protection, rule.domain): version for rule in rules if rule.domain}


def _recorded(rule: ColumnRule, keyset: Keyset, version: int | None) -> ColumnStatus:
    """How a column that its rule protected stands, as a table would have it recorded."""
    return ColumnStatus(
        rule.name,
        rule.classification,
        rule.protection,
        domain=rule.domain,
        scope=rule.scope,
        keyset_id=keyset.id,
        key_version=version or keyset.newest,
        parameters=rule.parameters,
    )


def _open_rule(rule: ColumnRule) -> ColumnRule:
    """What remains to be done with a column of a protected file: nothing, once it is revealed."""
    reversible = rule.protection.reversible
    kind = rule.logical_type if reversible or rule.protection is Protection.NONE else "string"
    return ColumnRule(rule.name, rule.classification, Protection.NONE, kind)

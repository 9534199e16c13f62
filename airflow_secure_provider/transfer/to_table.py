"""Rows into a PostgreSQL table, in one transaction with the record of them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ..contract.contract import Contract
from ..errors import ConfigurationError, StoreError, StoreUnavailable
from ..model import AtRest, DatasetStatus, Protection
from ..protection.conversion import convert
from ..protection.plan import ColumnStep, fit
from ..protection.reversible import as_bytes
from ..stores import audit, classes, create_table, manifest, postgres, staging, states, upsert
from ..stores.audit import Revealing
from ..stores.manifest import LoadKey
from ..stores.postgres import Connection, TableColumn, TableName
from ..stores.postgres_copy import CopyWriter
from ..stores.postgres_errors import postgres_failures
from ..stores.postgres_types import arrow_type, is_text, needs_text
from ..stores.postgres_values import prepared
from ..stores.states import Domain, read_domain_versions
from .pipeline import ahead
from .table_columns import differences
from .targets import Load, OpenTarget, Stored
from .verifying import verify_cells

log = logging.getLogger(__name__)
MODES = ("append", "replace", "upsert")
REPLACE_WITH = ("staging", "delete")
MOST_CELLS = 100_000
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class TableTarget:
    """A PostgreSQL table.

    :param connect: gives a new psycopg 3 connection.
    :param mode: ``append``, ``replace`` what the table holds, or ``upsert``: a row whose key is there changes it.
    :param key_columns: for ``upsert``: by which a row is known; the table has a unique index on just these.
    :param set_role: the stable owner's role to act as; a leased user owns nothing itself.
    :param replace_with: ``staging``: the rows wait in a temporary table until all are there, and then take the place of the
        others in one short transaction; or ``delete``: in one transaction from the first row to the last, which is faster.
    :param force: load although the same object has been loaded before.
    :param create_table: make the table of the contract, in the load's transaction, if it is not there.
    :param timeouts: of the session, in seconds, by PostgreSQL's names: :data:`.postgres.TIMEOUTS`.
    :param verify_cells: before the commit, look whether so many cells of each encrypted, tokenized or pseudonymized column are such.
    :param allow_insecure_transport: load although the connection is weaker than the class demands; the report shows it.
    """

    connect: Callable[[], Any] = field(repr=False)
    table: str
    mode: str = "append"
    set_role: str | None = None
    allow_insecure_transport: bool = False
    key_columns: Sequence[str] = ()
    replace_with: str = "staging"
    force: bool = False
    create_table: bool = False
    timeouts: Mapping[str, float] = field(default_factory=dict)
    verify_cells: int = 0

    @property
    def where(self) -> str:
        return self.table

    def check_words(self) -> None:
        if self.mode not in MODES:
            raise ConfigurationError(f"mode {self.mode!r}, expected one of {', '.join(MODES)}")
        if isinstance(self.key_columns, str) or bool(self.key_columns) != (self.mode == "upsert"):
            raise ConfigurationError(
                "mode='upsert' takes key_columns=, a list of the columns by which a row is known, and no other mode does"
            )
        if self.replace_with not in REPLACE_WITH:
            raise ConfigurationError(
                f"replace_with {self.replace_with!r}, expected one of {', '.join(REPLACE_WITH)}"
            )
        if isinstance(self.verify_cells, bool) or not 0 <= self.verify_cells <= MOST_CELLS:
            raise ConfigurationError(
                f"verify_cells {self.verify_cells!r}, expected a number of cells up to {MOST_CELLS:,}"
            )
        for name, seconds in self.timeouts.items():
            number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0
            if name not in postgres.TIMEOUTS or not number:
                raise ConfigurationError(
                    f"timeouts: {name!r} is {seconds!r}; it takes {', '.join(postgres.TIMEOUTS)}, in seconds"
                )
        TableName.parse(self.table)

    @contextmanager
    def open(
        self, declared: Mapping[str, AtRest], on_connection: Callable[[Connection], None]
    ) -> Iterator[OpenTarget]:
        table = TableName.parse(self.table)
        with postgres_failures(str(table)):
            raw = self.connect()
        with closing(raw):
            connection = postgres.prepare(raw)
            on_connection(connection)
            status = look_at(connection, table, declared)
            postgres.act_as(connection, self.set_role)
            postgres.limit(connection, self.timeouts)
            yield _OpenTable(connection, table, self, status)


_OF_BYTES = ("uuid", "jsonb")


def _compared_as_text(column: TableColumn, wanted: Any) -> bool:
    """Whether rows bring it as text, although the driver gives something else."""
    return column.base in _OF_BYTES or (pa.types.is_string(wanted) and not is_text(column))


def look_at(connection: Connection, table: TableName, declared: Mapping[str, AtRest]) -> DatasetStatus:
    """The target before anything is known of its columns. Before the connection takes on another role."""
    dataset = postgres.dataset(connection, table)
    return DatasetStatus(dataset, declared.get(dataset.namespace, AtRest()), postgres.observe(connection))


class _OpenTable:
    def __init__(
        self,
        connection: Connection,
        table: TableName,
        target: TableTarget,
        status: DatasetStatus,
    ) -> None:
        self.status = status
        self.name = str(table)
        self._connection = connection
        self._table = table
        self._target = target
        self._mode = target.mode
        self._keys = list(target.key_columns)
        self._columns: Mapping[str, TableColumn] = {}
        self._schema: Any = None
        self._as_text = False
        self._contract: Contract | None = None
        self._to_be_made = False

    @property
    def _besides(self) -> TableName | None:
        """What is about to be replaced does not count."""
        return self._table if self._mode == "replace" else None

    def domain_versions(self, keyset_id: str, wanted: Collection[Domain]) -> Mapping[Domain, int]:
        return read_domain_versions(self._connection, keyset_id, wanted, besides=self._besides)

    def differences(self, contract: Contract) -> list[str]:
        self._contract = contract
        self._columns = {column.name: column for column in self._described()}
        kept = [rule for rule in contract.rules if rule.protection is not Protection.DROP]
        return differences(kept, self._columns)

    def _described(self) -> list[TableColumn]:
        """The table's columns; of one that is still to be made those that it will have."""
        self._to_be_made = self._target.create_table and not create_table.exists(
            self._connection, self._table
        )
        with self._as_if_made():
            return postgres.describe(self._connection, self._table)

    @contextmanager
    def _as_if_made(self) -> Iterator[None]:
        """With the table there, for as long as this takes."""
        if not self._to_be_made:
            yield
            return
        with self._connection.transaction(force_rollback=True):
            manifest.lock(self._connection, self.name)  # two at a time would run into each other's
            if not create_table.exists(self._connection, self._table):
                self._make_table()
            yield

    def _make_table(self) -> None:
        contract = self._contract
        assert contract is not None  # noqa: S101 (differences() comes first)
        create_table.create(
            self._connection, self._table, contract.rules, contract.definitions, contract.description
        )

    def take(self, steps: Sequence[ColumnStep]) -> Mapping[str, str]:
        columns = self._columns
        if self._keys:
            with self._as_if_made():
                upsert.check_keys(self._connection, self._table, [step.rule for step in steps], self._keys)
        names = [step.rule.name for step in steps]
        self._as_text = any(needs_text(columns[name]) for name in names)
        types = [(name, arrow_type(columns[name], as_text=self._as_text)) for name in names]
        self._schema = pa.schema(types)
        return {name: columns[name].type for name in names}

    def fit(self, step: ColumnStep, column: Any, *, first_record: int, where: str) -> Any:
        name = step.rule.name
        there = self._columns[name]
        if step.passes and there.base == "bytea" and step.rule.protection.in_cells:
            column = as_bytes(column)
        column = fit(column, text_target=is_text(there))
        what = f"a value of {there.type}"
        wanted = self._schema.field(name).type
        column = prepared(column, there, wanted, first_record=first_record, where=where)
        return convert(column, wanted, name=name, what=what, first_record=first_record, where=where)

    def holds(self, key: LoadKey, *, versioned: bool) -> bool:
        if self._target.force:
            return False
        if self._mode == "replace":
            return versioned and manifest.is_current(self._connection, key)
        return manifest.has(self._connection, key)

    def held_classes(self, names: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Any]]:
        if self._mode == "replace" or self._to_be_made:
            return
        yield from self._classes(names)

    def _classes(self, names: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Any]]:
        as_text = {
            name for name in names if _compared_as_text(self._columns[name], self._schema.field(name).type)
        }
        for rows in classes.held(self._connection, self._table, names, as_text):
            *columns, numbers = zip(*rows, strict=True)
            yield (
                {name: self._as_fitted(name, values) for name, values in zip(names, columns, strict=True)},
                numbers,
            )

    def _as_fitted(self, name: str, values: Sequence[Any]) -> Any:
        """What the driver gave of a column, as :meth:`fit` makes it.

        :raises StoreError: for what has no place there, such as NaN in a numeric.
        """
        there, wanted = self._columns[name], self._schema.field(name).type
        with contextlib.suppress(pa.ArrowException):  # it may quote a value
            if there.base in _OF_BYTES:
                column = pa.array(values, pa.string())
                return prepared(column, there, wanted, first_record=1, where=self.name).cast(wanted)
            return pa.array(values, wanted)
        raise StoreError(
            f"{self.name}: column {name!r} holds a value that is none of those a load can bring, such as NaN in a numeric, so its "
            "classes can't be counted together: mend these rows, or take the column out of require="
        )

    def announce(self, revealing: Revealing) -> None:
        audit.append(self._connection, "begun", revealing)

    def store(self, load: Load) -> Stored:
        staged = self._stage(load)
        rows, verified = 0, None
        with postgres_failures(self.name), self._connection.transaction():
            if self._to_be_made:
                manifest.lock(self._connection, load.key.target)  # somebody else may be making it
                if not create_table.exists(self._connection, self._table):
                    self._make_table()
                    log.info("made the table %s, as its contract says", self.name)
            if load.decided is not None or self._mode == "replace":
                # Before all other locks. A replacement that took away what this load has counted on would be seen by neither.
                manifest.lock(self._connection, load.key.target)
            states.hold_domains(self._connection, load.columns, besides=self._besides)
            claimed = manifest.claim(
                self._connection,
                load.key,
                self._mode,
                load.task,
                versioned=load.versioned,
                force=self._target.force,
            )
            if claimed is not None:
                rows = self._put(load, staged)
                verified = self._verified(load)
                self._check_classes(load)
                load.before_commit()
                manifest.complete(self._connection, claimed, rows)
            if load.revealing is not None:
                audit.append(self._connection, "done", load.revealing, rows)
        if claimed is None and not load.versioned:
            log.warning(
                "this task run has appended %s to %s before, and the source has no version to tell whether it has "
                "changed since: nothing was loaded; mode='replace' reads it again in every run",
                load.key.source,
                self.name,
            )
        return Stored(rows, claimed is None, verified)

    def _check_classes(self, load: Load) -> None:
        """Over all that is there now: somebody else may have written since the classes were counted.

        k is PostgreSQL's own count; l and t are calculated anew from its classes.
        """
        if load.decided is None:
            return
        told = load.decided.report
        k = int(told.required["k"])
        small = classes.smaller_than(self._connection, self._table, told.quasi_identifiers, k)
        missed = f"{small:,} classes have less than {k} rows" if small else ""
        if not missed and told.sensitive:
            missed = load.decided.missed_by(self._classes([*told.quasi_identifiers, *told.sensitive]))
        if missed:
            raise StoreUnavailable(
                f"{self.name}: {missed}, since it was changed after they were counted, or takes values for equal that the source writes differently; "
                "nothing was committed, and a retry counts again"
            )

    def _verified(self, load: Load) -> DatasetStatus | None:
        if not self._target.verify_cells:
            return None
        with load.timings.measure("verify"):
            seen = verify_cells(self._connection, self._table, load.steps, self._target.verify_cells)
        log.info(
            "looked at cells: %s",
            ", ".join(f"{name} {count:,}" for name, count in seen.items()) or "no column has any",
        )
        columns = tuple(replace(each, verified_cells=seen.get(each.name)) for each in load.columns)
        return replace(self.status, columns=columns)

    def _stage(self, load: Load) -> int | None:
        """The rows of a replacement into a table of their own, before anything of the target is touched.

        :return: their number; ``None`` if the rows are to go into the target directly.
        """
        if self._mode != "replace" or self._target.replace_with != "staging" or self._to_be_made:
            return None
        manifest.queue(self._connection, load.key.target)
        if load.versioned and not self._target.force and manifest.is_current(self._connection, load.key):
            return None
        names = self._schema.names
        required = [name for name in names if self._columns[name].required]
        with postgres_failures(self.name), self._connection.transaction():
            staging.make(self._connection, self._table, names, required=required, beyond_commit=True)
            return self._copy(load, staging.TABLE)

    def _put(self, load: Load, staged: int | None) -> int:
        """The rows and the state of their columns into the target. :return: their number."""
        replaced = self._mode == "replace"
        if replaced:
            postgres.delete_all(self._connection, self._table)
        states.record_states(
            self._connection, self._table, load.columns, load.contract.ref, replaced=replaced
        )
        if staged is not None:
            with load.timings.measure("move"):
                staging.move(self._connection, self._table, self._schema.names, staged)
            return staged
        if not self._keys:
            return self._copy(load, self._table)
        staging.make(self._connection, self._table, self._schema.names)
        rows = self._copy(load, staging.TABLE)
        with load.timings.measure("merge"):
            made, changed = upsert.merge(self._connection, self._table, self._schema.names, self._keys)
        log.info("%s rows are new, and %s have changed others", f"{made:,}", f"{changed:,}")
        return rows

    def _copy(self, load: Load, into: TableName) -> int:
        writer = CopyWriter(self._connection, into, self._schema, as_text=self._as_text, where=self.name)
        with ahead(load.produce) as batches, writer.open(load.timings.measure) as write:
            logged = time.perf_counter()
            for columns in batches:
                write(pa.RecordBatch.from_arrays(columns, schema=self._schema))
                if time.perf_counter() - logged >= _PROGRESS_SECONDS:
                    logged = time.perf_counter()
                    log.info("%s", load.progress(writer.rows))
        return writer.rows

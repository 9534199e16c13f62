"""One transfer, from checks to commit."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from ..contract.contract import Contract
from ..errors import ConfigurationError, StoreUnavailable, TransientError
from ..model import ColumnEdge, DatasetRef, DatasetStatus, Protection, algorithm
from ..protection.plan import ColumnStep
from ..reports import AnonymityReport, TransferReport
from ..stores.at_rest import StoreFacts
from ..stores.audit import Revealing
from ..stores.manifest import LoadKey
from .anonymity import Decided, decide
from .checks import Checked, Options, check
from .pipeline import Timings
from .quarantine import Quarantine, RejectTo, quarantine
from .rows import ProtectedRows
from .sources import OpenSource, Source
from .suspicion import Suspicion
from .targets import Load, OpenTarget, Stored, Target

log = logging.getLogger(__name__)


def transfer(
    source: Source,
    contract: Contract,
    target: Target,
    options: Options | None = None,
    *,
    task: str | None = None,
    on_ends: Callable[[DatasetStatus, DatasetStatus], None] = lambda source, target: None,
    on_connection: Callable[[Any], None] = lambda connection: None,
) -> TransferReport:
    """Move one source into one target, all or nothing.

    :param task: ``dag/task/run/map index``; identifies the load where the source has no version.
    :param on_ends: told both ends as soon as they are seen, and again when their columns are known, for the lineage of
        a run that fails later.
    :param on_connection: given the target's connection, where it has one, so that it can be cancelled from outside.
    :return: names, counts, key ids and evidence.
    :raises SecureProviderError: and nothing was written.
    """
    chosen = options or Options()
    target.check_words()
    chosen.check_words()
    if chosen.require is not None and target.mode == "upsert":
        raise ConfigurationError(
            "require= goes with mode='append' and mode='replace': which rows an upsert leaves there is known after it only"
        )
    contract.policy.check_ahead(contract.rules, source.transport_ahead, source.where)
    began = time.perf_counter()
    # The platform's own word goes before a contract's.
    at_rest = StoreFacts(chosen.declared_at_rest, contract.declared_at_rest, ask=chosen.ask_at_rest)
    with (
        target.open(at_rest, on_connection) as there,
        closing(source.open(at_rest, contract.rules)) as opened,
    ):
        on_ends(opened.status, there.status)
        checked = check(
            opened, contract, there, chosen, allow_insecure_transport=target.allow_insecure_transport
        )
        for warning in checked.warnings:
            log.warning("%s", warning)
        on_ends(checked.source, checked.target)
        key = _load_key(opened, contract, there.name, checked, chosen, task)
        # What an earlier run has loaded is not decided anew: its own rows would be counted with those that it has loaded.
        already = chosen.require is not None and there.holds(key, versioned=opened.version is not None)
        decided = None if already else _decide(opened, checked, there, chosen, source.where)
        if decided is not None:
            checked = replace(checked, target=_coarser(checked.target, decided.report))
            on_ends(checked.source, checked.target)
        revealing = _revealing(opened, checked, chosen, task, source.where, there)
        if revealing is not None:
            there.announce(revealing)
        run = _Run(
            opened=opened,
            contract=contract,
            target=there,
            mode=target.mode,
            checked=checked,
            key=key,
            task=task,
            began=began,
            suspicion=Suspicion(checked.steps, chosen.on_suspected_pii, source.where),
            revealing=revealing,
            decided=decided,
            already=already,
        )
        return run.run(chosen.reject)


def _revealing(
    opened: OpenSource, checked: Checked, options: Options, task: str | None, source: str, target: OpenTarget
) -> Revealing | None:
    """What is to be put on record: plain values out of ciphertext."""
    columns = [step.rule.name for step in checked.steps if step.reveals]
    if not columns or options.purpose is None or options.reveal_with is None:
        return None
    keys = options.reveal_with
    return Revealing(
        task, options.purpose, source, target.name, columns, opened.selection, keys.id, keys.key_id
    )


def _load_key(
    opened: OpenSource, contract: Contract, target: str, checked: Checked, options: Options, task: str | None
) -> LoadKey:
    """By what was asked for, and not by what the anonymity gate makes of it, which depends on what the target holds."""
    where, version = checked.source.dataset.uri, opened.version
    if version is None:
        if not task:
            raise ConfigurationError(f"{where} has no version, so the load needs the name of its task run")
        version = f"run:{task}"
    columns = sorted(checked.target.columns, key=lambda column: column.name)
    decisive: list[Any] = [
        [c.name, str(c.protection), c.domain, c.scope, dict(c.parameters)] for c in columns
    ]
    if opened.selection is not None:
        decisive.append(["where", opened.selection])
    if options.require is not None:
        decisive.append(["require", options.require.digest])
    keysets = sorted({f"{c.keyset_id}:{c.key_version}" for c in columns if c.keyset_id})
    return LoadKey(
        target=target,
        source=where,
        source_version=version,
        options=hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest(),
        contract_digest=contract.ref.digest,
        keysets=", ".join(keysets),
    )


def _decide(
    opened: OpenSource, checked: Checked, target: OpenTarget, options: Options, where: str
) -> Decided | None:
    """The first of two passes, if an anonymity is required."""
    required = options.require
    if required is None:
        return None
    names = [*required.ladders, *required.sensitive]
    log.info("counting the classes of %s in %s", ", ".join(required.ladders), where)
    with closing(opened.again()) as first:
        rows = ProtectedRows(first, checked.steps, target, where, Timings())
        return decide(required, rows.counted(names), target.held_classes(names), where)


def _coarser(status: DatasetStatus, report: AnonymityReport) -> DatasetStatus:
    """Columns that were left plain by the contract, and are made coarser, are generalized."""
    columns = tuple(
        replace(
            each,
            protection=Protection.GENERALIZE,
            parameters={**each.parameters, "steps": report.levels[each.name]},
        )
        if report.levels.get(each.name) and each.protection is Protection.NONE
        else each
        for each in status.columns
    )
    return replace(status, columns=columns)


@dataclass(slots=True)
class _Run:
    """The rows of one transfer, and the words for it."""

    opened: OpenSource
    contract: Contract
    target: OpenTarget
    mode: str
    checked: Checked
    key: LoadKey
    task: str | None
    began: float
    suspicion: Suspicion
    revealing: Revealing | None = None
    decided: Decided | None = None
    already: bool = False
    suspected: tuple[str, ...] = field(default=(), init=False)
    rejected: Quarantine | None = field(default=None, init=False)
    timings: Timings = field(default_factory=Timings, init=False)

    @property
    def _where(self) -> str:
        return self.checked.source.dataset.uri

    def run(self, reject: RejectTo | None = None) -> TransferReport:
        """:param reject: where rows go that do not fit."""
        with quarantine(reject, self._where, self.key) as self.rejected:
            return self._run(self.key)

    def _run(self, key: LoadKey) -> TransferReport:
        log.info("loading %s into %s (%s)", self._where, self.target.name, self.mode)
        log.info("columns: %s", ", ".join(map(_in_words, self.checked.steps)))
        if self.rejected is not None:
            self.rejected.check(self.contract)
        rows = ProtectedRows(
            self.opened,
            self.checked.steps,
            self.target,
            self._where,
            self.timings,
            self.rejected,
            self.decided,
            self.suspicion.look,
        )
        load = Load(
            contract=self.contract,
            columns=self.checked.target.columns,
            steps=self.checked.steps,
            key=key,
            versioned=self.opened.version is not None,
            task=self.task,
            revealing=self.revealing,
            produce=self._no_longer_there if self.already else rows.produce,
            progress=self._progress,
            timings=self.timings,
            before_commit=self._before_commit,
            decided=self.decided,
        )
        stored = self._store(load)
        if not stored.already:
            log.info("committed: %s", self._progress(stored.rows))
            log.debug(
                "where the time went: %s", ", ".join(f"{k} {v:.2f} s" for k, v in self._spent().items())
            )
        elif load.versioned:
            log.info("this version of %s is in %s already: nothing to do", self._where, self.target.name)
        return self._report(stored)

    def _no_longer_there(self) -> Iterator[list[Any]]:
        """Nobody has decided of these rows."""
        raise StoreUnavailable(
            f"{self.target.name} held this load when it was looked at, and does no longer; nothing was committed, and a retry "
            "counts its classes"
        )

    def _before_commit(self) -> None:
        self.suspected = self.suspicion.finish()
        for warning in self.suspected:
            log.warning("%s", warning)
        if self.rejected is not None:
            self.rejected.prepare(self.contract, self.task)

    def _store(self, load: Load) -> Stored:
        if self.rejected is None:
            return self.target.store(load)
        try:
            stored = self.target.store(load)
        except TransientError:
            raise  # it may have been committed: the retry knows, and ends what was prepared or takes it away
        except BaseException:
            self.rejected.abandon()
            raise
        if stored.already:
            self.rejected.publish_earlier()
        else:
            self.rejected.publish()
        return stored

    def _spent(self) -> dict[str, float]:
        """Seconds by step. Steps run in threads of their own, so they add up to more than the whole."""
        of_source = dict(self.opened.timings)
        waited = of_source.pop("waited", 0.0)
        spent = of_source | self.timings.as_dict()
        return spent | ({"parse": max(0.0, spent["parse"] - waited)} if "parse" in spent else {})

    def _progress(self, rows: int) -> str:
        seconds = time.perf_counter() - self.began
        megabytes = self.opened.bytes_read / 1e6
        return f"{rows:,} rows, {megabytes:,.1f} MB in {seconds:,.1f} s, {rows / seconds:,.0f} rows/s"

    def _report(self, stored: Stored) -> TransferReport:
        return TransferReport(
            source=self.checked.source,
            target=stored.status or self.checked.target,
            contract=self.contract.ref,
            rows=stored.rows,
            bytes_read=self.opened.bytes_read,
            seconds=time.perf_counter() - self.began,
            already_loaded=stored.already,
            mode=self.mode,
            edges=tuple(each for step in self.checked.steps for each in edges(step, self.opened.origins)),
            timings=self._spent(),
            warnings=self.checked.warnings + self.suspected,
            policy=self.contract.policy.name,
            anonymity=self.decided.report if self.decided is not None and not stored.already else None,
            rejected=self.rejected.count if self.rejected is not None and not stored.already else 0,
            rejected_to=self.rejected.uri if self.rejected is not None and not stored.already else None,
        )


def edges(step: ColumnStep, origins: Mapping[str, Sequence[tuple[DatasetRef, str]]]) -> Iterator[ColumnEdge]:
    """Which source columns a target column comes from, and whether the way masks it."""
    rule = step.rule
    if step.passes:
        what = f"passed through, {rule.protection} before"
    elif standard := algorithm(rule.protection, rule.parameters):
        what = f"{rule.protection}: {standard}"
    else:
        what = "unchanged" if rule.protection is Protection.NONE else str(rule.protection)
    if step.revealer:
        what = f"revealed, then {what}"
    masks = rule.protection is not Protection.NONE
    yield from (
        ColumnEdge(source, rule.name, rule.protection, masks, what, dataset)
        for dataset, source in origins.get(rule.name, [(None, rule.name)])
    )


def _in_words(step: ColumnStep) -> str:
    return f"{step.rule.name} {'as it is' if step.passes else step.rule.protection}"

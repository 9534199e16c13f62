"""What every target looks like to a transfer: it is opened, held to the contract, and then takes all rows or none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..contract.contract import Contract
from ..model import AtRest, ColumnStatus, DatasetStatus
from ..protection.plan import ColumnStep
from ..stores.audit import Revealing
from ..stores.manifest import LoadKey
from ..stores.states import Domain
from .anonymity import Decided
from .pipeline import Timings


@dataclass(frozen=True, slots=True)
class Load:
    """One transfer's rows, and what is recorded of them.

    :param produce: gives the protected columns of each batch as the target's own :meth:`OpenTarget.fit` made them, and
        ends only after the source has proved to be whole.
    :param versioned: the source has a version of its own, so that the same one means the same rows.
    :param before_commit: called when all rows are there, and the last word is not yet said.
    :param progress: words for the log, of a number of rows.
    :param decided: which anonymity the target is said to have after it; a target that can looks.
    """

    contract: Contract
    columns: tuple[ColumnStatus, ...]
    steps: tuple[ColumnStep, ...]
    key: LoadKey
    versioned: bool
    task: str | None
    revealing: Revealing | None
    produce: Callable[[], Iterator[list[Any]]]
    progress: Callable[[int], str]
    timings: Timings = field(default_factory=Timings)
    before_commit: Callable[[], None] = lambda: None
    decided: Decided | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """
    :param rows: committed by this run.
    :param already: an earlier run has stored the same before; nothing was done.
    :param status: the target after it, where the store told more of it.
    """

    rows: int
    already: bool
    status: DatasetStatus | None = None


class OpenTarget(Protocol):
    """A target that has been looked at."""

    @property
    def status(self) -> DatasetStatus:
        """Without columns, before they are known."""

    @property
    def name(self) -> str:
        """In messages."""

    def domain_versions(self, keyset_id: str, wanted: Collection[Domain]) -> Mapping[Domain, int]:
        """The key versions under which domains stand there."""

    def differences(self, contract: Contract) -> list[str]:
        """How what is there differs from what the contract's columns need, in words."""

    def take(self, steps: Sequence[ColumnStep]) -> Mapping[str, str]:
        """The type of each column there. :raises ContractError: if it can't hold them."""

    def fit(self, step: ColumnStep, column: Any, *, first_record: int, where: str) -> Any:
        """A protected column as the target holds it."""

    def holds(self, key: LoadKey, *, versioned: bool) -> bool:
        """Whether this very load is there already, so that :meth:`store` would do nothing."""

    def held_classes(self, names: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Any]]:
        """What stays there beside the load: of each class these columns, as :meth:`fit` makes them, and the number of its rows."""

    def announce(self, revealing: Revealing) -> None:
        """Put on record that plain values are about to be revealed. :raises SecureProviderError: if it can't be."""

    def store(self, load: Load) -> Stored:
        """All rows or none."""


class Target(Protocol):
    """Where rows go.

    :ivar allow_insecure_transport: load although the connection is weaker than the class demands; the report shows it.
    """

    @property
    def where(self) -> str: ...

    @property
    def mode(self) -> str: ...

    @property
    def allow_insecure_transport(self) -> bool: ...

    def check_words(self) -> None:
        """:raises ConfigurationError: for an option that is none of the known ones."""

    def open(
        self, declared: Mapping[str, AtRest], on_connection: Callable[[Any], None]
    ) -> AbstractContextManager[OpenTarget]: ...

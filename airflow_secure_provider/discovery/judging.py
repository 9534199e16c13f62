"""From what was counted to a finding, or to a question where it is not sure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .columns import ColumnLook, Tally
from .detectors import Detector, Held
from .hints import hint, is_about_things, plain
from .kinds import Kind

Verdict = Literal["found", "ask", "nothing"]
_MOST = 0.5  # of the values, for a finding; the others may be "unknown" or mistyped
_SOME = 0.03
_RIGHT = 0.8  # of those with the shape of a number with check digits
_LEAST_NUMBERS = 3  # right ones; fewer may be chance
_LEAST_WORDS = 5


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why. Never a value.

    :param share: of the values looked at.
    """

    kind: Kind
    what: str
    share: float
    looked: int

    def as_dict(self) -> dict[str, Any]:
        share = round(self.share, 4)
        return {"kind": str(self.kind), "what": self.what, "share": share, "looked": self.looked}

    def __str__(self) -> str:
        return f"{self.what} in {_percent(self.share)} of {self.looked:,} values"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is thought of one column.

    :param kind: found, or asked about; ``None`` if there is nothing to say.
    :param why: for a question.
    :param hinted: whether the column's name says the kind.
    """

    column: str
    verdict: Verdict
    kind: Kind | None = None
    evidence: tuple[Evidence, ...] = ()
    why: str = ""
    hinted: bool = False
    logical_type: str = "string"

    @property
    def words(self) -> str:
        parts = [*map(str, self.evidence), *(["the column's name"] if self.hinted else []), self.why]
        return "; ".join(part for part in parts if part)


def judge(look: ColumnLook) -> Finding:
    said = hint(look.name)
    verdict, kind, evidence, why = _decide(look, said)
    return Finding(
        look.name, verdict, kind, evidence, why, said is not None and said is kind, _logical_type(look)
    )


_Decision = tuple[Verdict, Kind | None, tuple[Evidence, ...], str]


def _decide(look: ColumnLook, said: Kind | None) -> _Decision:
    if look.unread:
        return "ask", said, (), f"its values are {look.unread}, which are not looked into"
    if not look.values:
        return "ask", said, (), "it has no values, so nobody knows what it will hold"
    if not look.looked:  # true or false
        return ("ask", said, (), f"its name says {said}") if said else ("nothing", None, (), "")
    for step in (_certain, _by_name, _mixed, _person, _text, _unsure, _birth):
        made = step(look, said)
        if made is not None:
            return made
    if said:
        return "ask", said, (), f"its name says {said}, and its values don't look like it"
    if look.long:
        return "ask", None, (), f"{look.long:,} values are longer than what is looked at of each"
    return "nothing", None, (), ""


def _certain(look: ColumnLook, said: Kind | None) -> _Decision | None:
    """Values that tell by themselves what they are."""
    found = []
    for detector, tally in look.whole.items():
        share = tally.right / look.looked
        enough = detector.chance == 0 or tally.right >= _LEAST_NUMBERS
        if detector.certain and share >= _MOST and tally.right >= _RIGHT * tally.shaped and enough:
            perhaps_version = look.wide_addresses < _MOST * tally.right and said is not Kind.IP_ADDRESS
            if detector.what == "IPv4 address" and perhaps_version:
                continue
            found.append((detector.kind is said, bool(detector.check), share, detector))
    if not found:
        return None
    *_, share, best = max(found, key=lambda each: each[:3])
    return "found", best.kind, (Evidence(best.kind, best.what, share, look.looked),), ""


def _by_name(look: ColumnLook, said: Kind | None) -> _Decision | None:
    """Values that could be many things, in a column whose name says which."""
    if said is Kind.PERSON_NAME and look.persons.shaped >= _MOST * look.looked:
        share = look.persons.shaped / look.looked
        return "found", said, (Evidence(said, "words of letters", share, look.looked),), ""
    if said is Kind.ADDRESS and look.characters / look.looked >= 6 and look.types["number"] < look.looked / 2:
        return "found", said, (Evidence(said, "text", 1.0, look.looked),), ""
    for detector, tally in _most_first(look):
        share = tally.right / look.looked
        likely = tally.right >= min(_RIGHT, 3 * detector.chance) * tally.shaped
        if detector.kind is said and share >= _MOST and likely:
            return "found", said, (Evidence(said, detector.what, share, look.looked),), ""
    return None


def _mixed(look: ColumnLook, said: Kind | None) -> _Decision | None:
    """Phone numbers and addresses written in several ways, some of which tell by themselves."""
    for kind in (Kind.PHONE, Kind.ADDRESS):
        tallies = [(each.certain, tally.right) for each, tally in look.whole.items() if each.kind is kind]
        share = min(1.0, sum(right for _, right in tallies) / look.looked)
        certain = sum(right for sure, right in tallies if sure) / look.looked
        enough = share >= _MOST if said is kind else share >= 0.8 and certain >= 0.15
        if enough and said in (None, kind):
            return "found", kind, (Evidence(kind, f"{kind}, in several forms", share, look.looked),), ""
    return None


def _person(look: ColumnLook, said: Kind | None) -> _Decision | None:
    persons = look.persons
    share = persons.known / look.looked
    called_name = plain(look.name).replace("_", "") in (
        "name",
        "nome",
        "naam",
        "namn",
        "navn",
        "nimi",
        "ad",
        "isim",
    )
    few = look.distinct < 2 * _LEAST_WORDS  # words out of a list: states, cities, colours
    likely = share >= (0.2 if called_name else 0.45) and persons.companies <= 0.15 * persons.known
    if said not in (None, Kind.PERSON_NAME) or persons.known < _LEAST_WORDS or few or _is_prose(look):
        return None
    evidence = (Evidence(Kind.PERSON_NAME, "words frequent in names", share, look.looked),)
    if likely and not is_about_things(look.name):
        return "found", Kind.PERSON_NAME, evidence, ""
    if share >= (0.05 if called_name else 0.08):
        return "ask", Kind.PERSON_NAME, evidence, "they may be names of companies, places or products"
    return None


def _text(look: ColumnLook, said: Kind | None) -> _Decision | None:
    """What text holds."""
    evidence = tuple(_held(look))
    times = sum(round(each.share * each.looked) for each in evidence)
    prose = _is_prose(look)
    if evidence and prose and times >= _LEAST_NUMBERS:
        return "found", Kind.FREE_TEXT, evidence, ""
    if evidence and (times >= _LEAST_NUMBERS or prose):
        return "ask", Kind.FREE_TEXT if prose else evidence[0].kind, evidence, "only some values hold it"
    if prose and said in (None, Kind.FREE_TEXT):
        return "ask", Kind.FREE_TEXT, (), "free text, in which names and stories can't be told"
    return None


def _held(look: ColumnLook) -> Iterator[Evidence]:
    for held, tally in sorted(look.held.items(), key=lambda each: -each[1].right):
        few = 0 if _is_prose(look) else _LEAST_NUMBERS  # by chance, among numbers that are something else
        beyond_chance = tally.right and tally.right >= 3 * held.chance * tally.shaped + few * (
            held.chance > 0
        )
        if beyond_chance and not _is_chance(held, look):
            # Of the searched ones; the values that were not marked hold none.
            share = tally.right / tally.searched * tally.marked / max(look.values, 1)
            yield Evidence(held.kind, f"{held.what} inside", share, look.values)


def _is_chance(held: Held, look: ColumnLook) -> bool:
    """Phone numbers and addresses have no check digits: a few of them among numbers say nothing."""
    return held.kind in (Kind.PHONE, Kind.IP_ADDRESS) and not _is_prose(look)


def _unsure(look: ColumnLook, said: Kind | None) -> _Decision | None:
    for detector, tally in _most_first(look):
        share = tally.right / look.looked
        evidence = (Evidence(detector.kind, detector.what, share, look.looked),)
        if not detector.asks or detector.kind is Kind.DATE_OF_BIRTH:
            continue
        if detector.what == "IPv4 address" and share >= _MOST:
            return "ask", detector.kind, evidence, "they may be version numbers"
        many = tally.right >= _RIGHT * tally.shaped and share >= 0.8
        if not detector.certain and many and detector.chance <= 0.2 and tally.right >= 2 * _LEAST_NUMBERS:
            return "ask", detector.kind, evidence, "other numbers look alike; the column's name does not tell"
        beyond_chance = tally.right > 3 * detector.chance * tally.shaped + _LEAST_NUMBERS
        if detector.certain and detector.kind is not Kind.ADDRESS and share >= _SOME and beyond_chance:
            return "ask", detector.kind, evidence, "only some values are"
        if detector.kind is Kind.ADDRESS and share >= 0.2:
            return "ask", detector.kind, evidence, "only some values are"
    return None


def _birth(look: ColumnLook, said: Kind | None) -> _Decision | None:
    """Dates over the span of lives, none of them of the last years, in a column whose name does not tell."""
    dates = sum(tally.right for each, tally in look.whole.items() if each.kind is Kind.DATE_OF_BIRTH)
    if said is not None or dates < 0.8 * look.looked or look.looked < 2 * _LEAST_NUMBERS:
        return None
    years = sorted(look.years.elements())
    if not years:
        return None
    middle, first, last = years[len(years) // 2], years[len(years) // 50], years[-1 - len(years) // 50]
    if first < 1985 and middle < 2005 and last - first >= 25:
        evidence = (Evidence(Kind.DATE_OF_BIRTH, "date", dates / look.looked, look.looked),)
        return "ask", Kind.DATE_OF_BIRTH, evidence, "the dates span lives"
    return None


def _most_first(look: ColumnLook) -> list[tuple[Detector, Tally]]:
    return sorted(look.whole.items(), key=lambda each: -each[1].right)


def _is_prose(look: ColumnLook) -> bool:
    return look.characters >= 25 * look.looked and look.spaces >= 3.5 * look.looked


def _logical_type(look: ColumnLook) -> str:
    """The narrowest that all values looked at fit; text if there are none."""
    for name in ("boolean", "integer", "number", "date", "timestamp"):
        if look.looked and look.types[name] == look.looked:
            return name
    return "string"


def _percent(share: float) -> str:
    return "less than 0.1 %" if 0 < share < 0.001 else f"{share:.1%}".replace("%", " %")

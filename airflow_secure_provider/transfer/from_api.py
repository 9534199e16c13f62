"""The answer of an HTTP API as bytes: one answer as it is, or the records of all pages as JSON Lines."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from ..errors import ConfigurationError, FormatError
from ..model import AtRest, ColumnStatus, DatasetRef, DatasetStatus
from ..stores.formats import Compression
from ..stores.http import Http, HttpAccess, Page, without_query
from .bytes_sources import OpenBytes

MOST_PAGE_BYTES = 64 * 1024 * 1024
_MOST_PAGES = 10_000
_KINDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    # what each takes, and what of it is needed
    "link": (frozenset(), frozenset()),
    "url": (frozenset({"at"}), frozenset({"at"})),
    "cursor": (frozenset({"at", "param"}), frozenset({"at", "param"})),
    "page": (frozenset({"param", "first"}), frozenset({"param"})),
    "offset": (frozenset({"param"}), frozenset({"param"})),
}


@dataclass(frozen=True, slots=True)
class Pagination:
    """How one page tells of the next.

    :param kind: ``link``: its ``Link`` header (RFC 8288, ``rel="next"``); ``url``: a URL in the page; ``cursor``: a text or
        number in the page, for a parameter; ``page``: a number that grows by 1, until a page has no records; ``offset``:
        the number of records so far, until a page has none.
    :param at: where in the page, as ``meta.next``.
    :param param: the parameter of the next request.
    :param first: the number of the first page.
    """

    kind: str
    at: str = ""
    param: str = ""
    first: int = 1
    most_pages: int = _MOST_PAGES

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """``{"type": "cursor", "at": "meta.next", "param": "cursor"}``. :raises ConfigurationError: if it is none."""
        options = dict(given)
        kind = options.pop("type", None)
        if kind not in _KINDS:
            raise ConfigurationError(f"pagination type {kind!r}, expected one of {', '.join(_KINDS)}")
        takes, needs = _KINDS[kind]
        unknown, missing = set(options) - takes - {"max_pages"}, needs - set(options)
        if unknown or missing:
            what = f"does not take {min(unknown)!r}" if unknown else f"needs {min(missing)!r}"
            raise ConfigurationError(
                f"pagination type {kind!r} {what}; it takes {', '.join(sorted(takes)) or 'nothing'}"
            )
        numbers = {name: options[name] for name in ("first", "max_pages") if name in options}
        if any(type(number) is not int or number < 0 for number in numbers.values()):
            raise ConfigurationError("pagination: first and max_pages are whole numbers from 0")
        texts = {name: options[name] for name in ("at", "param") if name in options}
        if any(not isinstance(text, str) or not text for text in texts.values()):
            raise ConfigurationError("pagination: at and param are texts, such as meta.next")
        return cls(
            kind, **texts, first=numbers.get("first", 1), most_pages=numbers.get("max_pages", _MOST_PAGES)
        )


@dataclass(frozen=True, slots=True)
class HttpApi:
    """An endpoint of an API.

    :param records: where in each page the list of records is, as ``data.items``; ``""`` for the page itself. Then each
        record becomes a line of JSON. ``None`` for the bytes of one answer as they are.
    :param most_page_bytes: a page is held in memory whole.
    """

    access: HttpAccess
    endpoint: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    records: str | None = None
    pagination: Pagination | None = None
    most_page_bytes: int = MOST_PAGE_BYTES
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def where(self) -> str:
        return without_query(self.access.url(self.endpoint))

    @property
    def compression(self) -> Compression | None:
        return Compression.of_key(self.where) if self.records is None else None

    @contextmanager
    def open(self, declared: Mapping[str, AtRest]) -> Iterator[OpenBytes]:
        if self.pagination is not None and self.records is None:
            raise ConfigurationError(
                "pagination= puts records together: say where in a page they are (records=, '' for the page itself)"
            )
        http = Http(self.access, self.sleep)
        opened = _OpenApi(self, http, declared.get(self.access.origin, AtRest()))
        try:
            yield opened
        finally:
            opened.close()
            http.close()


class _OpenApi:
    travels = True
    states: Mapping[str, ColumnStatus] = {}

    def __init__(self, api: HttpApi, http: Http, at_rest: AtRest) -> None:
        self._api = api
        self._http = http
        self._at_rest = at_rest
        self._pages = 0
        self._records = 0
        self._rest = b""
        self._ended = False
        self._pieces = self._as_it_is() if api.records is None else self._lines()

    @property
    def status(self) -> DatasetStatus:
        path = urlsplit(self._api.where).path or "/"
        ref = DatasetRef(self._api.access.origin, path, self._api.where)
        return DatasetStatus(ref, self._at_rest, self._http.in_transit)

    @property
    def bytes_read(self) -> int:
        return self._http.bytes_read

    @property
    def counts(self) -> Mapping[str, int]:
        counts = {"requests": self._http.requests}
        return (
            counts
            if self._api.records is None
            else {**counts, "pages": self._pages, "records": self._records}
        )

    def read(self, size: int, /) -> bytes:
        pieces, got = [self._rest], len(self._rest)
        while got < size:
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
                break
            pieces.append(piece)
            got += len(piece)
        joined = b"".join(pieces)
        self._rest = joined[size:]
        return joined[:size]

    def finish(self) -> None:
        if not self._ended:
            raise FormatError(f"{self._api.where} was not read to its end")

    def close(self) -> None:
        self._pieces.close()

    def _as_it_is(self) -> Generator[bytes, None, None]:
        api = self._api
        with self._http.stream(api.access.url(api.endpoint), api.params, api.headers) as pieces:
            yield from pieces

    def _lines(self) -> Generator[bytes, None, None]:
        api = self._api
        url, params = api.access.url(api.endpoint), dict(api.params)
        if api.pagination is not None and api.pagination.kind == "page":
            params.setdefault(api.pagination.param, api.pagination.first)
        seen = _Seen(api.where, api.pagination.most_pages if api.pagination else 1)
        while True:
            page = self._http.get(
                url, params, {"Accept": "application/json", **api.headers}, api.most_page_bytes
            )
            marker = secrets.token_hex(16)
            body = self._parsed(page, marker)
            records = self._records_of(body)
            seen.note(page, records)
            self._pages += 1
            self._records += len(records)
            if records:
                yield _as_lines(records, marker)
            following = self._next(page, body, records, params)
            if following is None:
                return
            url, params = following

    def _parsed(self, page: Page, marker: str) -> Any:
        try:
            # Numbers with a point or an exponent stay as they were written.
            return json.loads(page.content, parse_float=lambda text: marker + text, parse_constant=_no_number)
        except (ValueError, RecursionError):
            pass
        raise FormatError(f"{self._api.where}: page {self._pages + 1:,} is not JSON")

    def _records_of(self, body: Any) -> list[Any]:
        records = _at(body, self._api.records or "")
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            place = f"at {self._api.records!r}" if self._api.records else "which is the page itself"
            raise FormatError(
                f"{self._api.where}: page {self._pages + 1:,} has no list of JSON objects {place}; check records="
            )
        return records

    def _next(
        self, page: Page, body: Any, records: list[Any], params: dict[str, Any]
    ) -> tuple[str, dict[str, Any]] | None:
        """URL and parameters of the next request; ``None`` if this page was the last."""
        how = self._api.pagination
        if how is None:
            return None
        url = self._api.access.url(self._api.endpoint)
        if how.kind in ("link", "url"):
            following = page.next if how.kind == "link" else _at(body, how.at)
            if not following:
                return None
            if not isinstance(following, str):
                raise FormatError(f"{self._api.where}: page {self._pages:,} has no URL at {how.at!r}")
            return urljoin(page.url, following), {}
        if how.kind == "cursor":
            cursor = _at(body, how.at)
            if cursor is None or cursor == "":
                return None
            if not isinstance(cursor, (str, int)) or isinstance(cursor, bool):
                raise FormatError(f"{self._api.where}: page {self._pages:,} has no cursor at {how.at!r}")
            return url, {**params, how.param: cursor}
        if not records:
            return None
        value = params[how.param] + 1 if how.kind == "page" else self._records
        return url, {**params, how.param: value}


class _Seen:
    """Notices pages that lead back to one another, which would never end."""

    def __init__(self, where: str, most: int) -> None:
        self._where = where
        self._most = most
        self._urls: set[bytes] = set()
        self._last = b""

    def note(self, page: Page, records: list[Any]) -> None:
        """:raises FormatError: for a page that was there before, or one too many."""
        url = hashlib.sha256(page.url.encode()).digest()
        content = hashlib.sha256(page.content).digest()
        if url in self._urls or (records and content == self._last):
            raise FormatError(
                f"{self._where}: page {len(self._urls) + 1:,} is one that was there before, so the pages would never end; check "
                "pagination="
            )
        self._urls.add(url)
        self._last = content
        if len(self._urls) > self._most:
            raise FormatError(f"{self._where}: more than {self._most:,} pages; set max_pages in pagination=")


def _at(body: Any, path: str) -> Any:
    """What is at ``a.b.0.c``; ``None`` if it is not there."""
    for name in path.split(".") if path else ():
        if isinstance(body, dict):
            body = body.get(name)
        elif isinstance(body, list) and name.isdecimal() and int(name) < len(body):
            body = body[int(name)]
        else:
            return None
    return body


_HALF = re.compile("[\ud800-\udfff]")


def _no_number(name: str) -> Any:
    raise ValueError(name)


def _as_lines(records: list[Any], marker: str) -> bytes:
    text = "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    if _HALF.search(text):  # of a surrogate pair, which only an escape can write
        text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    return re.sub(f'"{marker}([^"]*)"', r"\1", text).encode()

"""Watches Azure's blob storage: what its SDK asks over HTTP, as WasbHook's does."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import wrapt

from ...model import AtRest, Evidence
from ..observations import OBSERVED
from .harmless import harmless
from .sessions import attend, how_it_came

# What the SDK of blobs calls itself; queues, files and logins go by the same transport.
_SDK = "storage-blob/"
_ACCOUNT = re.compile(r"(?P<account>[a-z0-9-]+?)(?:-secondary)?\.blob\.")
_ADDRESS = re.compile(r"localhost|[0-9.]+|\[.*\]")
# The answers to these say how the whole blob is encrypted; that to "block" says it of a block.
_WHOLE = frozenset({"", "blocklist", "appendblock", "copy"})


def watch_azure(blob: Any) -> None:
    """From now on in this process and its forks, since the task has imported the SDK."""
    wrapt.register_post_import_hook(_watch_transport, "azure.core.pipeline.transport._requests_basic")


def at_rest(headers: Mapping[str, str]) -> AtRest | None:
    """How a blob is encrypted, by the headers of an answer about it; ``None`` for an answer that does not tell.

    Encrypted by Azure is all that it says then: not whether the account's key is Microsoft's or the customer's.
    """
    told = headers.get("x-ms-server-encrypted") or headers.get("x-ms-request-server-encrypted")
    customer = headers.get("x-ms-encryption-key-sha256")
    if customer:
        return AtRest("SSE-C", "AES-256", "customer", customer, Evidence.OBSERVED)
    if told is None:
        return None
    if told.lower() != "true":
        return AtRest("none", evidence=Evidence.OBSERVED, note="Azure says that it is not encrypted")
    scope = headers.get("x-ms-encryption-scope")
    where = f" in the encryption scope {scope}" if scope else ""
    return AtRest(
        "SSE",
        None,
        "azure",
        None,
        Evidence.OBSERVED,
        f"Azure says that it is encrypted{where}, and not under whose key",
    )


@harmless
def _watch_transport(module: Any) -> None:
    original = module.RequestsTransport.open

    @functools.wraps(original)
    def opened(self: Any, *args: Any, **kwargs: Any) -> Any:  # before each request too
        result = original(self, *args, **kwargs)
        _attend(self)
        return result

    module.RequestsTransport.open = opened


@harmless
def _attend(transport: Any) -> None:
    attend(transport.session, _look_at_answer)


@harmless
def _look_at_answer(answer: Any, *_: Any, **__: Any) -> None:
    if _SDK not in str(answer.request.headers.get("User-Agent")):
        return
    url = urlsplit(answer.request.url)
    query = parse_qs(url.query)
    stores, path = _stores(url.hostname or "", url.netloc.rpartition("@")[2], url.path)
    container, _slash, name = unquote(path).strip("/").partition("/")
    if not name and query.get("restype") == ["container"]:
        name = query.get("prefix", [""])[0]
    elif not name:
        return
    in_transit = how_it_came(answer)
    telling = answer.status_code < 300 and query.get("comp", [""])[0] in _WHOLE
    rests = at_rest(answer.headers) if telling else None
    for store in stores:
        namespace = f"wasbs://{container}@{store}"
        if in_transit.evidence is not Evidence.UNKNOWN:
            OBSERVED.travelled(namespace, name, in_transit)
        if rests is not None:
            OBSERVED.stored(namespace, name, rests)


def _stores(host: str, place: str, path: str) -> tuple[set[str], str]:
    """By which names a store goes in datasets, and what of the path is below it.

    OpenLineage's specification has the service's host there, and the stock operators the account.
    """
    if _ADDRESS.fullmatch(host):  # an emulator, whose accounts are folders
        account, _, rest = path.strip("/").partition("/")
        return {account, place}, rest
    found = _ACCOUNT.match(host)
    return {place, *([found["account"]] if found else [])}, path

"""Watches Google Cloud Storage: what its client asks over HTTP, as GCSHook's does.

An object that names no key of its owner is encrypted by Google itself, as Google's documentation has it. No answer says so, and a
server that only speaks the same protocol need not do it. So that stays unknown, until somebody declares it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import wrapt

from ...model import AtRest, Evidence, InTransit
from ..observations import OBSERVED
from .harmless import harmless
from .sessions import attend, how_it_came

_OBJECT = re.compile(
    r"/storage/v1/b/(?P<bucket>[^/]+)/o"
    r"(?:/(?P<name>[^/]+)(?:/(?:copyTo|rewriteTo)/b/(?P<to_bucket>[^/]+)/o/(?P<to_name>[^/]+)|/compose)?)?\Z"
)
_SEEN = "_secure_provider_in_transit"
# The description of one object is a few kilobytes; larger answers are lists.
_LARGEST_BYTES = 64 * 1024
_KEYLESS = "the object names no key of its owner; that Google then encrypts it by itself is documented, and not shown"


def watch_gcs(storage: Any) -> None:
    """From now on in this process and its forks, since the task has imported the client."""
    wrapt.register_post_import_hook(_watch_sessions, "google.auth.transport.requests")


def at_rest(described: Mapping[str, Any]) -> AtRest:
    """How an object is encrypted, by its description in the JSON API."""
    customer = described.get("customerEncryption")
    if customer:
        return AtRest(
            "SSE-C",
            customer.get("encryptionAlgorithm"),
            "customer",
            customer.get("keySha256"),
            Evidence.OBSERVED,
        )
    key, _, version = described.get("kmsKeyName", "").partition("/cryptoKeyVersions/")
    if key:
        note = f"key version {version}" if version else None
        return AtRest("SSE-KMS", None, "google-cloud-kms", key, Evidence.OBSERVED, note)
    return AtRest(note=_KEYLESS)


@harmless
def _watch_sessions(module: Any) -> None:
    original = module.AuthorizedSession.request

    @functools.wraps(original)
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        _attend(self)
        answer = original(self, *args, **kwargs)
        if not (kwargs.get("stream") or self.stream):  # else its body is the task's to read
            _look_at_body(answer)
        return answer

    module.AuthorizedSession.request = request


@harmless
def _attend(session: Any) -> None:
    attend(session, _look_at_answer)


@harmless
def _look_at_answer(answer: Any, *_: Any, **__: Any) -> None:
    """Before the body is read."""
    url = urlsplit(answer.request.url)
    found = _OBJECT.search(url.path)
    if found is None:
        return
    in_transit = how_it_came(answer)
    setattr(answer, _SEEN, in_transit)
    bucket, name = _named(found)
    if name is None and answer.request.method == "GET":
        name = parse_qs(url.query).get("prefix", [""])[0]
    if name is None:  # of an upload, whose answer tells the name
        return
    _travelled(bucket, name, in_transit)
    customer = answer.headers.get("x-goog-encryption-algorithm")
    if customer and answer.status_code < 300:
        key = answer.headers.get("x-goog-encryption-key-sha256")
        OBSERVED.stored(f"gs://{bucket}", name, AtRest("SSE-C", customer, "customer", key, Evidence.OBSERVED))


@harmless
def _look_at_body(answer: Any) -> None:
    """What describes one object as a whole; of a part of it nothing follows from what is not there."""
    in_transit = getattr(answer, _SEEN, None)
    if in_transit is None or answer.status_code >= 300 or len(answer.content) > _LARGEST_BYTES:
        return
    query = parse_qs(urlsplit(answer.request.url).query)
    if "fields" in query or "media" in query.get("alt", ()):
        return
    described = answer.json() if answer.content else {}
    described = described.get("resource", described)  # of an object that was rewritten
    if described.get("kind") != "storage#object":
        return
    bucket, name = described["bucket"], described["name"]
    _travelled(bucket, name, in_transit)
    OBSERVED.stored(f"gs://{bucket}", name, at_rest(described))


def _named(found: re.Match[str]) -> tuple[str, str | None]:
    """The object that an address names; of a copy the one that is made."""
    bucket = found["to_bucket"] or found["bucket"]
    name = found["to_name"] or found["name"]
    return unquote(bucket), None if name is None else unquote(name)


def _travelled(bucket: str, name: str, in_transit: InTransit) -> None:
    if in_transit.evidence is not Evidence.UNKNOWN:
        OBSERVED.travelled(f"gs://{bucket}", name, in_transit)

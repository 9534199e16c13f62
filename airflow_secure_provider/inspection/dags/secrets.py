"""Secrets in code: by the name that they stand under, by a known form, by chance of being random, inside of a URI."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from .model import HOLE, Literal, Seen, Told, once

STRONG_NAME = re.compile(
    r"(?:^|[_\-.])(?:passwords?|passwd|pwd|pw|pass|pgpassword|passphrase|client_?secret|secret_?(?:access_?)?key|private_?key)$",
    re.I,
)
WEAK_NAME = re.compile(
    r"(?:^|[_\-.])(?:secret|token|api_?key|access_?key|auth_?key|account_?key|shared_?key|fernet_?key|credentials?|authorization"
    r"|sas_?token)$",
    re.I,
)
_SECRET_ID = re.compile(r"(?:^|_)secret_?id$", re.I)  # of Vault's AppRole
_UUID = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.I)
_CURSOR = re.compile(
    r"(?:next|page|continuation|sync|client_request|client|idempotency|starting)_token$", re.I
)
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FORMS = {
    "an AWS access key id": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_\-]{20}",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9\-]{10,}",
    "a Slack webhook": r"hooks\.slack\.com/services/T[A-Z0-9]+/B[A-Z0-9]+/[A-Za-z0-9]{16,}",
    "a Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{16,}",
    "a Google API key": r"\bAIza[A-Za-z0-9_\-]{35}",
    "a Vault token": r"\bhv[sbr]\.[A-Za-z0-9_\-]{20,}",
    "a Databricks token": r"\bdapi[0-9a-f]{32}\b",
    "a SendGrid key": r"\bSG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "an Azure storage key": r"AccountKey=[A-Za-z0-9+/]{40,}={0,2}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}",
}
_KNOWN = [(kind, re.compile(pattern)) for kind, pattern in _FORMS.items()]
_WORD = r"(?:pg_?password|password|passwd|pwd|passphrase|aws_secret_access_key|client_secret|secret_key|api[_-]?key|auth_?token|access_?token|token)"
_IN_TEXT = [
    # password=…  of a DSN, an assignment in a shell; "password": "…" of JSON; password: … with a digit, which prose has not
    re.compile(rf"(?<![\w$]){_WORD}[\"']?\s*=\s*[\"']?(?P<value>[^\s\"'&;,)\]}}]{{4,}})", re.I),
    re.compile(rf"{_WORD}[\"']\s*:\s*[\"'](?P<value>[^\"']{{4,}})[\"']", re.I),
    re.compile(rf"(?<![\w$]){_WORD}:\s+(?P<value>(?=\S*\d)\S{{4,}})", re.I),
    re.compile(r"--(?:password|passwd|token|secret|api-key)[ =][\"']?(?P<value>[^\s\"'-][^\s\"']{3,})", re.I),
    re.compile(r"\bPASSWORD\s+'(?P<value>[^']{4,})'", re.I),  # CREATE ROLE … PASSWORD '…'
    re.compile(r"\b(?:bearer|basic)\s+(?P<value>[A-Za-z0-9+/=_.\-]{16,})", re.I),
    re.compile(r"\bcurl\b[^|;\n]{0,300}\s(?:-u|--user)[ =]?[\"']?[^\s:\"']+:(?P<value>[^\s\"']{3,})"),
    re.compile(r"\bmysql\w*\b[^|;\n]{0,300}\s-p(?P<value>[^\s\"']{3,})"),
    re.compile(r"\bsshpass\s+-p\s*[\"']?(?P<value>[^\s\"']{3,})"),
]
_BASIC = {"HTTPBasicAuth", "HTTPDigestAuth", "HTTPProxyAuth", "BasicAuth"}
_URI = re.compile(r"\b[a-z][a-z0-9+.\-]{0,30}://[^\s/:@?#'\"]*:(?P<value>[^\s/@'\"]+)@", re.I)
_REFERENCE = re.compile(
    r"^(?:/|\.{1,2}/|~/|arn:|vault:|s3://|gs://|https?://|file:|env:|projects/|op://|secretmanager|[A-Z]+(?:_[A-Z0-9]+)+$)"
)
_PLACEHOLDER = re.compile(
    r"^(?:x+|\*+|\.+|-+|…|none|null|true|false|<.*|\[.*|\$.*|%.*|:\w+|\?|your[-_ ].*|.*example|example.*|placeholder|redacted|string|text)$",
    re.I,
)
_ALPHABET = re.compile(r"abcdefg|ABCDEFG|0123456")
_BASE64 = re.compile(r"^[A-Za-z0-9+/_\-]{32,}={0,2}$")
_NO_SECRET_NAME = re.compile(
    r"(?:hash|digest|checksum|sha\d*|etag|md5|version|commit|arn|uri|url|path|_id|image|fingerprint)s?$|^id$",
    re.I,
)
MIN_WEAK_BITS, MIN_RANDOM_BITS = (
    2.8,
    4.3,
)  # of entropy a character: above words and names, below 12 and 32 random characters


def in_code(seen: Seen) -> Iterator[Told]:
    """SP104. What is told is where and what it is; never the secret."""
    yield from once((each, kind) for each in seen.literals if (kind := _kind(each)) is not None)
    yield from _methods(seen)


def in_uris(seen: Seen) -> Iterator[Told]:
    """SP105."""
    return once(_in_uris(seen))


def _in_uris(seen: Seen) -> Iterator[tuple[Literal, str]]:
    for each in seen.literals:
        if not isinstance(each.value, str):
            continue
        for found in _URI.finditer(each.value):
            if _is_value(found["value"]):
                scheme = found[0].partition(":")[0].lower()
                yield each, f"a URI {scheme}://… holds a password{_under(each)}"
                break


def _methods(seen: Seen) -> Iterator[Told]:
    """``connection.set_password("…")``, ``HTTPBasicAuth("me", "…")``, ``auth=("me", "…")``."""
    for call in seen.calls:
        value = call.value("0", "password") if call.name == "set_password" else None
        if call.name in _BASIC:
            value = call.value("1", "password")
        if isinstance(value, str) and _is_value(value):
            yield call.place, f"a literal is given to {call.name}()"
        pair = call.value("auth")
        if (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(each, str) for each in pair)
            and _is_value(pair[1])
        ):
            yield (
                call.arguments["auth"].place,
                f"a literal stands where a secret belongs, under 'auth', in {call.name}()",
            )


def _kind(each: Literal) -> str | None:
    value = each.value
    if not isinstance(value, str) or not value.strip():
        return None
    for kind, pattern in _KNOWN:
        found = pattern.search(value)
        if found and "EXAMPLE" not in found[0]:
            return f"{kind} stands in the code{_under(each)}"
    by_name = _by_name(each.name, value)
    if by_name:
        return f"{by_name}{_under(each)}"
    for pattern in _IN_TEXT:
        if any(
            _is_value(found["value"]) and not _is_code(found["value"]) for found in pattern.finditer(value)
        ):
            return f"a text holds a password, key or token{_under(each)}"
    if _is_random(each.name, value):
        return f"a long random text, as keys and tokens are, stands in the code{_under(each)}"
    return None


def _by_name(name: str | None, value: str) -> str | None:
    if name is None or not _is_value(value) or _REFERENCE.match(value):
        return None
    name = re.sub(r"_?\d{1,2}$", "", _HUMPS.sub("_", name).replace("-", "_"))  # the second one is one too
    if _SECRET_ID.search(name) and _UUID.match(value):  # else it may be a secret's name in a store
        return "a literal stands where a secret belongs"
    if STRONG_NAME.search(name) and " " not in value.strip():
        return "a literal stands where a secret belongs"
    if WEAK_NAME.search(name) and not _CURSOR.search(name):
        bare = re.sub(r"^(?:bearer|basic|token)\s+", "", value, flags=re.I)
        mixed = any(each.isdigit() for each in bare) and any(each.isalpha() for each in bare)
        if len(bare) >= 12 and mixed and " " not in bare and _entropy(bare) >= MIN_WEAK_BITS:
            return "what looks like a secret stands in the code"
    return None


def _is_value(text: str) -> bool:
    """No template, no part that only a run tells, no placeholder."""
    return bool(text) and not (
        HOLE in text
        or "{{" in text
        or "{%" in text
        or "${" in text
        or re.search(r"\{\w*\}", text)
        or _PLACEHOLDER.match(text)
    )


def _is_code(text: str) -> bool:
    """What follows a ``=`` in a text that is a script: a call or an attribute."""
    return bool(
        re.match(r"^[A-Za-z_][\w.]*[(\[]", text)
        or re.match(r"^(?:os|self|conn|var|params)\.", text)
        or text.startswith(("{", "`", "\\"))
    )


def _is_random(name: str | None, value: str) -> bool:
    if (
        (name and _NO_SECRET_NAME.search(name))
        or not _BASE64.match(value)
        or value.count("/") > 2
        or value.count("-") > 3
    ):
        return False
    if _ALPHABET.search(value):
        return False
    kinds = (str.islower, str.isupper, str.isdigit)
    return all(any(map(kind, value)) for kind in kinds) and _entropy(value) >= MIN_RANDOM_BITS


def _entropy(text: str) -> float:
    """Bits a character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _under(each: Literal) -> str:
    """Names are the author's; a key of a mapping that is no plain name may itself be a secret, and is not repeated."""
    plain = (
        each.name is not None
        and re.fullmatch(r"[A-Za-z_][A-Za-z_.\-]*\d{0,2}", each.name)
        and len(each.name) < 64
    )
    return (f", under {each.name!r}" if plain else "") + (f", in {each.within}()" if each.within else "")

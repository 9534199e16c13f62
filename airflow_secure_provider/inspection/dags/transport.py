"""Connections that are weaker than verified TLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from .model import HOLE, Literal, Seen, Told, once

_WEAK_MODES = {"disable", "allow", "prefer", "require", "verify-ca"}
_MODE_NAME = re.compile(r"(?:^|_)(?:pg)?ssl_?mode$", re.I)
_MODE_IN_TEXT = re.compile(
    r"(?:pg)?sslmode[\"']?\s*[=:]\s*[\"']?(?P<mode>disable|allow|prefer|require|verify-ca)\b", re.I
)
_NO_CHECK_IF_FALSE = re.compile(
    r"^(?:verify|ssl_?verify|verify_?ssl|verify_?certs?|verify_?tls|tls_?verify|check_hostname|ssl_check_hostname|validate_certs?"
    r"|use_ssl|use_tls|ssl_?enabled|enable_ssl|verify_peer)$",
    re.I,
)
_NO_CHECK_IF_TRUE = re.compile(
    r"^(?:insecure|insecure_skip_verify|tls_insecure|ssl_disabled|disable_ssl|no_host_key_check|allow_host_key_change"
    r"|skip_tls_verify|tls_?allow_?invalid_?certificates|trust_server_certificate)$",
    re.I,
)
_SHELL = {
    "curl -k": re.compile(r"\bcurl\b[^|;\n]{0,300}\s(?:-[a-zA-Z]*k[a-zA-Z]*|--insecure)(?=\s|$)"),
    "wget --no-check-certificate": re.compile(r"--no-check-certificate\b"),
    "--no-verify-ssl": re.compile(r"--no-verify-ssl\b"),
    "StrictHostKeyChecking=no": re.compile(r"\bStrictHostKeyChecking[ =]no\b", re.I),
    "NODE_TLS_REJECT_UNAUTHORIZED=0": re.compile(r"\bNODE_TLS_REJECT_UNAUTHORIZED=0"),
    "PYTHONHTTPSVERIFY=0": re.compile(r"\bPYTHONHTTPSVERIFY=0"),
}
_UNCHECKED = {
    "ssl.CERT_NONE",
    "ssl._create_unverified_context",
    "paramiko.AutoAddPolicy",
    "paramiko.WarningPolicy",
    "paramiko.client.AutoAddPolicy",
    "paramiko.client.WarningPolicy",
}
# And what makes them safe, if anything does.
_PLAIN_CLIENTS = {
    "ftplib.FTP": "",
    "telnetlib.Telnet": "",
    "smtplib.SMTP": "starttls",
    "imaplib.IMAP4": "starttls",
    "poplib.POP3": "stls",
}
_PLAIN_URL = re.compile(r"(?<![\w.+-])(?:http|ftp|ldap|telnet)://[^\s'\"<>|)]+", re.I)
_NO_ENDPOINT_NAME = re.compile(
    r"(?:^|_)(?:doc|doc_md|docs?|description|help|href|link|xmlns|namespace|schema|license|title|tooltip|source_url)$|^doc_\w+$|^\$schema$",
    re.I,
)
_NO_ENDPOINT_CALL = {
    "Asset",
    "Dataset",
    "AssetAlias",
    "Model",
    "Label",
    "print",
    "info",
    "debug",
    "warning",
    "error",
    "exception",
}
_LOOPBACK = re.compile(r"^(?:localhost|127(?:\.\d+){3}|::1|0\.0\.0\.0|\[::1\])$", re.I)
_NAMES_ONLY = {
    "www.w3.org",
    "schemas.xmlsoap.org",
    "schemas.openxmlformats.org",
    "json-schema.org",
    "purl.org",
    "xmlns.com",
}


def weak_sslmode(seen: Seen) -> Iterator[Told]:
    """SP106."""
    return once(_weak_sslmode(seen))


def unverified(seen: Seen) -> Iterator[Told]:
    """SP107."""
    yield from once(_unverified(seen))
    used = [*seen.attributes, *((call.qualified, call.place) for call in seen.calls)]
    lines: set[tuple[str, int]] = set()
    for dotted, place in used:
        if dotted in _UNCHECKED and (dotted, place.line) not in lines:
            lines.add((dotted, place.line))
            yield place, f"{dotted} turns off the check of who answers"


def plain_endpoint(seen: Seen) -> Iterator[Told]:
    """SP108."""
    yield from once(_plain_endpoint(seen))
    called = {call.name for call in seen.calls}
    for call in seen.calls:
        upgrade = _PLAIN_CLIENTS.get(call.qualified)
        if upgrade is not None and upgrade not in called:
            yield call.place, f"{call.qualified} is not encrypted on the way"


def _weak_sslmode(seen: Seen) -> Iterator[tuple[Literal, str]]:
    for each in seen.literals:
        if not isinstance(each.value, str):
            continue
        mode = each.value.lower() if each.name and _MODE_NAME.search(each.name) else None
        if mode not in _WEAK_MODES:
            found = _MODE_IN_TEXT.search(each.value)
            mode = found["mode"].lower() if found else None
        if mode is not None:
            yield each, f"sslmode={mode} lets a stranger answer for the database"


def _unverified(seen: Seen) -> Iterator[tuple[Literal, str]]:
    for each in seen.literals:
        value, name = each.value, each.name or ""
        no = value is False or (isinstance(value, str) and value.lower() in ("false", "no", "0"))
        yes = value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "1"))
        if (no and _NO_CHECK_IF_FALSE.match(name)) or (yes and _NO_CHECK_IF_TRUE.match(name)):
            yield each, f"{name}={'False' if no else 'True'} turns off the check of who answers"
        elif isinstance(value, str):
            for shown, pattern in _SHELL.items():
                if pattern.search(value):
                    yield each, f"{shown} turns off the check of who answers"
                    break


def _plain_endpoint(seen: Seen) -> Iterator[tuple[Literal, str]]:
    for each in seen.literals:
        if not isinstance(each.value, str) or (each.name and _NO_ENDPOINT_NAME.search(each.name)):
            continue
        if each.within in _NO_ENDPOINT_CALL:
            continue
        for found in _PLAIN_URL.finditer(each.value):
            host = _host(found[0])
            if host is not None:
                scheme = found[0].partition(":")[0].lower()
                yield each, f"{scheme}://{host} is not encrypted on the way"
                break


def _host(url: str) -> str | None:
    """The host alone: a URL may hold a password or a token. ``None`` for this machine, and for what is a name only."""
    try:
        host = urlsplit(url.replace(HOLE, "").replace("{{", "").replace("}}", "")).hostname or ""
    except ValueError:
        host = ""
    if _LOOPBACK.match(host) or host in _NAMES_ONLY:
        return None
    return host if re.fullmatch(r"[a-z0-9.\-_]+", host) else "…"

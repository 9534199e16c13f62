"""ACL policies: their text, and which rule counts for a path."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping

from .protocol import Refused

DEFAULT_POLICY = """
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/wrapping/lookup" { capabilities = ["update"] }
path "sys/wrapping/unwrap" { capabilities = ["update"] }
"""
WRAPPING_POLICY = """
path "sys/wrapping/lookup" { capabilities = ["update"] }
path "sys/wrapping/unwrap" { capabilities = ["update"] }
"""
_CAPABILITIES = {"create", "read", "update", "patch", "delete", "list", "sudo", "deny"}


@functools.cache
def parse_policy(text: str) -> Mapping[str, frozenset[str]]:
    """
    The paths of an ACL policy and their capabilities; HCL or JSON.

    Nothing but ``path "…" { capabilities = […] }`` is understood; more is refused, since ignoring it would
    make the stand-in laxer than Vault.
    """
    rules: dict[str, frozenset[str]] = {}
    if text.lstrip().startswith("{"):
        try:
            rules = {path: frozenset(body["capabilities"]) for path, body in json.loads(text)["path"].items()}
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(400, "failed to parse policy") from error
    else:
        bare = re.sub(r"/\*.*?\*/|(?:^|(?<=\s))(?:#|//)[^\n]*", "", text, flags=re.DOTALL)
        rule = r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]\s*\}'
        if re.sub(rule, "", bare).strip():
            raise Refused(400, "failed to parse policy")
        for path, listed in re.findall(rule, bare):
            rules[path] = rules.get(path, frozenset()) | frozenset(re.findall(r'"([^"]*)"', listed))
    for granted in rules.values():
        if granted - _CAPABILITIES:
            raise Refused(
                400, f"failed to parse policy: invalid capability {sorted(granted - _CAPABILITIES)}"
            )
    return rules


def matches(pattern: str, path: str) -> bool:
    parts = [("[^/]+" if part == "+" else re.escape(part)) for part in pattern.removesuffix("*").split("/")]
    expression = "/".join(parts) + (".*" if pattern.endswith("*") else "")
    return re.fullmatch(expression, path, flags=re.DOTALL) is not None


def specificity(pattern: str) -> tuple[float, bool, int, int, str]:
    """Vault's order of precedence, rule by rule in the order of its documentation."""
    wildcards = [match.start() for match in re.finditer(r"(?:^|(?<=/))\+(?=/|$)|\*$", pattern)]
    first = min(wildcards, default=float("inf"))
    return first, not pattern.endswith("*"), -pattern.count("+"), len(pattern), pattern

"""How stores keep what is in them, where the connection can't tell: what AWS says of its databases, and what people declared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..model import AtRest, Evidence

log = logging.getLogger(__name__)


class StoreFacts(Mapping[str, AtRest]):
    """By dataset namespace; a store is asked for when it is first looked up.

    :param declared: what people declared; of two that name a store the first counts.
    :param ask: gives what is observed of a namespace; ``None`` for a store that does not tell.
    """

    def __init__(
        self, *declared: Mapping[str, AtRest], ask: Callable[[str], AtRest | None] = lambda namespace: None
    ) -> None:
        self._declared = declared
        self._ask = ask
        self._asked: dict[str, AtRest | None] = {}

    def __getitem__(self, namespace: str) -> AtRest:
        declared = next((each[namespace] for each in self._declared if namespace in each), None)
        if namespace not in self._asked:
            self._asked[namespace] = self._ask(namespace)
        observed = self._asked[namespace]
        if observed is not None:
            return _held_against(observed, declared, namespace)
        if declared is None:
            raise KeyError(namespace)
        return declared

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for each in self._declared for name in each))

    def __len__(self) -> int:
        return len(list(iter(self)))


def _held_against(observed: AtRest, declared: AtRest | None, namespace: str) -> AtRest:
    """What is observed counts. A declaration that says something else is a contradiction, which counts as not encrypted."""
    if declared is None or (
        declared.scheme == observed.scheme and declared.key_id in (None, observed.key_id)
    ):
        return observed
    note = " ".join(
        part or ""
        for part in (
            "declared",
            declared.scheme,
            declared.key_id,
            "but observed",
            observed.scheme,
            observed.key_id,
        )
        if part
    )
    log.warning("%s: %s", namespace, note)
    return replace(observed, evidence=Evidence.CONTRADICTED, note=note)


def rds_at_rest(client: Any, namespace: str) -> AtRest | None:
    """What RDS says of the instance or cluster whose endpoint is just this host and port.

    The host's first label is the name to ask for; the endpoint in the answer decides. ``None`` for any other host, and where RDS
    does not answer, which is warned of.

    :param client: a boto3 client of RDS.
    :param namespace: ``postgres://host:port``.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    host, _, port = namespace.partition("://")[2].rpartition(":")
    name, _, domain = host.partition(".")
    if not domain or host.startswith("/"):
        return None
    for describe, kind in (
        (client.describe_db_instances, "DBInstance"),
        (client.describe_db_clusters, "DBCluster"),
    ):
        try:
            answer = describe(**{f"{kind}Identifier": name})
        except ClientError as error:
            if error.response["Error"]["Code"] not in (f"{kind}NotFound", f"{kind}NotFoundFault"):
                log.warning("%s: RDS was not willing to tell: %s", host, error.response["Error"]["Code"])
            continue
        except BotoCoreError as error:
            log.warning("%s: RDS could not be asked: %s", host, type(error).__name__)
            return None
        for each in answer[f"{kind}s"]:
            if (host, int(port)) in _endpoints(each):
                return _of(each, kind)
    return None


def _endpoints(told: Mapping[str, Any]) -> Sequence[tuple[str, int]]:
    endpoint = told.get("Endpoint")
    if isinstance(endpoint, Mapping):  # of an instance
        return [(endpoint["Address"], endpoint["Port"])]
    hosts = [endpoint, told.get("ReaderEndpoint"), *(told.get("CustomEndpoints") or ())]
    return [(host, told.get("Port", 0)) for host in hosts if host]


def _of(told: Mapping[str, Any], kind: str) -> AtRest:
    note = f"RDS says so of {kind} {told[f'{kind}Identifier']}"
    if not told.get("StorageEncrypted"):
        return AtRest("none", evidence=Evidence.OBSERVED, note=note)
    return AtRest("volume", "AES-256", "aws-kms", told.get("KmsKeyId"), Evidence.OBSERVED, note)

"""``airflow-secure check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from .io import logs_apart

if TYPE_CHECKING:
    from ..inspection.findings import Finding
    from ..inspection.vault_access import VaultAccess

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "unknown": "yellow"}


@click.command("check")
@click.option(
    "--conn-id", "conn_ids", multiple=True, help="A PostgreSQL connection whose TLS is tried; once for each."
)
@click.option(
    "--keyset", "keysets", multiple=True, help="A keyset to unwrap: a path or s3://; once for each."
)
@click.option("--bucket", "buckets", multiple=True, help="An S3 bucket to reach; once for each.")
@click.option("--aws-conn-id", default="aws_default", show_default=True, help="For S3 and KMS.")
@click.option(
    "--issue", is_flag=True, help="Also take each credential from Vault for real, and give it back."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def check(
    conn_ids: tuple[str, ...],
    keysets: tuple[str, ...],
    buckets: tuple[str, ...],
    aws_conn_id: str,
    issue: bool,
    as_json: bool,
) -> None:
    """Try what Airflow's configuration says: Vault, keys, PostgreSQL's TLS, S3, lineage.

    Run it where tasks run, as their user. Ends with status 1 if something failed. No secret is printed.
    """
    with logs_apart() as say:
        bad = _check(say, conn_ids, keysets, buckets, aws_conn_id, issue=issue, as_json=as_json)
    if bad:
        raise SystemExit(1)


def _check(
    say: Callable[[str], None],
    conn_ids: tuple[str, ...],
    keysets: tuple[str, ...],
    buckets: tuple[str, ...],
    aws_conn_id: str,
    *,
    issue: bool,
    as_json: bool,
) -> int:
    """:return: how many failed."""
    from ._backend import vault_access

    findings: list[Finding] = []
    for finding in _findings(vault_access(), conn_ids, keysets, buckets, aws_conn_id, issue):
        findings.append(finding)
        if not as_json:
            verdict = click.style(f"{finding.verdict:8}", fg=_COLOURS[finding.verdict])
            say(f"{verdict}{finding.part:9} {finding.subject}\n{'':17} {finding.detail}")
    bad = sum(each.verdict == "failed" for each in findings)
    if as_json:
        import json

        say(json.dumps({"ok": not bad, "findings": [each.as_dict() for each in findings]}, indent=2))
    else:
        say(f"{len(findings)} checked, {bad} failed")
    return bad


def _findings(
    access: VaultAccess | None,
    conn_ids: tuple[str, ...],
    keysets: tuple[str, ...],
    buckets: tuple[str, ...],
    aws_conn_id: str,
    issue: bool,
) -> Iterator[Finding]:
    from ..inspection.findings import warning
    from ..inspection.services import check_bucket, check_keyset, check_lineage, check_transit_audit
    from ..inspection.vault import check_vault

    yield _plugin()
    if access is None:
        yield warning("vault", "secrets backend", "Airflow's configuration has no VaultSecretsBackend")
    else:
        yield from check_vault(access, issue=issue)
        yield from _templates(access)
    for conn_id in conn_ids:
        yield _connection(conn_id)
    for uri in keysets:
        yield check_keyset(uri, lambda each: _open_keyset(each, access, aws_conn_id))
        key_id = _transit_key(uri, aws_conn_id)
        if key_id and access is not None:
            yield check_transit_audit(access.client(), key_id)
    for bucket in buckets:
        yield check_bucket(bucket, _client(aws_conn_id, "s3"))
    yield check_lineage(_transport())


def _plugin() -> Finding:
    """Without it nothing tells tasks from other processes, and nothing is leased."""
    from airflow.plugins_manager import get_plugin_info

    from ..inspection.findings import failed, ok

    names = {each.get("name") for each in get_plugin_info(["name"])}
    if "secure_provider" in names:
        return ok("airflow", "plugin", "secure_provider is loaded")
    return failed(
        "airflow", "plugin", "secure_provider is not loaded; see `airflow plugins` and `airflow info`"
    )


def _templates(access: VaultAccess) -> Iterator[Finding]:
    """The parts of dynamic connections that are no secret: where a PostgreSQL is, and how its TLS is checked."""
    from ..inspection.findings import failed
    from ..inspection.services import check_postgres

    for name, fields in access.templates():
        if isinstance(fields, str):
            yield failed("vault", f"template of {name!r}", fields)
        elif fields.get("conn_type") == "postgres":
            extra = fields.get("extra") or {}
            if isinstance(extra, str):
                import json

                extra = json.loads(extra)
            port = fields.get("port")
            yield check_postgres(name, fields.get("host"), int(port) if port else None, extra)


def _connection(conn_id: str) -> Finding:
    from airflow.sdk.bases.hook import BaseHook

    from ..inspection.findings import failed
    from ..inspection.services import check_postgres

    try:
        found = BaseHook.get_connection(conn_id)
    except Exception as error:  # noqa: BLE001 (of anybody's backend)
        return failed(
            "postgres", f"connection {conn_id!r}", f"it can't be looked up here: {type(error).__name__}"
        )
    return check_postgres(conn_id, found.host, found.port, found.extra_dejson)


def _client(aws_conn_id: str, service: str, region: str | None = None) -> Any:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    return AwsBaseHook(aws_conn_id=aws_conn_id, client_type=service, region_name=region).get_conn()


def _read(location: str, aws_conn_id: str) -> bytes:
    from pathlib import Path

    from ..stores.s3 import read_small
    from .io import read

    return (
        read_small(_client(aws_conn_id, "s3"), location)
        if location.startswith("s3://")
        else read(Path(location))
    )


def _open_keyset(uri: str, access: VaultAccess | None, aws_conn_id: str) -> Any:
    from ..keyrings.opening import open_keyset

    def kms(arn: str) -> Any:
        parts = arn.split(":")
        return _client(aws_conn_id, "kms", parts[3] if len(parts) > 3 else None)

    vault = access.client if access is not None else None
    return open_keyset(uri, lambda location: _read(location, aws_conn_id), kms, vault_client=vault)


def _transit_key(uri: str, aws_conn_id: str) -> str | None:
    from ..crypto.keyset import KeysetDocument
    from ..errors import SecureProviderError
    from ..keyrings.opening import KeysetUri
    from ..keyrings.vault_transit import PROVIDER

    try:
        location = KeysetUri.parse(uri).location
        document = KeysetDocument.from_json(_read(location, aws_conn_id), location)
    except SecureProviderError:
        return None  # told by then
    return document.key_id if document.provider == PROVIDER else None


def _transport() -> Any:
    """As the OpenLineage provider finds it; of its settings only type and url are looked at."""
    import json
    import os

    from airflow.sdk.configuration import conf

    if conf.getboolean("openlineage", "disabled", fallback=False):
        return None
    text = conf.get("openlineage", "transport", fallback="")
    if text:
        found = json.loads(text)
        while found.get("type") == "transform" and found.get("transport"):
            found = found["transport"]
        return found
    url = os.environ.get("OPENLINEAGE_URL")
    return {"type": "http", "url": url} if url else None

"""``airflow-secure check``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .check_dags import Asked as AskedOfDags
from .check_dags import check_dags, unknown_together
from .io import logs_apart

if TYPE_CHECKING:
    from ..inspection.findings import Finding
    from ..inspection.vault_access import VaultAccess

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "unknown": "yellow"}


@click.command("check")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--contracts",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Of PATHS: data contracts; [secure_provider] contracts by default.",
)
@click.option("--rule", "rules", metavar="ID", multiple=True, help="Of PATHS: only this rule; once for each.")
@click.option(
    "--ignore", "ignored", metavar="ID", multiple=True, help="Of PATHS: not this rule; once for each."
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "sarif"]), help="Of PATHS: text by default."
)
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
    paths: tuple[Path, ...],
    contracts: Path | None,
    rules: tuple[str, ...],
    ignored: tuple[str, ...],
    form: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Hold DAG files below PATHS to the contracts; they are read and never imported.

    Without PATHS, try what Airflow's configuration says: Vault, keys, PostgreSQL's TLS, S3, lineage. Run that where tasks run, as
    their user.

    Ends with status 1 if something failed, and with 2 if a file could not be read. No secret is printed.
    """
    others = {
        "--conn-id": asked["conn_ids"],
        "--keyset": asked["keysets"],
        "--bucket": asked["buckets"],
        "--issue": asked["issue"],
    }
    gate = {"--contracts": contracts, "--rule": rules, "--ignore": ignored, "--format": form}
    unknown_together(paths, others, gate)
    if paths:
        status = check_dags(
            AskedOfDags(paths, contracts, rules, ignored, form or ("json" if as_json else "text"))
        )
        raise SystemExit(status)
    with logs_apart() as say:
        bad = _check(say, _Asked(**asked), as_json=as_json)
    if bad:
        raise SystemExit(1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options, as the command has them."""

    conn_ids: tuple[str, ...]
    keysets: tuple[str, ...]
    buckets: tuple[str, ...]
    aws_conn_id: str
    issue: bool


def _check(say: Callable[[str], None], asked: _Asked, *, as_json: bool) -> int:
    """:return: how many failed."""
    from ._backend import vault_access

    findings: list[Finding] = []
    for finding in _findings(vault_access(), asked):
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


def _findings(access: VaultAccess | None, asked: _Asked) -> Iterator[Finding]:
    """One look that breaks keeps no other from being taken."""
    yield from _guarded("airflow", "plugin", _plugin)
    yield from _guarded("vault", "secrets backend", partial(_vault, access, asked.issue))
    for conn_id in asked.conn_ids:
        look = partial(_connection, conn_id, access, asked.issue)
        yield from _guarded("postgres", f"connection {conn_id!r}", look)
    for uri in asked.keysets:
        yield from _guarded("keyset", uri.partition("?")[0], partial(_keyset, uri, access, asked.aws_conn_id))
    for bucket in asked.buckets:
        yield from _guarded("s3", f"bucket {bucket!r}", partial(_bucket, bucket, asked.aws_conn_id))
    yield from _guarded("lineage", "OpenLineage", _lineage)
    if access is not None:
        access.close()


def _guarded(part: str, subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    from ..errors import SecureProviderError
    from ..inspection.findings import failed

    try:
        yield from look()
    except SecureProviderError as error:
        yield failed(part, subject, str(error))
    except Exception as error:  # noqa: BLE001 (of anybody's: its text may quote a secret)
        ours = type(error).__name__ == "AirflowSecretsBackendAccessDenied"  # whose text is made to be shown
        yield failed(
            part, subject, str(error) if ours else f"it could not be looked at: {type(error).__name__}"
        )


def _vault(access: VaultAccess | None, issue: bool) -> Iterator[Finding]:
    from ..inspection.findings import failed, warning
    from ..inspection.vault import check_vault

    if access is None:
        verdict = failed if issue else warning
        yield verdict("vault", "secrets backend", "Airflow's configuration has no VaultSecretsBackend")
        return
    yield from check_vault(access, issue=issue)
    yield from _templates(access)


def _keyset(uri: str, access: VaultAccess | None, aws_conn_id: str) -> Iterator[Finding]:
    from ..inspection.services import check_keyset, check_transit_audit

    yield check_keyset(uri, lambda each: _open_keyset(each, access, aws_conn_id))
    key_id = _transit_key(uri, aws_conn_id)
    if key_id and access is not None:
        yield check_transit_audit(access.client(), key_id)


def _plugin() -> Iterator[Finding]:
    """Without it nothing tells tasks from other processes, and nothing is leased."""
    from airflow.plugins_manager import get_plugin_info

    from ..inspection.findings import failed, ok

    names = {each.get("name") for each in get_plugin_info(["name"])}
    if "secure_provider" in names:
        yield ok("airflow", "plugin", "secure_provider is loaded")
        return
    yield failed(
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


def _connection(conn_id: str, access: VaultAccess | None, issue: bool) -> Iterator[Finding]:
    """Of one that Vault answers for, also its credential; nobody logs in to PostgreSQL."""
    from airflow.sdk.bases.hook import BaseHook

    from ..inspection.findings import ok
    from ..inspection.services import check_postgres
    from ..inspection.vault import check_credential

    told = access.describe(conn_id) if access is not None else None
    if told is not None and access is not None:
        fields, credential = told
        kind, host, port, extra = (fields.get(name) for name in ("conn_type", "host", "port", "extra"))
        if credential is not None and conn_id not in {each.name for each in access.credentials}:
            yield from check_credential(access, access.client(), credential, issue=issue)
    else:
        found = BaseHook.get_connection(conn_id)
        kind, host, port, extra = found.conn_type, found.host, found.port, found.extra_dejson
    if kind != "postgres":
        yield ok(
            "airflow",
            f"connection {conn_id!r}",
            f"it is there, of type {kind}; nothing more is known of that type",
        )
        return
    if isinstance(extra, str):
        import json

        extra = json.loads(extra)
    yield check_postgres(conn_id, host, int(port) if port else None, extra or {})


def _bucket(bucket: str, aws_conn_id: str) -> Iterator[Finding]:
    from ..inspection.services import check_bucket

    yield check_bucket(bucket, _client(aws_conn_id, "s3"))


def _client(aws_conn_id: str, service: str, region: str | None = None) -> Any:
    from .aws import client

    return client(aws_conn_id, service, region)


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


def _lineage() -> Iterator[Finding]:
    from airflow.sdk.configuration import conf

    from ..inspection.lineage import check_lineage, check_spool
    from ..lineage.transport import send_once

    configured = whole = _transport()
    while configured:
        if configured.get("spool"):
            from pathlib import Path

            from ..lineage.spool import Spool

            spool = Spool(Path(configured["spool"]))
            yield check_spool(configured["spool"], len(spool.waiting()), spool.dropped())
        if not isinstance(configured.get("transport"), dict):
            break
        configured = configured["transport"]  # what sends is inside
    namespace = conf.get("openlineage", "namespace", fallback="default")
    yield check_lineage(configured, partial(send_once, whole), namespace)


def _transport() -> Any:
    """As the OpenLineage provider finds it; of its settings only type and url are looked at."""
    import json
    import os

    from airflow.sdk.configuration import conf

    if conf.getboolean("openlineage", "disabled", fallback=False):
        return None
    text = conf.get("openlineage", "transport", fallback="")
    if text:
        return json.loads(text)
    url = os.environ.get("OPENLINEAGE_URL")
    if url:
        return {"type": "http", "url": url}
    elsewhere = conf.get("openlineage", "config_path", fallback="") or os.environ.get("OPENLINEAGE_CONFIG")
    if elsewhere or any(name.startswith("OPENLINEAGE__TRANSPORT") for name in os.environ):
        return {"type": "of the OpenLineage client's own configuration, which was not looked at"}
    return None

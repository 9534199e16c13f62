"""What is seen of stock operators' connections, over real TLS to real servers."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_secure_provider.lineage.observations import Observations
from airflow_secure_provider.model import AtRest, Evidence, InTransit
from sandbox.aws import Aws
from sandbox.environment import REPOSITORY, clean_environment
from sandbox.postgres import Postgres
from tests.fixtures_vault import unique

SCHEMA = json.loads((REPOSITORY / "docs/formats/EncryptionDatasetFacet.json").read_text())
TLS = InTransit("TLSv1.3", "X", True, False, Evidence.OBSERVED)


def facet(seen: Observations, namespace: str = "s3://b", name: str = "k") -> dict[str, Any]:
    found = seen.facet(namespace, name)
    jsonschema.validate(found, SCHEMA)
    return found


def test_silence_is_unknown() -> None:
    assert facet(Observations())["status"] == "unknown"


def test_what_was_seen() -> None:
    seen = Observations()
    seen.stored("s3://b", "/k", AtRest("SSE-KMS", "AES-256", "aws-kms", "arn", Evidence.OBSERVED))
    assert facet(seen)["status"] == "unknown"  # nobody saw it travel
    seen.travelled("s3://b", "k", TLS)
    assert facet(seen)["status"] == "protected"
    seen.travelled("s3://b", "other", InTransit(protocol="none", evidence=Evidence.OBSERVED))
    assert facet(seen)["status"] == "protected"  # that was another object's connection
    seen.travelled("s3://b", "k", InTransit(protocol="none", evidence=Evidence.OBSERVED))
    assert facet(seen)["status"] == "exposed"  # the weakest counts
    seen.clear()
    assert facet(seen)["status"] == "unknown"


def test_a_declaration_fills_in_and_is_contradicted() -> None:
    seen = Observations()
    seen.travelled("s3://b", "k", TLS)
    seen.stored("s3://b", "k", AtRest("none", evidence=Evidence.OBSERVED))
    seen.declared = lambda: {"s3://b": AtRest("volume", evidence=Evidence.DECLARED)}
    assert (facet(seen)["status"], facet(seen)["atRest"]["evidence"]) == ("protected", "declared")
    seen.declared = lambda: {"s3://b": AtRest("SSE-KMS", evidence=Evidence.DECLARED)}
    found = facet(seen)
    assert (found["status"], found["atRest"]["evidence"]) == ("exposed", "contradicted")
    assert found["atRest"]["note"] == "declared SSE-KMS, observed none"
    seen.stored("s3://b", "k", AtRest("SSE-S3", evidence=Evidence.OBSERVED))
    assert facet(seen)["status"] == "unknown"
    seen.stored("s3://b", "k", AtRest("SSE-KMS", key_id="other", evidence=Evidence.OBSERVED))
    seen.declared = lambda: {"s3://b": AtRest("SSE-KMS", key_id="ours", evidence=Evidence.DECLARED)}
    assert facet(seen)["atRest"]["evidence"] == "contradicted"


@pytest.mark.parametrize(
    ("namespace", "seen_there", "declared", "status", "evidence"),
    [
        # What Google documents may be declared, since no answer can say it or belie it.
        ("gs://b", AtRest(note="no key"), "SSE", "protected", "declared"),
        ("gs://b", AtRest(note="no key"), "volume", "protected", "declared"),
        ("gs://b", AtRest(note="no key"), "SSE-KMS", "unknown", "contradicted"),
        ("gs://b", AtRest("SSE-KMS", evidence=Evidence.OBSERVED), "SSE", "protected", "observed"),
        # Azure says whether, and never under whose key of the account.
        ("wasbs://c@a", AtRest("SSE", evidence=Evidence.OBSERVED), "SSE-KMS", "protected", "observed"),
        ("wasbs://c@a", AtRest("none", evidence=Evidence.OBSERVED), "SSE", "exposed", "contradicted"),
        ("wasbs://c@a", AtRest("SSE-C", evidence=Evidence.OBSERVED), "SSE", "protected", "observed"),
        ("wasbs://c@a", AtRest("SSE", evidence=Evidence.OBSERVED), "SSE-C", "unknown", "contradicted"),
        ("s3://b", AtRest("none", evidence=Evidence.OBSERVED), "SSE", "exposed", "contradicted"),
        ("kafka://h:1", None, "volume", "protected", "declared"),
    ],
)
def test_a_declaration_is_held_against_what_this_store_would_show(
    namespace: str, seen_there: AtRest | None, declared: str, status: str, evidence: str
) -> None:
    seen = Observations()
    seen.travelled(namespace, "k", TLS)
    if seen_there is not None:
        seen.stored(namespace, "k", seen_there)
    seen.declared = lambda: {namespace: AtRest(declared, evidence=Evidence.DECLARED)}
    found = facet(seen, namespace)
    assert (found["status"], found["atRest"]["evidence"]) == (status, evidence)


SCRIPT = """
import json, os, sys
from airflow_secure_provider.lineage.observations import OBSERVED
from airflow_secure_provider.lineage.watching.install import watch
watch()
watch()
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.postgres.hooks.postgres import PostgresHook
bucket, key = sys.argv[1:3]
hook = S3Hook("aws")
hook.load_string("secret content", key, bucket, replace=True)
hook.load_string("x", "kms.csv", bucket, replace=True, encrypt=False, acl_policy=None)
hook.get_conn().put_object(Bucket=bucket, Key="kms.csv", Body=b"x", ServerSideEncryption="aws:kms")
hook.read_key(key, bucket)
try:
    hook.read_key("missing", bucket)
except Exception as error:
    print(type(error).__name__, file=sys.stderr)
assert PostgresHook("pg").get_first("SELECT 1") == (1,)
namespace = "postgres://" + sys.argv[3]
pid = os.fork()
if pid == 0:  # as OpenLineage does
    found = {name: OBSERVED.facet(f"s3://{bucket}", name) for name in (key, "kms.csv", "missing")}
    print(json.dumps(found | {"pg": OBSERVED.facet(namespace, "db.schema.table")}), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_hooks_of_stock_operators(aws: Aws, postgres: Postgres, tmp_path: Path) -> None:
    client = aws.client("s3")
    bucket = unique("stock")
    client.create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": client.meta.region_name}
    )
    connections = {
        "AIRFLOW_CONN_AWS": json.dumps(aws.airflow_connection()),
        "AIRFLOW_CONN_PG": json.dumps(
            postgres.airflow_connection(
                "postgres", login=postgres.superuser, password=postgres.superuser_password
            )
        ),
    }
    place = f"{postgres.host}:{postgres.port}"
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), bucket, "a/plain.csv", place],
        env=clean_environment(tmp_path / "home", AIRFLOW_HOME=str(tmp_path / "airflow"), **connections),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))
    plain, kms, missing, pg = (found[name] for name in ("a/plain.csv", "kms.csv", "missing", "pg"))
    for each in (plain, kms, missing, pg):
        jsonschema.validate(each, SCHEMA)
    assert plain["atRest"]["evidence"] == "observed"
    assert (kms["atRest"]["scheme"], kms["status"]) == ("SSE-KMS", "protected")
    assert kms["inTransit"]["peerVerified"] is True
    assert kms["inTransit"]["protocol"].startswith("TLSv1")
    assert missing["status"] == "unknown"
    assert (pg["inTransit"]["peerVerified"], pg["atRest"]["evidence"]) == (True, "unknown")
    assert "secret content" not in run.stdout


@pytest.mark.parametrize("mode", ["require", "disable"])
def test_a_connection_that_proves_little(postgres: Postgres, mode: str) -> None:
    from airflow_secure_provider.lineage.observations import OBSERVED
    from airflow_secure_provider.lineage.watching.databases import look_at_connection

    OBSERVED.clear()

    class Fake:
        class info:
            host, port = "db", 5432

            @staticmethod
            def get_parameters() -> dict[str, str]:
                return {"sslmode": mode}

        class pgconn:
            ssl_in_use = mode == "require"

    look_at_connection(None, Fake())
    found = OBSERVED.facet("postgres://db:5432", "a.b.c")
    assert found["status"] == {"require": "unknown", "disable": "exposed"}[mode]
    OBSERVED.clear()


@pytest.mark.parametrize("namespace", ["s3://b", "gs://b", "wasbs://c@a", "kafka://h:1"])
def test_an_object_that_nobody_touched_was_not_observed(namespace: str) -> None:
    """Whatever came out of its bucket, over whichever connection."""
    seen = Observations()
    seen.declared = lambda: {namespace: AtRest("volume", evidence=Evidence.DECLARED)}
    seen.travelled(namespace, "other", TLS)
    seen.travelled(namespace, "", TLS)
    found = facet(seen, namespace, "secret.csv")
    assert (found["status"], found["inTransit"]["evidence"]) == ("unknown", "unknown")
    assert facet(seen, namespace, "other")["inTransit"]["evidence"] == "observed"


def test_the_tables_of_a_database_come_over_its_connection() -> None:
    seen = Observations()
    seen.travelled("postgres://h:1", "", TLS)
    assert facet(seen, "postgres://h:1", "a.b.c")["inTransit"]["evidence"] == "observed"


HOOKS = """
from airflow_secure_provider.lineage.watching.install import watch
watch()
from airflow.providers.common.sql.hooks.sql import DbApiHook
made = []
class Registered:
    def __init_subclass__(cls, name="", **kwargs):
        super().__init_subclass__(**kwargs)
        made.append(name)
class Hook(DbApiHook, Registered, name="x"):
    conn_name_attr, default_conn_name, conn_type = "c", "c", "c"
assert made == ["x"], made
"""


def test_hooks_with_other_bases_are_made_as_ever(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", HOOKS],
        env=clean_environment(tmp_path / "home", AIRFLOW_HOME=str(tmp_path / "airflow")),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]

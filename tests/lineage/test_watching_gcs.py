"""Cloud Storage's own client against servers with TLS and without, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, clean_environment
from tests.tls_server import TlsServer

from .gcs_server import gcs

SCHEMA = json.loads((REPOSITORY / "docs/formats/EncryptionDatasetFacet.json").read_text())
KEY = "projects/p/locations/eu/keyRings/r/cryptoKeys/k"

# The SDK is imported after the watching has begun; the test of Azure does it before, as a DAG file in ``dags test``.
SCRIPT = """
import json, sys
url, plain_url, ca, key = sys.argv[1:]
from airflow_secure_provider.lineage.observations import OBSERVED
from airflow_secure_provider.lineage.watching.install import watch
watch()
assert not {"google.auth", "google.cloud.storage", "airflow_secure_provider.lineage.watching.gcs"} & set(sys.modules)
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

def connected(url, verify, bucket):
    client = storage.Client("p", AnonymousCredentials(), client_options={"api_endpoint": url})
    client._http.verify = verify
    return client, client.bucket(bucket)

client, bucket = connected(url, ca, "lake")
seen = []
client._http.hooks["response"] = lambda answer, *_, **__: seen.append(answer.status_code)
bucket.blob("a/plain.csv").upload_from_string(b"secret content")
assert bucket.blob("a/plain.csv").download_as_bytes() == b"secret content"
bucket.blob("kms.csv", kms_key_name=key).upload_from_string(b"x")
with bucket.blob("parts.csv", chunk_size=262144, kms_key_name=key).open("wb") as file:
    file.write(b"x" * 300000)
bucket.blob("own.csv", encryption_key=b"k" * 32).upload_from_string(b"x")
bucket.copy_blob(bucket.blob("a/plain.csv"), bucket, "copied.csv")
bucket.blob("rewritten.csv", kms_key_name=key).rewrite(bucket.blob("a/plain.csv"))
assert [each.name for each in client.list_blobs("lake", prefix="a/")] == ["a/plain.csv"]
assert bucket.blob("kms.csv").exists()  # asks for the name alone
assert not bucket.blob("missing.csv").exists()
assert seen
assert len(client._http.hooks["response"]) == 2
OBSERVED.clear()
bucket.blob("again.csv", kms_key_name=key).rewrite(bucket.blob("kms.csv"))
found = {"again.csv": OBSERVED.facet("gs://lake", "again.csv"), "copied from": OBSERVED.facet("gs://lake", "kms.csv")}
OBSERVED.clear()
# What is only read is what its answers say, and these say nothing but of the customer's key.
assert bucket.blob("kms.csv").download_as_bytes() == b"x"
assert bucket.blob("own.csv", encryption_key=b"k" * 32).download_as_bytes() == b"x"
found |= {f"read {name}": OBSERVED.facet("gs://lake", name) for name in ("kms.csv", "own.csv")}
for name in ("a/plain.csv", "parts.csv", "copied.csv", "rewritten.csv", "kms.csv"):
    bucket.get_blob(name)
list(client.list_blobs("lake", prefix="a/"))
some = {"fields": "kind,bucket,name"}  # of an answer that leaves the key out nothing follows
client._connection.api_request("GET", bucket.blob("kms.csv").path, query_params=some)
for name in ("a/plain.csv", "parts.csv", "copied.csv", "rewritten.csv", "kms.csv", "a/", "missing.csv"):
    found[name] = OBSERVED.facet("gs://lake", name)

for name, place, verify in (("loose", url, False), ("plain", plain_url, True)):
    connected(place, verify, name)[1].blob("kms.csv", kms_key_name=key).upload_from_string(b"x")
    found[name] = OBSERVED.facet(f"gs://{name}", "kms.csv")

from airflow_secure_provider.lineage.watching import gcs as watching_gcs
def broken(*_):
    raise RuntimeError("of the watching")
watching_gcs.how_it_came = watching_gcs._named = watching_gcs.at_rest = broken
bucket.blob("broken.csv").upload_from_string(b"x")
assert bucket.blob("broken.csv").download_as_bytes() == b"x"
found["broken"] = OBSERVED.facet("gs://lake", "broken.csv")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("gcs")
    with (
        TlsServer(gcs("https"), "owner", authority) as server,
        TlsServer(gcs("http"), "owner", None) as plain,
    ):
        arguments = (server.url, plain.url, str(authority.ca_pem), KEY)
        run = subprocess.run(
            [sys.executable, "-W", "ignore:Unverified", "-c", SCRIPT, *arguments],
            env=clean_environment(folder / "home", AIRFLOW_HOME=str(folder / "airflow")),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "secret content" not in run.stdout + run.stderr
    facets: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    for each in facets.values():
        jsonschema.validate(each, SCHEMA)
    return facets


@pytest.mark.parametrize("name", ["kms.csv", "parts.csv", "rewritten.csv", "again.csv"])
def test_an_object_under_a_key_of_its_owner(found: dict[str, Any], name: str) -> None:
    seen = found[name]
    assert seen["status"] == "protected"
    assert seen["atRest"] == {
        "scheme": "SSE-KMS",
        "keyProvider": "google-cloud-kms",
        "keyId": KEY,
        "evidence": "observed",
        "note": "key version 1",
    }
    assert seen["inTransit"]["protocol"] == "TLSv1.3"
    assert seen["inTransit"]["peerVerified"] is True


@pytest.mark.parametrize("name", ["a/plain.csv", "copied.csv"])
def test_what_google_documents_is_not_what_an_answer_says(found: dict[str, Any], name: str) -> None:
    seen = found[name]
    assert (seen["status"], seen["atRest"]["scheme"], seen["atRest"]["evidence"]) == (
        "unknown",
        "unknown",
        "unknown",
    )
    assert "names no key" in seen["atRest"]["note"]
    assert seen["inTransit"]["evidence"] == "observed"


def test_a_download_alone_tells_only_of_the_customers_key(found: dict[str, Any]) -> None:
    assert found["read kms.csv"]["atRest"] == {"scheme": "unknown", "evidence": "unknown"}
    assert found["read kms.csv"]["inTransit"]["evidence"] == "observed"
    own = found["read own.csv"]["atRest"]
    assert (own["scheme"], own["algorithm"], own["evidence"]) == ("SSE-C", "AES256", "observed")


def test_what_is_copied_in_the_store_does_not_travel(found: dict[str, Any]) -> None:
    assert found["copied from"]["status"] == "unknown"
    assert found["copied from"]["inTransit"]["evidence"] == "unknown"


def test_a_folder_and_what_is_not_there(found: dict[str, Any]) -> None:
    assert found["a/"]["inTransit"]["evidence"] == "observed"
    assert found["a/"]["atRest"]["evidence"] == "unknown"
    assert found["missing.csv"]["status"] == "unknown"


@pytest.mark.parametrize(
    ("name", "status", "protocol", "verified"),
    [("loose", "partial", "TLSv1.3", False), ("plain", "exposed", "none", None)],
)
def test_a_connection_that_proves_little(
    found: dict[str, Any], name: str, status: str, protocol: str, verified: bool | None
) -> None:
    seen = found[name]
    assert (seen["status"], seen["inTransit"]["protocol"]) == (status, protocol)
    assert seen["inTransit"].get("peerVerified") is verified


def test_a_fault_of_the_watching_is_no_fault_of_the_task(found: dict[str, Any]) -> None:
    assert found["broken"]["inTransit"]["evidence"] == "unknown"

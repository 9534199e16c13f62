"""The SDK of Azure's blobs against servers with TLS and without, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_secure_provider.lineage.watching.azure import _stores
from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, clean_environment
from tests.tls_server import TlsServer

from .azure_server import azure

SCHEMA = json.loads((REPOSITORY / "docs/formats/EncryptionDatasetFacet.json").read_text())

SCRIPT = """
import json, sys
url, plain_url, ca = sys.argv[1:]
from airflow_secure_provider.lineage.observations import OBSERVED
from airflow_secure_provider.lineage.watching.install import watch
from azure.storage.blob import BlobServiceClient, CustomerProvidedEncryptionKey
watch()
key = "a2V5" * 4  # of the account; never in what is seen

def connected(url, verify, container):
    client = BlobServiceClient(
        f"{url}/account", credential={"account_name": "account", "account_key": key}, connection_verify=verify,
        max_single_put_size=100_000, max_block_size=100_000, max_single_get_size=100_000, max_chunk_get_size=100_000,
        retry_total=0,
    )
    return client.get_container_client(container)

lake = connected(url, ca, "lake")
lake.upload_blob("a/small file.csv", b"secret content")
lake.upload_blob("large.csv", b"x" * 300_000)
lake.upload_blob("old/plain.csv", b"x")
own = CustomerProvidedEncryptionKey("a2V5" * 10 + "a2U=", "aGFzaA==")
lake.upload_blob("own.csv", b"x", cpk=own)
lake.upload_blob("scoped.csv", b"x", encryption_scope="people")
names = ("a/small file.csv", "large.csv", "old/plain.csv", "own.csv", "scoped.csv")
place = url.partition("://")[2]
found = {f"written {name}": OBSERVED.facet("wasbs://lake@account", name) for name in names}
OBSERVED.clear()
assert lake.download_blob("a/small file.csv").readall() == b"secret content"
assert lake.download_blob("large.csv").readall() == b"x" * 300_000
lake.get_blob_client("old/plain.csv").get_blob_properties()
lake.download_blob("own.csv", cpk=own).readall()
lake.download_blob("scoped.csv").readall()
assert not lake.get_blob_client("missing.csv").exists()
assert [each.name for each in lake.list_blobs("a/")] == ["a/small file.csv"]
for name in (*names, "missing.csv", "a/"):
    found[name] = OBSERVED.facet("wasbs://lake@account", name)
found["by its host"] = OBSERVED.facet(f"wasbs://lake@{place}", "large.csv")
for name, where, verify in (("loose", url, False), ("plain", plain_url, True)):
    connected(where, verify, name).upload_blob("x.csv", b"x")
    found[name] = OBSERVED.facet(f"wasbs://{name}@account", "x.csv")

from airflow_secure_provider.lineage.watching import azure as watching_azure
def broken(*_):
    raise RuntimeError("of the watching")
watching_azure.how_it_came = watching_azure._stores = broken
lake.upload_blob("broken.csv", b"x")
assert lake.download_blob("broken.csv").readall() == b"x"
found["broken"] = OBSERVED.facet("wasbs://lake@account", "broken.csv")
assert key not in json.dumps(found)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("azure")
    with TlsServer(azure(), "owner", authority) as server, TlsServer(azure(), "owner", None) as plain:
        arguments = (server.url, plain.url, str(authority.ca_pem))
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


@pytest.mark.parametrize("when", ["", "written "])
@pytest.mark.parametrize(
    ("name", "scheme", "status"),
    [
        ("a/small file.csv", "SSE", "protected"),
        ("large.csv", "SSE", "protected"),
        ("scoped.csv", "SSE", "protected"),
        ("own.csv", "SSE-C", "protected"),
        ("old/plain.csv", "none", "exposed"),
    ],
)
def test_what_azure_says_of_a_blob(
    found: dict[str, Any], when: str, name: str, scheme: str, status: str
) -> None:
    seen = found[when + name]
    assert (seen["atRest"]["scheme"], seen["atRest"]["evidence"], seen["status"]) == (
        scheme,
        "observed",
        status,
    )
    assert (seen["inTransit"]["protocol"], seen["inTransit"]["peerVerified"]) == ("TLSv1.3", True)
    assert ("scope people" in seen["atRest"].get("note", "")) == (name == "scoped.csv")
    assert seen["atRest"].get("keyId") == ("aGFzaA==" if name == "own.csv" else None)


def test_names_with_the_host_too(found: dict[str, Any]) -> None:
    assert found["by its host"] == found["large.csv"]


def test_a_folder_and_what_is_not_there(found: dict[str, Any]) -> None:
    assert found["a/"]["inTransit"]["evidence"] == "observed"
    assert found["a/"]["atRest"]["evidence"] == "unknown"
    assert found["missing.csv"]["atRest"]["evidence"] == "unknown"


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


@pytest.mark.parametrize(
    ("host", "path", "stores", "rest"),
    [
        ("acme.blob.core.windows.net", "/c/b", {"acme", "acme.blob.core.windows.net"}, "/c/b"),
        (
            "acme-secondary.blob.core.windows.net",
            "/c/b",
            {"acme", "acme-secondary.blob.core.windows.net"},
            "/c/b",
        ),
        ("files.example.com", "/c/b", {"files.example.com"}, "/c/b"),
        ("127.0.0.1", "/acme/c/b", {"acme", "127.0.0.1"}, "c/b"),
    ],
)
def test_names_of_a_store(host: str, path: str, stores: set[str], rest: str) -> None:
    assert _stores(host, host, path) == (stores, rest)

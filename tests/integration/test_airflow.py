"""The operators, the secrets backend and lineage on a real Airflow with LocalExecutor."""

from __future__ import annotations

import io
import json
import os
import signal
import time

import aws_encryption_sdk
import jsonschema
import pytest
from aws_encryption_sdk.key_providers.kms import KMSMasterKey
from pyarrow import parquet

from airflow_secure_provider.crypto.keyset import KeysetDocument, rotate
from airflow_secure_provider.keyrings.aws_kms import AwsKmsKeyring
from sandbox.environment import REPOSITORY
from tests import api_server

from . import golden
from .conftest import CANARY, LAKE, ROWS, Stage

pytestmark = pytest.mark.airflow


def loaded(stage: Stage) -> int:
    return int(stage.query("SELECT count(*) FROM crm.people")[0][0])


def active_leases(stage: Stage) -> int:
    return len(stage.world.vault.leases("database/creds/crm-loader", "active"))


def failed_log(stage: Stage, dag_id: str) -> str:
    """Run a DAG whose only task must fail, at the first try, and give its log."""
    before = loaded(stage)
    run_id = stage.run(dag_id)
    assert stage.airflow.task_states(dag_id, run_id) == {"load": "failed"}
    tries = stage.airflow.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/load")["try_number"]
    assert tries == 1, "it was tried again although it can't succeed"
    assert loaded(stage) == before
    return stage.airflow.task_log(dag_id, run_id, "load")


def test_a_load_reports_and_gives_its_credential_back(stage: Stage) -> None:
    run_id = stage.run("case_good")
    assert stage.airflow.task_states("case_good", run_id) == {"load": "success"}
    assert loaded(stage) == 3

    report = stage.airflow.xcoms("case_good", run_id, "load")["return_value"]
    assert (report["rows"], report["source"]["status"], report["target"]["status"]) == (
        3,
        "protected",
        "protected",
    )

    assert active_leases(stage) == 0
    assert stage.query("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'") == [(0,)]

    log = stage.airflow.task_log("case_good", run_id, "load")
    assert "committed: 3 rows" in log

    asset_events = stage.airflow.request("GET", "/assets/events")["asset_events"]
    assert asset_events[-1]["extra"]["rows"] == 3
    assert asset_events[-1]["extra"]["status"] == "protected"
    golden.check(stage, "case_good", "load")


def test_a_load_again_changes_nothing_and_says_so(stage: Stage) -> None:
    stage.run("case_good")
    rows = stage.query("SELECT xmin::text, id FROM crm.people ORDER BY id")
    run_id = stage.run("case_good")
    assert stage.query("SELECT xmin::text, id FROM crm.people ORDER BY id") == rows
    assert "already: nothing to do" in stage.airflow.task_log("case_good", run_id, "load")
    assert stage.airflow.xcoms("case_good", run_id, "load")["return_value"]["already_loaded"] is True


def test_lineage_of_a_load_names_both_ends_and_the_credential(stage: Stage) -> None:
    stage.run("case_good")
    event = [each for each in stage.events("case_good") if each["eventType"] == "COMPLETE"][-1]
    (source,), (target,) = event["inputs"], event["outputs"]
    assert (source["namespace"], source["name"]) == ("s3://customer-lake", "good.csv")
    assert source["facets"]["secureProvider_encryption"]["atRest"]["scheme"] == "client-side"
    assert source["facets"]["secureProvider_encryption"]["atRest"]["keyId"] == stage.world.kms_key
    assert target["name"] == "crm.crm.people"
    columns = {each["name"]: each for each in target["facets"]["secureProvider_encryption"]["columns"]}
    assert columns["email"]["protection"] == "tokenize"
    assert columns["email"]["domain"] == "person-email"
    lineage = target["facets"]["columnLineage"]["fields"]["email"]
    assert lineage["transformationType"] == "MASKED"
    assert lineage["inputFields"][0]["transformations"][0]["masking"] is True
    (credential,) = event["run"]["facets"]["secureProvider_credentials"]["credentials"]
    assert (credential["connection"], credential["role"], credential["ttlSeconds"]) == (
        "crm",
        "crm-loader",
        900,
    )


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("tampered", ("DecryptionError", "s3://customer-lake/tampered.csv", "does not authenticate")),
        ("missing", ("StoreError", "s3://customer-lake/missing.csv", "there is no such object")),
        ("plain", ("ContractError", "column 'email' is restricted", "write it with the AWS Encryption SDK")),
        ("bad_context", ("DecryptionError", "dataset='crm.people'", "expected dataset='crm.others'")),
        ("unclassified", ("ContractError", "column 'notes' is not classified", "extra_columns='drop'")),
        (
            "weak",
            (
                "ContractError",
                "column 'email' is restricted and has no protection",
                "set one of encrypt, tokenize",
            ),
        ),
        ("unknown_rest", ("ContractError", "postgres://localhost", "declared_at_rest")),
    ],
)
def test_bad_input_fails_once_says_why_and_writes_nothing(
    stage: Stage, case: str, words: tuple[str, ...]
) -> None:
    log = failed_log(stage, f"case_{case}")
    for word in words:
        assert word in log
    assert active_leases(stage) == 0


def test_lineage_of_a_failed_load_tells_what_was_seen(stage: Stage) -> None:
    failed_log(stage, "case_tampered")
    event = [each for each in stage.events("case_tampered") if each["eventType"] == "FAIL"][-1]
    assert event["inputs"][0]["facets"]["secureProvider_encryption"]["atRest"]["scheme"] == "client-side"
    assert event["outputs"][0]["name"] == "crm.crm.people"
    assert event["run"]["facets"]["secureProvider_contract"]["verdict"] == "undecided"
    golden.check(stage, "case_tampered", "load", "FAIL")


def test_lineage_says_by_which_contract_and_with_which_verdict(stage: Stage) -> None:
    schema = json.loads((REPOSITORY / "docs/formats/ContractRunFacet.json").read_text())
    stage.run("case_good")
    failed_log(stage, "case_plain")
    for dag_id, kind, verdict in (("case_good", "COMPLETE", "met"), ("case_plain", "FAIL", "refused")):
        event = [each for each in stage.events(dag_id) if each["eventType"] == kind][-1]
        facet = event["run"]["facets"]["secureProvider_contract"]
        jsonschema.validate(facet, schema)
        assert facet["verdict"] == verdict
    assert "column 'email' is restricted" in facet["reason"]
    assert "columnLineage" not in event["outputs"][0]["facets"]


def test_lineage_of_an_early_failure_is_unknown_not_silent(stage: Stage) -> None:
    failed_log(stage, "case_missing")
    event = [each for each in stage.events("case_missing") if each["eventType"] == "FAIL"][-1]
    assert event["inputs"][0]["name"] == "missing.csv"
    assert event["inputs"][0]["facets"]["secureProvider_encryption"]["status"] == "unknown"


def test_mask_passes_tokens_through(stage: Stage) -> None:
    stage.run("case_good")
    run_id = stage.run("case_mask")
    assert stage.airflow.task_states("case_mask", run_id) == {"mask": "success"}
    same = stage.query("SELECT count(*) FROM crm.people p JOIN crm.people_masked m USING (id, email)")
    assert same == [(3,)]
    golden.check(stage, "case_mask", "mask")


def test_reveal_is_on_record_and_in_no_log(stage: Stage) -> None:
    stage.run("case_good")
    run_id = stage.run("case_reveal")
    assert stage.airflow.task_states("case_reveal", run_id) == {"reveal": "success"}
    assert stage.query("SELECT id, email FROM crm.people_open ORDER BY id") == [(2, ""), (3, ROWS[2][1])]
    record = stage.query(
        "SELECT event, purpose, source, target, columns, rows, acting_as, task FROM secure_provider.reveal_log ORDER BY id"
    )
    said = ("ticket 4711", "crm.people", "crm.people_open", ["email"])
    task = f"case_reveal/reveal/{run_id}/-1"
    assert record == [("begun", *said, None, "crm_owner", task), ("done", *said, 2, "crm_owner", task)]
    (event,) = [each for each in stage.events("case_reveal") if each["eventType"] == "COMPLETE"]
    fields = event["outputs"][0]["facets"]["secureProvider_encryption"]["columns"]
    assert {field["name"]: field["protection"] for field in fields} == {"id": "none", "email": "none"}
    golden.check(stage, "case_reveal", "reveal")


def test_a_domain_moves_to_a_rotated_keyset(stage: Stage) -> None:
    stage.run("case_good")
    stage.run("case_mask")
    before = stage.query("SELECT email FROM crm.people ORDER BY id")
    s3, kms = (stage.world.aws.client(name) for name in ("s3", "kms"))
    text = s3.get_object(Bucket="keys-vault", Key="customers.keyset.json")["Body"].read()
    longer = rotate(KeysetDocument.from_json(text, "it"), AwsKmsKeyring(stage.world.kms_key, kms))
    s3.put_object(Bucket="keys-vault", Key="rotated.keyset.json", Body=longer.to_json().encode())
    run_id = stage.run("case_reprotect")
    assert stage.airflow.task_states("case_reprotect", run_id) == {"reprotect": "success"}
    assert stage.query("SELECT email FROM crm.people ORDER BY id") != before
    same = stage.query("SELECT count(*) FROM crm.people p JOIN crm.people_masked m USING (id, email)")
    assert same == [(3,)]
    (event,) = [each for each in stage.events("case_reprotect") if each["eventType"] == "COMPLETE"]
    moved = {
        (table["name"], column["name"]): column["keyVersion"]
        for table in event["outputs"]
        for column in table["facets"]["secureProvider_encryption"]["columns"]
        if "keyVersion" in column
    }
    assert moved == {
        ("crm.crm.people", "email"): 2,
        ("crm.crm.people", "notes"): 2,
        ("crm.crm.people_masked", "email"): 2,
    }
    # As it was, for the tests after this one.
    with stage.world.postgres.connect(dbname="crm", autocommit=True) as connection:
        connection.execute("TRUNCATE crm.people, crm.people_masked")
        connection.execute(
            "DELETE FROM secure_provider.column_state; DELETE FROM secure_provider.load_manifest"
        )
    golden.check(stage, "case_reprotect", "reprotect")


def test_a_query_is_published_as_an_encrypted_object(stage: Stage) -> None:
    stage.run("case_good")
    stage.run("case_mask")
    run_id = stage.run("case_publish")
    assert stage.airflow.task_states("case_publish", run_id) == {"publish": "success"}
    s3, kms = (stage.world.aws.client(name) for name in ("s3", "kms"))
    body = s3.get_object(Bucket=LAKE, Key="published.parquet")["Body"].read()
    client = aws_encryption_sdk.EncryptionSDKClient()
    key = KMSMasterKey(key_id=stage.world.kms_key, client=kms)
    plain, header = client.decrypt(source=body, key_provider=key)
    assert header.encryption_context["secure-provider:run"] == f"case_publish/publish/{run_id}/-1"
    rows = sorted(parquet.read_table(io.BytesIO(plain)).to_pylist(), key=lambda row: row["id"])
    assert [(row["id"], row["other"]) for row in rows] == [(1, "<2"), (2, "[2,3)"), (3, ">=3")]
    tokens = [row[0] for row in stage.query("SELECT decode(email, 'base64') FROM crm.people ORDER BY id")]
    assert [row["email"] for row in rows] == tokens
    (event,) = [each for each in stage.events("case_publish") if each["eventType"] == "COMPLETE"]
    assert [each["name"] for each in event["inputs"]] == ["crm.crm.people", "crm.crm.people_masked"]
    (output,) = event["outputs"]
    assert output["facets"]["secureProvider_encryption"]["status"] == "protected"
    assert output["facets"]["storage"]["fileFormat"] == "parquet"
    golden.check(stage, "case_publish", "publish")


def test_a_query_is_encrypted_into_an_object(stage: Stage) -> None:
    stage.run("case_good")
    run_id = stage.run("case_encrypt")
    assert stage.airflow.task_states("case_encrypt", run_id) == {"encrypt": "success"}
    golden.check(stage, "case_encrypt", "encrypt")


def test_an_api_is_fetched_encrypted_and_loaded(stage: Stage) -> None:
    """An expired token, 429, an error of the server and a cut connection on the way."""
    api = stage.api
    api.records = [{"id": n, "email": f"p{n}@{CANARY}", "notes": f"note {n}"} for n in range(1, 251)]
    api.faults = [
        api_server.nothing,  # the token
        api_server.nothing,  # the first page
        api_server.forget_tokens,
        api_server.nothing,  # another token
        api_server.status(429, Retry_After="1"),
        api_server.cut,
        api_server.status(503),
    ]
    run_id = stage.run("api_to_s3")
    assert stage.airflow.task_states("api_to_s3", run_id) == {"fetch": "success", "load": "success"}
    assert api.faults == []
    assert stage.query("SELECT count(*), count(DISTINCT email), sum(id) FROM crm.people") == [
        (250, 250, 31_375)
    ]
    report = stage.airflow.xcoms("api_to_s3", run_id, "fetch")["return_value"]
    assert (report["counts"]["pages"], report["counts"]["records"]) == (3, 250)
    assert report["source"]["in_transit"]["peer_verified"] is True
    complete = [each for each in stage.events("api_to_s3") if each["eventType"] == "COMPLETE"]
    by_job = {each["job"]["name"]: each for each in complete}
    fetched, load = by_job["api_to_s3.fetch"], by_job["api_to_s3.load"]
    assert [(each["namespace"], each["name"]) for each in fetched["inputs"]] == [(api.url, "/v1/people")]
    (landed,) = fetched["outputs"]
    assert (landed["namespace"], landed["name"]) == (
        load["inputs"][0]["namespace"],
        load["inputs"][0]["name"],
    )
    assert landed["facets"]["secureProvider_encryption"]["status"] == "protected"
    assert landed["outputFacets"]["outputStatistics"]["size"] == report["bytes_written"]
    secrets = [api_server.CLIENT_SECRET.encode(), *(token.encode() for token in api.tokens), CANARY.encode()]
    for name, written in stage.everything_written():
        assert not any(secret in written for secret in secrets), name
    golden.check(stage, "api_to_s3", "fetch")


def test_pages_that_lead_back_to_one_another_end_the_task(stage: Stage) -> None:
    api = stage.api
    api.records = [{"id": n, "email": "x", "notes": "y"} for n in range(250)]
    loop = {"data": {"items": api.records[:2]}, "paging": {"next": "/v1/people?start=100"}}
    api.faults = [api_server.nothing] * 3 + [api_server.body(json.dumps(loop).encode())] * 2
    run_id = stage.run("api_to_s3")
    assert stage.airflow.task_states("api_to_s3", run_id) == {"fetch": "failed", "load": "upstream_failed"}
    log = stage.airflow.task_log("api_to_s3", run_id, "fetch")
    assert "is one that was there before, so the pages would never end" in log
    api.faults = []


def test_a_stock_operator_leases_too_and_its_lineage_says_so(stage: Stage) -> None:
    before = len(stage.world.vault.leases("database/creds/crm-loader"))
    run_id = stage.run("case_stock")
    assert stage.airflow.task_states("case_stock", run_id) == {"query": "success"}
    assert len(stage.world.vault.leases("database/creds/crm-loader")) == before + 1
    assert active_leases(stage) == 0
    facets = [each["run"]["facets"] for each in stage.events("case_stock")]
    assert any("secureProvider_credentials" in each for each in facets)


def test_a_killed_load_leaves_nothing_and_the_retry_loads_each_row_once(stage: Stage) -> None:
    stage.run("case_good")
    before = stage.query("SELECT id, email, notes FROM crm.people ORDER BY id")
    run_id = stage.airflow.trigger("case_slow", logical_date=stage.next_day())
    pid = _pid_of_running_copy(stage)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _backends_in_copy(stage) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stage.query("SELECT id, email, notes FROM crm.people ORDER BY id") == before
    assert stage.airflow.wait("case_slow", run_id, 120) == "success"
    assert stage.query("SELECT count(*), count(DISTINCT id) FROM crm.people") == [(400_003, 400_003)]


def test_a_terminated_load_is_rolled_back_at_once(stage: Stage) -> None:
    with stage.world.postgres.connect(dbname="crm") as connection:
        connection.execute("DELETE FROM crm.people WHERE id >= 1000")
        connection.execute("UPDATE secure_provider.load_manifest SET superseded_at = now()")
    before = stage.query("SELECT id, email, notes FROM crm.people ORDER BY id")
    others = _lease_ids(stage)  # of a killed task
    run_id = stage.airflow.trigger("case_slow", logical_date=stage.next_day())
    pid = _pid_of_running_copy(stage)
    (own,) = _lease_ids(stage) - others
    os.kill(pid, signal.SIGTERM)  # as the supervisor does when somebody clears the task
    deadline = time.monotonic() + 3
    copying = True
    while (copying or own in _lease_ids(stage)) and time.monotonic() < deadline:
        copying = copying and bool(_backends_in_copy(stage))  # a retry may copy again
        time.sleep(0.02)
    assert not copying
    assert own not in _lease_ids(stage), "the credential was not revoked within three seconds"
    assert stage.query("SELECT id, email, notes FROM crm.people ORDER BY id") == before
    stage.airflow.wait("case_slow", run_id, 120)


def _lease_ids(stage: Stage) -> set[str]:
    return {each["lease_id"] for each in stage.world.vault.leases("database/creds/crm-loader", "active")}


def _backends_in_copy(stage: Stage) -> list[tuple[object, ...]]:
    return stage.query(
        "SELECT client_port FROM pg_stat_activity WHERE query LIKE 'COPY \"crm\".\"people\"%' AND state = 'active'"
    )


def _pid_of_running_copy(stage: Stage) -> int:
    """The process that has sent some rows, by the client's end of its connection."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        progress = stage.query(
            "SELECT a.client_port FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid) WHERE p.tuples_processed > 0"
        )
        if progress:
            return _owner_of_port(int(progress[0][0]))
        time.sleep(0.01)
    raise AssertionError("no COPY was seen under way")


def _owner_of_port(port: int) -> int:
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    inode = next(row[9] for row in rows if int(row[1].split(":")[1], 16) == port and row[3] == "01")
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if f"socket:[{inode}]" in links:
            return int(pid)
    raise AssertionError("nobody has the port")


def test_a_sealed_vault_is_said_to_be_sealed(stage: Stage) -> None:
    vault = stage.world.vault
    client = vault.client()
    client.sys.seal()
    try:
        log = failed_log(stage, "case_sealed")
    finally:
        client.sys.submit_unseal_key(vault.unseal_key)
        client.adapter.close()
    assert "Vault is sealed" in log
    assert "isn't defined" not in log


def test_a_denying_vault_is_said_to_deny(stage: Stage) -> None:
    log = failed_log(stage, "case_denied")
    assert "403" in log
    assert "database/creds/forbidden" in log
    assert "isn't defined" not in log


def test_no_canary_and_no_credential_was_written_anywhere(stage: Stage) -> None:
    searched = 0
    for name, content in stage.everything_written():
        searched += 1
        assert CANARY.encode() not in content, name
        assert CANARY.encode("ascii", "backslashreplace") not in content, name
        for what, secret in stage.world.secrets.items():
            assert secret.encode() not in content, f"{what} in {name}"
    assert searched > 10


def test_an_unreachable_vault_is_said_to_be_unreachable(stage: Stage) -> None:
    stage.world.vault.stop()  # the last test of this module: nothing works without it
    log = failed_log(stage, "case_unreachable")
    assert "could not reach Vault" in log
    assert "isn't defined" not in log

"""What an author can get wrong, and what they are told; a whole run is in tests/integration."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_secure_provider.crypto.keyset import create
from airflow_secure_provider.errors import ConfigurationError, ContractError, StoreError, StoreUnavailable
from airflow_secure_provider.keyrings.local import create_key_file
from airflow_secure_provider.keyrings.opening import local_key_path
from airflow_secure_provider.model import Evidence
from airflow_secure_provider.operators import (
    EncryptedS3ToPostgresOperator,
    EncryptToS3Operator,
    HttpToEncryptedS3Operator,
    MaskColumnsOperator,
)
from airflow_secure_provider.operators._clients import declared_at_rest, session_name
from airflow_secure_provider.operators._execution import Execution
from airflow_secure_provider.operators._failures import as_airflow_failures
from airflow_secure_provider.operators._landing import Landing
from airflow_secure_provider.stores.http import HttpAccess
from airflow_secure_provider.stores.http_authentication import ApiKey, Basic, ClientCredentials
from sandbox.aws import Aws

DECLARED = "AIRFLOW__SECURE_PROVIDER__DECLARED_AT_REST"


def load(**changes: Any) -> EncryptedS3ToPostgresOperator:
    return EncryptedS3ToPostgresOperator(**{"task_id": "load", "source": "s3://b/k", "table": "t", **changes})


@pytest.mark.parametrize("operator", [EncryptedS3ToPostgresOperator, MaskColumnsOperator])
def test_every_template_field_is_set(operator: type) -> None:
    target = {"target" if operator is MaskColumnsOperator else "table": "t"}
    task = operator(task_id="t", source="s3://b/k", columns={"a": "none"}, **target)
    assert [name for name in operator.template_fields if not hasattr(task, name)] == []  # type: ignore[attr-defined]


def test_the_contract_is_never_rendered() -> None:
    assert "contract" not in EncryptedS3ToPostgresOperator.template_fields
    assert "columns" not in EncryptedS3ToPostgresOperator.template_fields


def test_default_args_reach_both_operators() -> None:
    with DAG("d", default_args={"postgres_conn_id": "crm", "set_role": "owner"}):
        tasks = load(columns={}), MaskColumnsOperator(task_id="m", source="a", target="b", columns={})
    assert {(task.postgres_conn_id, task.set_role) for task in tasks} == {("crm", "owner")}


def test_it_maps_over_objects() -> None:
    with DAG("d"):
        mapped = EncryptedS3ToPostgresOperator.partial(
            task_id="load", table="t", columns={"a": "none"}
        ).expand(source=["s3://b/1", "s3://b/2"])
    assert mapped.operator_class is EncryptedS3ToPostgresOperator


def test_it_pickles_before_it_has_run() -> None:
    assert pickle.loads(pickle.dumps(load(columns={"a": "none"}))).source == "s3://b/k"  # noqa: S301


@pytest.mark.parametrize("given", [{}, {"contract": "c.yaml", "columns": {"a": "none"}}])
def test_either_contract_or_columns(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="task 'load': give either contract= or columns="):
        Execution(load(**given))._read_contract()


def test_a_contract_lies_beside_the_dag_file(tmp_path: Path) -> None:
    with DAG("d") as dag:
        task = load(contract="contracts/c.yaml")
    dag.fileloc = str(tmp_path / "dag.py")
    with pytest.raises(
        Exception, match=r"'contracts/c.yaml' can't be read at .*/contracts/c.yaml: No such file"
    ):
        Execution(task)._read_contract()


def test_a_relative_local_keyset_lies_beside_the_dag_file_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text(
        create("customers", create_key_file(local_key_path(tmp_path / "k.json"))).to_json()
    )
    with DAG("d") as dag:
        task = load(columns={"a": "none"}, keyset="k.json?id=customers")
    dag.fileloc = str(tmp_path / "dag.py")
    keys = Execution(task)._options().keyset
    assert keys is not None
    assert keys.id == "customers"


def test_errors_that_may_pass_are_retried_and_others_are_not() -> None:
    with pytest.raises(StoreUnavailable), as_airflow_failures():
        raise StoreUnavailable("later")
    with (
        pytest.raises(AirflowFailException, match="ContractError: column 'x'") as caught,
        as_airflow_failures(),
    ):
        raise ContractError("column 'x'")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_nothing_is_declared_unless_somebody_does() -> None:
    assert declared_at_rest() == {}


def test_what_is_declared_counts_as_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DECLARED, '{"postgres://db:5432": {"scheme": "volume", "algorithm": "AES-256-XTS"}}')
    stated = declared_at_rest()["postgres://db:5432"]
    assert (stated.scheme, stated.evidence) == ("volume", Evidence.DECLARED)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "is not a JSON object of objects"),
        ('["volume"]', "is not a JSON object of objects"),
        ('{"postgres://db:5432": {"shceme": "volume"}}', "unknown key 'shceme'"),
        ('{"postgres://db:5432": {}}', "scheme must be one of"),
        ('{"postgres://db:5432": {"scheme": "plaintext"}}', "scheme must be one of"),
    ],
)
def test_a_declaration_with_a_mistake_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setenv(DECLARED, text)
    with pytest.raises(ConfigurationError, match=words):
        declared_at_rest()


def test_on_kill_before_a_run_does_nothing() -> None:
    task = load(columns={"a": "none"})
    task.on_kill()
    assert task._execution is None


def test_a_class_policy_is_the_deployments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "kind: ClassPolicy\nid: acme\nversion: 1\nclasses: {internal: {protections: [tokenize, drop]}, "
        "confidential: {protections: [tokenize, drop]}, restricted: {protections: [tokenize, drop]}}"
    )
    columns = {"a": {"method": "none", "classification": "internal"}}
    with DAG("d") as dag:
        task = load(columns=columns)
    dag.fileloc = str(tmp_path / "dag.py")
    assert Execution(task)._read_contract().policy.name == "built-in"
    monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__CLASS_POLICY", str(policy))
    with pytest.raises(
        ContractError, match="'a' is internal and has no protection; set one of tokenize, drop"
    ):
        Execution(task)._read_contract()
    monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__CLASS_POLICY", "policy.yaml")
    with pytest.raises(ConfigurationError, match=r"class_policy 'policy\.yaml': expected an absolute path"):
        Execution(task)._read_contract()
    monkeypatch.setenv("AIRFLOW__SECURE_PROVIDER__CLASS_POLICY", str(tmp_path / "gone.yaml"))
    with pytest.raises(StoreError, match="can't be read"):
        Execution(task)._read_contract()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"source": "crm.a", "query": "SELECT 1"}, "give either source= or query="),
        ({}, "give either source= or query="),
        ({"query": "SELECT 1", "where": "a"}, "write it into the query"),
        ({"source": "s3://b/k", "where": "a"}, "the source is an object"),
    ],
)
def test_one_source(given: dict[str, Any], says: str) -> None:
    task = MaskColumnsOperator(task_id="m", target="t", columns={"a": "none"}, **given)
    with pytest.raises(ConfigurationError, match=says):
        task.make_source(Execution(task))


def test_source_and_target_are_tables_objects_or_a_query() -> None:
    def made(**given: Any) -> tuple[str, str]:
        task = MaskColumnsOperator(task_id="m", columns={"a": "none"}, aws_conn_id=None, **given)
        clients = Execution(task)
        clients.s3_client = lambda: None  # type: ignore[method-assign]
        return type(task.make_source(clients)).__name__, type(task.make_target(clients)).__name__

    assert made(source="crm.a", target="crm.b") == ("PostgresSource", "TableTarget")
    assert made(query="SELECT 1", target="s3://b/k.csv") == ("QuerySource", "ObjectTarget")
    assert made(source="s3://b/k.csv", target="crm.b") == ("S3Source", "TableTarget")


@pytest.mark.parametrize("password", ["", "no base64!", "c2hvcnQ="])
def test_a_customer_key_has_32_bytes(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_KEY", json.dumps({"conn_type": "generic", "password": password}))
    clients = Execution(load(columns={"a": "none"}))
    with pytest.raises(
        ConfigurationError, match="connection 'lake_key': its password is not the base64 of 32"
    ) as caught:
        clients.customer_key("lake_key")
    assert not password or password not in str(caught.value)
    good = base64.b64encode(bytes(32)).decode()
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_KEY", json.dumps({"conn_type": "generic", "password": good}))
    assert clients.customer_key("lake_key") == bytes(32)
    assert clients.customer_key(None) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kms_key_arns": "arn:aws:kms:eu-central-1:1:key/1"}, "kms_key_arns is a text"),
        ({"manifest": True, "source": ["s3://b/1"]}, "manifest=True takes one object"),
        ({"manifest": True, "source": "s3://b/folder/"}, "manifest=True takes one object"),
        ({"file_format": "xlsx"}, "file_format 'xlsx', expected one of csv, jsonl, parquet"),
    ],
)
def test_settings_of_objects_that_mean_nothing(given: dict[str, Any], says: str) -> None:
    task = load(columns={"a": "none"}, aws_conn_id=None, **given)
    clients = Execution(task)
    with pytest.raises(ConfigurationError, match=says):
        task.make_source(clients)


@pytest.mark.parametrize(
    ("password", "extra"),
    [
        ("c2hvcnQ=", {"key_namespace": "acme", "key_name": "k"}),
        ("no base64!", {"key_namespace": "acme", "key_name": "k"}),
        (base64.b64encode(bytes(32)).decode(), {"key_namespace": "acme"}),
        (base64.b64encode(bytes(32)).decode(), {"key_namespace": "aws-kms", "key_name": "k"}),
    ],
)
def test_what_is_no_raw_aes_key(
    monkeypatch: pytest.MonkeyPatch, password: str, extra: dict[str, str]
) -> None:
    clients = Execution(load(columns={"a": "none"}))
    connection = {"conn_type": "generic", "password": password, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_RAW", json.dumps(connection))
    with pytest.raises(ConfigurationError, match="'lake_raw' is no raw AES key") as raised:
        clients.raw_aes_key("lake_raw")
    assert password not in str(raised.value)


def test_a_raw_aes_key_out_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    clients = Execution(load(columns={"a": "none"}))
    assert clients.raw_aes_key(None) is None
    password = base64.b64encode(bytes(range(32))).decode()
    connection = {
        "conn_type": "generic",
        "password": password,
        "extra": {"key_namespace": "acme", "key_name": "k"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_RAW", json.dumps(connection))
    key = clients.raw_aes_key("lake_raw")
    assert (str(key), key.key if key else None) == ("acme/k", bytes(range(32)))


def api_connection(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> HttpAccess:
    extra = settings.pop("extra", {})
    connection = {"conn_type": "http", "host": "api.example.com", **settings, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_API", json.dumps(connection))
    return Landing(EncryptToS3Operator(task_id="t", target="s3://b/k")).http_access("api")


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://api.example.com"),
        ({"port": 8443}, "https://api.example.com:8443"),
        ({"schema": "http"}, "http://api.example.com"),
        ({"host": "https://api.example.com/v2"}, "https://api.example.com/v2"),
        ({"host": "https://api.example.com/v2", "port": 8443}, "https://api.example.com:8443/v2"),
    ],
)
def test_the_address_of_an_api(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], url: str) -> None:
    access = api_connection(monkeypatch, **settings)
    assert (access.base_url, access.authentication, access.verify, access.timeout) == (url, None, True, 60.0)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"login": "u", "password": "p"}, Basic),
        ({"password": "k", "extra": {"auth": "api_key", "header": "X-Key", "prefix": "Token"}}, ApiKey),
        (
            {
                "login": "i",
                "password": "s",
                "extra": {"auth": "oauth2", "token_url": "https://x/t", "scope": "r"},
            },
            ClientCredentials,
        ),
    ],
)
def test_who_asks_an_api(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], kind: type) -> None:
    assert isinstance(api_connection(monkeypatch, **settings).authentication, kind)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": ""}, "'api' has no host"),
        ({"extra": {"auth": "ntlm"}}, "auth 'ntlm', expected one of none, basic, api_key, oauth2"),
        ({"extra": {"token_url": "https://x"}}, "its extra has 'token_url', which auth 'none' does not take"),
        ({"extra": {"auth": "api_key"}}, r"auth 'api_key' needs its password \(the key\)"),
        ({"password": "s", "extra": {"auth": "oauth2"}}, "auth 'oauth2' needs its login and password"),
        ({"login": "i", "password": "s-canary", "extra": {"auth": "oauth2"}}, "needs token_url"),
        ({"extra": {"verify": 1}}, "verify is true, false or the path"),
        ({"extra": {"timeout": "60"}}, "timeout a number of seconds"),
    ],
)
def test_what_is_no_connection_to_an_api(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        api_connection(monkeypatch, **settings)
    assert "s-canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"headers": {"authorization": "Bearer x-canary"}}, "the header 'authorization' is for credentials"),
        ({"headers": {"X-Auth-Token": "x-canary"}}, "the header 'X-Auth-Token' is for credentials"),
        ({"query_params": {"api_key": "x-canary"}}, "query_params has 'api_key', which is for a secret"),
    ],
)
def test_secrets_do_not_stand_in_a_dag(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], says: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_API", json.dumps({"conn_type": "http", "host": "x"}))
    task = HttpToEncryptedS3Operator(task_id="t", target="s3://b/k", http_conn_id="api", **given)
    with pytest.raises(ConfigurationError, match=says) as raised:
        task.make_bytes(Landing(task))
    assert "x-canary" not in str(raised.value)


@pytest.mark.parametrize("operator", [EncryptToS3Operator, HttpToEncryptedS3Operator])
def test_every_template_field_of_what_encrypts_is_set(operator: Any) -> None:
    task = operator(task_id="t", target="s3://b/k")
    assert [name for name in operator.template_fields if not hasattr(task, name)] == []
    assert "contract" not in operator.template_fields


@pytest.mark.parametrize("given", [{}, {"source_file": "/x", "query": "SELECT 1"}])
def test_a_file_or_a_query(given: dict[str, Any]) -> None:
    task = EncryptToS3Operator(task_id="t", target="s3://b/k", **given)
    with pytest.raises(ConfigurationError, match="task 't': give either source_file= or query="):
        task.make_bytes(Landing(task))


def run_context(run_id: str = "manual__2026-11-21T00:00:00+00:00") -> Any:
    instance = SimpleNamespace(dag_id="crm/load", task_id="people", run_id=run_id, map_index=-1)
    return {"ti": instance}


def test_session_names() -> None:
    assert session_name(run_context("r1")) == "crm-load.people.r1"
    long = [session_name(run_context("manual__" + "x" * 80 + end)) for end in "ab"]
    assert [len(name) for name in long] == [64, 64]
    assert long[0][:55] == long[1][:55]
    assert long[0] != long[1]


@pytest.mark.parametrize("own_name", [None, "mine"])
def test_a_role_is_assumed_under_the_name_of_the_run(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, own_name: str | None
) -> None:
    connection = aws.airflow_connection()
    connection["extra"]["role_arn"] = "arn:aws:iam::123456789012:role/reader"
    connection["extra"]["service_config"] = {"sts": {"endpoint_url": aws.endpoint_url}}
    monkeypatch.setenv("AWS_CA_BUNDLE", str(aws.ca_pem))
    if own_name:
        connection["extra"]["assume_role_kwargs"] = {"RoleSessionName": own_name}
    monkeypatch.setenv("AIRFLOW_CONN_ROLE", json.dumps(connection))
    clients = Execution(load(columns={"a": "none"}, aws_conn_id="role"))
    clients.name_run(run_context())
    for client in (clients.s3_client(), clients.kms_client("arn:aws:kms:eu-central-1:1:key/1")):
        found = client._request_signer._credentials.get_frozen_credentials()
        sts = aws.client(
            "sts",
            aws_access_key_id=found.access_key,
            aws_secret_access_key=found.secret_key,
            aws_session_token=found.token,
        )
        expected = own_name or "crm-load.people.manual__2026-11-21T00-00-00+00-00"
        assert sts.get_caller_identity()["Arn"].endswith(f":assumed-role/reader/{expected}")


def test_an_aws_connection_that_is_not_defined_is_not_replaced_by_the_machine(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a misspelt reveal_aws_conn_id would reveal as whoever the worker is."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", aws.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", aws.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", aws.region)
    key = "arn:aws:kms:eu-central-1:1:key/1"
    clients = Execution(load(columns={"a": "none"}, aws_conn_id="lake_x"))
    for take in (clients.s3_client, lambda: clients.kms_client(key)):
        with pytest.raises(ConfigurationError, match="there is no connection 'lake_x'"):
            take()
    with pytest.raises(ConfigurationError, match="there is no connection 'reveal_x'"):
        clients.kms_client(key, "reveal_x")
    for given in ("aws_default", None):
        Execution(load(columns={"a": "none"}, aws_conn_id=given)).s3_client()


@pytest.mark.parametrize("given", [{}, {"on_suspected_pii": "refuse"}])
def test_the_word_on_suspected_pii_reaches_the_transfer(given: dict[str, str]) -> None:
    task = load(columns={"a": "none"}, **given)
    assert Execution(task)._options().on_suspected_pii == given.get("on_suspected_pii", "warn")

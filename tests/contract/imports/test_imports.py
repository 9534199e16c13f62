"""What other catalogs say of columns becomes a contract, and what no contract says is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from airflow_secure_provider.cli.main import cli
from airflow_secure_provider.contract.odcs import from_odcs

SCHEMA_YML = """
version: 2
models:
  - name: customers
    tags: [daily]
    columns:
      - {name: id, data_type: bigint}
      - {name: email, data_type: varchar(255), tags: [pii]}
      - name: ssn
        config: {meta: {classification: restricted, contains_pii: true}}
sources:
  - name: crm
    schema: raw
    tables:
      - name: people
        columns: [{name: phone, tags: pii}]
"""
MANIFEST = {
    "nodes": {
        "model.shop.customers": {
            "resource_type": "model", "name": "customers", "schema": "crm", "alias": "customers", "tags": ["daily"],
            "columns": {
                "id": {"name": "id", "data_type": "bigint", "tags": [], "meta": {}},
                "email": {"name": "email", "data_type": "varchar(255)", "tags": ["pii"], "meta": {}},
                "ssn": {"name": "ssn", "meta": {"classification": "restricted", "contains_pii": True}},
            },
        },
        "test.shop.unique": {"resource_type": "test", "name": "unique", "columns": {}},
    },
    "sources": {
        "source.shop.crm.people": {
            "resource_type": "source", "name": "people", "schema": "raw", "identifier": "people",
            "columns": {"phone": {"name": "phone", "tags": ["pii"]}},
        }
    },
}  # fmt: skip
URN = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.crm.customers,PROD)"
PII, TERM = (
    {"tags": [{"tag": "urn:li:tag:pii"}]},
    {"terms": [{"urn": "urn:li:glossaryTerm:Classification.Sensitive"}]},
)
PROPOSALS = [
    {
        "entityType": "dataset", "entityUrn": URN, "changeType": "UPSERT", "aspectName": "schemaMetadata",
        "aspect": {"json": {"fields": [
            {"fieldPath": "id", "nativeDataType": "BIGINT"},
            {"fieldPath": "[version=2.0].[type=string].email", "nativeDataType": "TEXT", "globalTags": PII},
            {"fieldPath": "ssn"},
            {"fieldPath": "about.city", "globalTags": PII},
        ]}},
    },
    {
        "entityUrn": URN, "aspectName": "editableSchemaMetadata",
        "aspect": {"value": json.dumps({"editableSchemaFieldInfo": [{"fieldPath": "ssn", "glossaryTerms": TERM}]})},
    },
    {"entityUrn": URN, "aspectName": "globalTags", "aspect": {"json": {"tags": [{"tag": "urn:li:tag:gold"}]}}},
]  # fmt: skip
SNAPSHOTS = [
    {
        "proposedSnapshot": {
            "com.linkedin.pegasus2avro.metadata.snapshot.DatasetSnapshot": {
                "urn": URN,
                "aspects": [
                    {"com.linkedin.pegasus2avro.schema.SchemaMetadata": PROPOSALS[0]["aspect"]["json"]},  # type: ignore[index]
                    {"com.linkedin.pegasus2avro.schema.EditableSchemaMetadata": {
                        "editableSchemaFieldInfo": [{"fieldPath": "ssn", "glossaryTerms": TERM}]}},
                    {"com.linkedin.pegasus2avro.common.GlobalTags": {"tags": [{"tag": "urn:li:tag:gold"}]}},
                ],
            }
        }
    }
]  # fmt: skip
OPENMETADATA = {
    "data": [
        {
            "name": "customers", "fullyQualifiedName": "pg.shop.crm.customers", "tags": [{"tagFQN": "Tier.Tier1"}],
            "columns": [
                {"name": "id", "dataType": "BIGINT", "tags": []},
                {"name": "email", "dataType": "VARCHAR", "tags": [{"tagFQN": "PII.Sensitive", "source": "Classification"}]},
                {"name": "about", "dataType": "STRUCT", "children": [{"name": "city", "tags": [{"tagFQN": "PII.NonSensitive"}]}]},
            ],
        }
    ],
    "paging": {"total": 1},
}  # fmt: skip


def values(**named: str) -> dict[str, Any]:
    return {key: {"values": [value], "isExcludes": False} for key, value in named.items()}


RANGER_TAGS = {
    "op": "add_or_update",
    "serviceName": "dev_hive",
    "tagDefinitions": {"0": {"name": "PII"}, "1": {"name": "EMPLOYEE_ID"}},
    "tags": {"0": {"type": "PII"}, "1": {"type": "EMPLOYEE_ID"}},
    "serviceResources": [
        {"id": 0, "resourceElements": values(database="hr", table="employee", column="ssn")},
        {"id": 1, "resourceElements": values(database="hr", table="employee", column="id")},
        {"id": 2, "resourceElements": values(database="hr", table="employee", column="*")},
        {"id": 3, "resourceElements": values(database="hr", table="employee")},
    ],
    "resourceToTagIds": {"0": ["0"], "1": [1], "2": [0], "3": [0]},
}


def policy(name: str, tag: str, mask: str, **more: Any) -> dict[str, Any]:
    item = {"groups": ["public"], "dataMaskInfo": {"dataMaskType": mask}} | more
    return {
        "name": name,
        "policyType": 1,
        "isEnabled": True,
        "resources": {"tag": {"values": [tag]}},
        "dataMaskPolicyItems": [item],
    }


RANGER_POLICIES = {
    "policies": [
        policy("last four", "PII", "hive:MASK_SHOW_LAST_4"),
        policy("hash", "OTHER", "hive:MASK_HASH"),
        policy("some", "EMPLOYEE_ID", "hive:MASK_NULL", groups=["hr"]),
        {"name": "who", "resources": {"tag": {"values": ["PII"]}}, "policyItems": [{"groups": ["hr"]}]},
    ]
}


def run(folder: Path, kind: str, *documents: Any, more: tuple[str, ...] = (), status: int = 3) -> Result:
    arguments = ["contract", "import"]
    for number, document in enumerate(documents):
        is_text = isinstance(document, str)
        file = folder / f"{number}.{'yml' if is_text else 'json'}"
        file.write_text(document if is_text else json.dumps(document))
        arguments += [f"--{kind}", str(file)]
    done = CliRunner().invoke(cli, [*arguments, *more])
    assert done.exit_code == status, done.stderr
    return done


def maps(*meanings: str) -> tuple[str, ...]:
    return tuple(part for meaning in meanings for part in ("--map", meaning))


def classes(done: Result, dataset: str) -> dict[str, tuple[str, str]]:
    rules = from_odcs(done.stdout, "imported", dataset).rules
    return {rule.name: (str(rule.classification), str(rule.protection)) for rule in rules}


@pytest.mark.parametrize("document", [SCHEMA_YML, MANIFEST])
def test_dbt(document: Any, tmp_path: Path) -> None:
    meanings = maps(
        "pii=restricted:tokenize", "classification=restricted=restricted:encrypt", "contains_pii=confidential"
    )
    done = run(tmp_path, "dbt", document, more=(*meanings, "--default", "internal"))
    assert classes(done, "customers") == {
        "id": ("internal", "none"),
        "email": ("restricted", "tokenize"),
        "ssn": ("restricted", "encrypt"),
    }
    assert classes(done, "people") == {"phone": ("restricted", "tokenize")}
    assert done.stderr == "customers: tag 'daily' of the whole table\n"
    first = yaml.safe_load(done.stdout)["schema"][0]["properties"][0]
    assert (first["logicalType"], first["physicalType"]) == ("integer", "bigint")


def test_nothing_is_guessed(tmp_path: Path) -> None:
    done = run(tmp_path, "dbt", SCHEMA_YML, more=(*maps("contains_pii=public"), "--default", "public"))
    told = {
        each["name"]: each.get("classification")
        for each in yaml.safe_load(done.stdout)["schema"][0]["properties"]
    }
    assert told == {"id": "public", "email": None, "ssn": None}
    assert "customers.email: tag 'pii' is not mapped" in done.stderr
    assert "customers.ssn: tag 'classification=restricted' is not mapped" in done.stderr
    assert "customers.ssn: has no class" in done.stderr


def test_an_ignored_tag_says_nothing(tmp_path: Path) -> None:
    more = (
        *maps("contains_pii=confidential"),
        "--ignore",
        "classification=restricted",
        "--ignore",
        "pii",
        "--default",
        "internal",
    )
    done = run(tmp_path, "dbt", SCHEMA_YML, more=more)
    assert [level for level, _ in classes(done, "customers").values()] == [
        "internal",
        "internal",
        "confidential",
    ]


@pytest.mark.parametrize("document", [PROPOSALS, SNAPSHOTS])
def test_datahub(document: Any, tmp_path: Path) -> None:
    meanings = maps("pii=restricted:tokenize", "Classification.Sensitive=restricted:encrypt")
    done = run(tmp_path, "datahub", document, more=(*meanings, "--default", "internal"))
    assert classes(done, "crm.customers") == {
        "id": ("internal", "none"),
        "email": ("restricted", "tokenize"),
        "ssn": ("restricted", "encrypt"),
        "about": ("restricted", "tokenize"),  # which holds a tagged field
    }
    assert done.stderr.splitlines() == [
        "tag 'pii' of nested field 'about.city' of shop.crm.customers",
        "customers: tag 'gold' of the whole table",
    ]


def test_openmetadata(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "openmetadata",
        OPENMETADATA,
        more=(
            *maps("PII.Sensitive=restricted:tokenize", "PII.NonSensitive=confidential"),
            "--default",
            "internal",
        ),
    )
    assert classes(done, "crm.customers")["email"] == ("restricted", "tokenize")
    assert classes(done, "crm.customers")["about"] == ("confidential", "none")
    assert done.stderr.splitlines() == [
        "customers: tag 'PII.NonSensitive' of nested field 'about.city'",
        "customers: tag 'Tier.Tier1' of the whole table",
    ]


def test_a_tag_of_a_nested_field_that_nobody_explained_leaves_its_column_open(tmp_path: Path) -> None:
    more = (*maps("PII.Sensitive=restricted:tokenize"), "--default", "public")
    done = run(tmp_path, "openmetadata", OPENMETADATA, more=more)
    told = {
        each["name"]: each.get("classification")
        for each in yaml.safe_load(done.stdout)["schema"][0]["properties"]
    }
    assert told["about"] is None
    assert "customers.about: tag 'PII.NonSensitive' is not mapped" in done.stderr


@pytest.mark.parametrize(
    ("kind", "document", "tag"),
    [
        ("dbt", SCHEMA_YML, "daily"),
        ("datahub", PROPOSALS, "gold"),
        ("openmetadata", OPENMETADATA, "Tier.Tier1"),
    ],
)
def test_a_tag_of_the_whole_table_that_means_something_means_it_for_each_column(
    kind: str, document: Any, tag: str, tmp_path: Path
) -> None:
    done = run(tmp_path, kind, document, more=(*maps(f"{tag}=confidential"), "--default", "public"))
    columns = yaml.safe_load(done.stdout)["schema"][0]["properties"]
    (plain,) = [each for each in columns if each["name"] == "id"]
    assert plain["classification"] == "confidential"
    assert "of the whole table" not in done.stderr


def test_ranger(tmp_path: Path) -> None:
    done = run(
        tmp_path, "ranger", RANGER_TAGS, RANGER_POLICIES, more=maps("PII=restricted", "EMPLOYEE_ID=internal")
    )
    assert classes(done, "hr.employee") == {"ssn": ("restricted", "redact"), "id": ("internal", "none")}
    assert done.stderr.splitlines() == [
        "tag 'PII' of database hr, table employee, column *: no single column",
        "tag 'PII' of database hr, table employee: no single column",
        "policy 'hash': mask MASK_HASH, which no protection gives in the same way",
        "policy 'some': mask MASK_NULL, which does not hold for everybody, always, and one tag",
        "policy 'who': policyItems, which say who may read",
        "employee: columns without tags are not in Ranger's document: add them",
    ]


def test_a_class_that_is_not_met_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "dbt", SCHEMA_YML, more=(*maps("pii=restricted"), "--dataset", "people"), status=1)
    assert "column 'phone' is restricted and has no protection" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("kind", ["dbt", "datahub", "openmetadata", "ranger"])
@pytest.mark.parametrize(
    "document", [[], {}, [1], {"nodes": 1, "columns": "x"}, {"data": [{"columns": [1]}]}, "a: [", "x"]
)
def test_another_document_ends_in_one_line(kind: str, document: Any, tmp_path: Path) -> None:
    done = run(tmp_path, kind, document, status=1)
    assert done.stderr.count("\n") == 1
    assert not done.stdout


@pytest.mark.parametrize("meaning", ["pii", "=restricted", "pii=secret", "pii=restricted:hash"])
def test_a_bad_mapping_is_refused(meaning: str, tmp_path: Path) -> None:
    assert "expected TAG=CLASS" in run(tmp_path, "dbt", SCHEMA_YML, more=("--map", meaning), status=1).stderr

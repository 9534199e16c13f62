"""A query as source: what each of its columns is known to be, and what it is refused for."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.errors import ConfigurationError, ContractError, SecureProviderError, StoreError
from airflow_secure_provider.lineage.facets import input_datasets, output_dataset
from airflow_secure_provider.reports import TransferReport
from airflow_secure_provider.stores import postgres, query
from airflow_secure_provider.stores.postgres import TableName
from airflow_secure_provider.transfer import QuerySource

from .world import CANARY, COLUMNS, World, customers

EMAIL = COLUMNS["email"]
CUSTOMERS, ORDERS = TableName("crm", "customers"), TableName("crm", "orders")


@pytest.fixture
def crm(world: World) -> World:
    world.load_rows(customers(20))
    world.execute(
        "CREATE TABLE crm.orders (id bigint PRIMARY KEY, email text, total numeric(10,2), country text); "
        "CREATE TABLE crm.report (id bigint, email text, total numeric(10,2), n bigint, country text)"
    )
    world.load(
        world.lake.encrypt(
            "".join(
                ["id,email,total,country\n"]
                + [f"{n},{row[1]},{n}.50,{'CH' if n % 2 else 'DE'}\n" for n, row in enumerate(customers(20))]
            ).encode()
        ).data,
        {"id": {"method": "none", "type": "integer"}, "email": EMAIL, "total": "none", "country": "none"},
        "crm.orders",
    )
    return world


def run(world: World, text: str, columns: Any, table: str = "crm.report", **settings: Any) -> TransferReport:
    settings = {"mode": "replace", **settings}
    return world.load(
        QuerySource(world.database.connect, text), from_columns(columns, "q"), table, **settings
    )


def look(world: World, text: str) -> query.Query:
    with world.database.connect() as raw:
        return query.look(postgres.prepare(raw), text)


JOIN = (
    "SELECT c.id, c.email, o.total, 1 AS n, o.country AS country FROM crm.customers c "
    "JOIN crm.orders o USING (email) WHERE o.country = 'CH'"
)
JOINED = {
    "id": {"method": "none", "type": "integer"},
    "email": EMAIL,
    "total": "none",
    "n": {"method": "none", "type": "integer", "classification": "confidential"},
    "country": "none",
}


def test_columns_of_tables_are_known_through_a_join(crm: World) -> None:
    report = run(crm, JOIN, JOINED)
    assert report.rows == 10
    assert crm.query("SELECT count(*) FROM crm.report JOIN crm.customers USING (id, email)") == [(10,)]
    assert [edge.description for edge in report.edges if edge.target == "email"] == [
        "passed through, tokenize before"
    ]


def test_its_lineage_names_the_tables(crm: World) -> None:
    report = run(crm, JOIN, JOINED)
    inputs = input_datasets(report.source, report.contract)
    assert [each.name.partition(".")[2] for each in inputs] == ["crm.customers", "crm.orders"]
    fields = output_dataset(report.target, report.contract, report).facets["columnLineage"].fields  # type: ignore[index]
    came = {
        name: {(each.name.partition(".")[2], each.field) for each in field.inputFields}
        for name, field in fields.items()
    }
    assert came["email"] == {("crm.customers", "email")}
    assert came["total"] == {("crm.orders", "total")}
    assert len(came["n"]) == 5  # nobody knows which, so all that are used


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("SELECT email AS mail, id + 1 AS next FROM crm.customers", {"mail": (CUSTOMERS, "email")}),
        ("SELECT * FROM (SELECT email AS a FROM crm.customers) x", {"a": (CUSTOMERS, "email")}),
        ("WITH x AS (SELECT email, ssn FROM crm.customers) SELECT ssn FROM x", {"ssn": (CUSTOMERS, "ssn")}),
        ("SELECT mail FROM crm.seen", {"mail": (CUSTOMERS, "email")}),
        ("SELECT loud FROM crm.seen", {}),
        ("SELECT mail FROM crm.kept", {}),
        ("SELECT lower(email) AS email FROM crm.customers", {}),
        ("SELECT email FROM crm.customers UNION SELECT country FROM crm.orders", {}),
        ("VALUES (1, 2)", {}),
    ],
)
def test_where_columns_come_from(crm: World, text: str, origins: dict[str, Any]) -> None:
    crm.execute(
        "CREATE VIEW crm.inner AS SELECT email AS m FROM crm.customers; "
        "CREATE VIEW crm.seen AS SELECT m AS mail, upper(m) AS loud FROM crm.inner; "
        "CREATE MATERIALIZED VIEW crm.kept AS SELECT m AS mail FROM crm.inner"
    )
    assert look(crm, text).origins == origins


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("SELECT count(*) AS n FROM crm.customers", set()),
        ("SELECT count(*) AS n FROM crm.customers WHERE email IS NOT NULL", {"email"}),
        ("SELECT 1 AS n FROM crm.customers ORDER BY ssn", {"ssn"}),
        (
            "SELECT row_to_json(c) AS n FROM crm.customers c",
            {"id", "email", "ssn", "birth_date", "amount", "notes"},
        ),
        ("SELECT c::text AS n FROM crm.customers c", {"id", "email", "ssn", "birth_date", "amount", "notes"}),
        ("SELECT mail FROM crm.seen", {"email", "ssn"}),
        ("SELECT (SELECT max(notes) FROM crm.customers) AS n", {"notes"}),
    ],
)
def test_what_a_query_uses(crm: World, text: str, used: set[str]) -> None:
    crm.execute("CREATE VIEW crm.seen AS SELECT email AS mail FROM crm.customers WHERE ssn IS NOT NULL")
    assert {column for _, column in look(crm, text).used} == used
    assert crm.query("SELECT count(*) FROM pg_class WHERE relname = 'secure_provider_query'") == [(0,)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT max(email) AS country FROM crm.customers",
        "SELECT country FROM crm.orders WHERE email = (SELECT max(email) FROM crm.customers) UNION SELECT 'x'",
        "SELECT row_to_json(o)::text AS country FROM crm.orders o",
        "SELECT mail AS country FROM crm.kept",
    ],
)
def test_what_is_computed_counts_as_the_highest_class_used(crm: World, text: str) -> None:
    crm.execute("CREATE MATERIALIZED VIEW crm.kept AS SELECT email AS mail FROM crm.customers")
    with pytest.raises(ContractError, match="column 'country' is known as confidential"):
        run(crm, text, {"country": "none"})


def test_what_is_computed_of_plain_restricted_values_is_restricted(crm: World) -> None:
    crm.execute(
        "UPDATE secure_provider.column_state SET protection = 'redact', domain = NULL, keyset_id = NULL, key_version = NULL "
        "WHERE target = 'crm.orders' AND column_name = 'email'"
    )
    with pytest.raises(ContractError, match="column 'country' is known as restricted"):
        run(crm, "SELECT upper(email) AS country FROM crm.orders", {"country": "none"})


def test_what_uses_no_restricted_column_is_free(crm: World) -> None:
    columns = {"n": {"method": "none", "type": "integer"}, "country": "none"}
    assert run(crm, "SELECT count(*) AS n, country FROM crm.orders GROUP BY country", columns).rows == 2


def test_ciphertext_is_known_under_another_name(crm: World) -> None:
    text = "SELECT ssn AS country FROM crm.customers"
    restricted = {"country": {"method": "redact", "classification": "restricted"}}
    with pytest.raises(ContractError, match="holds ciphertext"):
        run(crm, text, restricted)
    assert run(crm, text, restricted, options=crm.options(reveal_with=crm.lake.keyset)).rows == 20
    assert crm.query("SELECT DISTINCT left(country, 4) FROM crm.report") == [("****",)]


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("SELECT 1 AS id; DROP TABLE crm.orders", ConfigurationError, "is no query"),
        ("SELECT 1 AS id) AS q; SELECT (1", ConfigurationError, "is no query"),
        ("DELETE FROM crm.orders RETURNING id", ConfigurationError, "SQLSTATE"),
        ("WITH d AS (DELETE FROM crm.orders RETURNING id) SELECT id FROM d", ConfigurationError, "SQLSTATE"),
        ("SELECT id FROM crm.orders -- all", ConfigurationError, "is no query"),
        ("SELECT nothing FROM crm.orders", ConfigurationError, "SQLSTATE 42703"),
        ("SELECT id FROM crm.nothing", ConfigurationError, "SQLSTATE 42P01"),
        ("SELECT id, id FROM crm.orders", ConfigurationError, "twice"),
        ("SELECT crm.peek() AS id", ContractError, "a function that is not PostgreSQL's own"),
        ("SELECT id FROM crm.peeking", ContractError, "a function that is not PostgreSQL's own"),
        ("", ConfigurationError, "SQLSTATE"),
        (f"SELECT '{CANARY}'::int AS id", ConfigurationError, "SQLSTATE 22P02"),
    ],
)
def test_what_is_no_query_or_can_not_be_followed_is_refused(
    crm: World, text: str, kind: type[SecureProviderError], says: str
) -> None:
    crm.execute(
        "CREATE FUNCTION crm.peek() RETURNS text LANGUAGE sql AS 'SELECT max(email) FROM crm.customers'; "
        "CREATE VIEW crm.peeking AS SELECT crm.peek() AS id"
    )
    before = crm.state("crm.report", "crm.orders")
    with pytest.raises(SecureProviderError, match=says) as caught:
        run(crm, text, {"id": "none"})
    assert isinstance(caught.value, kind)
    assert CANARY not in str(caught.value)
    assert crm.state("crm.report", "crm.orders") == before


def test_a_role_that_may_not_read_or_not_look(crm: World) -> None:
    crm.execute(
        "DROP ROLE IF EXISTS stranger; CREATE ROLE stranger; GRANT USAGE ON SCHEMA crm TO stranger; "
        "GRANT SELECT ON crm.orders TO stranger"
    )
    source = QuerySource(crm.database.connect, "SELECT id FROM crm.customers", set_role="stranger")
    with pytest.raises(ConfigurationError, match="the role may not read all of its tables"):
        crm.load(source, {"id": "none"}, "crm.report", mode="replace")
    crm.execute(f"REVOKE TEMPORARY ON DATABASE {crm.database.name} FROM public")
    source = QuerySource(crm.database.connect, "SELECT id FROM crm.orders", set_role="stranger")
    with pytest.raises(ConfigurationError, match="may not make temporary views"):
        crm.load(source, {"id": "none"}, "crm.report", mode="replace")
    crm.execute(
        f"GRANT TEMPORARY ON DATABASE {crm.database.name} TO public; DROP OWNED BY stranger; DROP ROLE stranger"
    )


def test_another_query_is_another_load(crm: World) -> None:
    columns = {"country": "none"}
    for text in ("SELECT country FROM crm.orders LIMIT 3", "SELECT country FROM crm.orders LIMIT 4"):
        assert run(crm, text, columns, mode="append").rows in (3, 4)
    assert run(crm, "SELECT country FROM crm.orders LIMIT 4", columns, mode="append").already_loaded
    assert crm.query("SELECT count(*) FROM crm.report") == [(7,)]


def test_an_error_in_the_middle_quotes_no_row(crm: World) -> None:
    text = "SELECT (CASE WHEN id > 10 THEN country ELSE '1' END)::int::text AS country FROM crm.orders"
    with pytest.raises(SecureProviderError) as caught:
        run(crm, text, {"country": {"method": "redact", "classification": "restricted"}})
    assert isinstance(caught.value, StoreError | ConfigurationError)
    assert "CH" not in str(caught.value)
    assert "DE" not in str(caught.value)

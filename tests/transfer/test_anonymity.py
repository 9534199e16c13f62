"""``require``: a table is as anonymous as was asked for after the load, or there is no load."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pycanon import anonymity as pycanon

from airflow_secure_provider.contract.contract import from_columns
from airflow_secure_provider.errors import ConfigurationError, ContractError, StoreUnavailable
from airflow_secure_provider.model import Protection
from airflow_secure_provider.reports import TransferReport
from airflow_secure_provider.transfer import ObjectTarget, RejectTo, Required, transfer

from .world import CANARY, World

COLUMNS: Mapping[str, Any] = {
    "id": {"method": "drop"},
    "born": {"method": "generalize", "to": "year", "type": "date", "classification": "confidential"},
    "postcode": "none",
    "sex": "none",
    "disease": "none",
}
TABLE = "CREATE TABLE crm.patients (born text, postcode text, sex text, disease text)"
QUASI = ["born", "postcode", "sex"]
STEPS = {"born": ["decade", "any"], "postcode": [3, 2, 0], "sex": ["any"]}


def no_file(name: str) -> bytes:
    raise AssertionError(name)


def required(**given: Any) -> Required:
    return Required.of({"k": 5, "quasi_identifiers": QUASI, **given}, no_file)


def patients(number: int, seed: int = 1) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    return [
        (
            str(n),
            f"{1940 + int(rng.gamma(3, 8)) % 60}-0{1 + n % 9}-1{n % 10}",
            f"{rng.integers(100, 130)}{rng.integers(0, 3)}0",
            "fm"[int(rng.integers(0, 2))],
            ["flu", "cold", f"rare {CANARY}", "none"][int(rng.integers(0, 4))],
        )
        for n in range(number)
    ]


def as_csv(rows: list[tuple[str, ...]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows([list(COLUMNS), *rows])
    return out.getvalue().encode()


@pytest.fixture
def clinic(world: World) -> World:
    world.execute(TABLE)
    return world


def load(
    world: World, rows: list[tuple[str, ...]], need: Required, *, mode: str = "replace", **more: Any
) -> TransferReport:
    return world.load(
        world.lake.encrypt(as_csv(rows)).data,
        COLUMNS,
        "crm.patients",
        mode=mode,
        options=world.options(require=need, **more),
    )


def table(world: World) -> pd.DataFrame:
    return pd.DataFrame(
        world.query("SELECT born, postcode, sex, disease FROM crm.patients"), columns=[*QUASI, "disease"]
    ).fillna("-")


def test_what_is_enough_is_written_as_it_is(clinic: World) -> None:
    rows = [row for row in patients(3) for _ in range(6)]
    report = load(clinic, rows, required())
    assert report.anonymity is not None
    assert (report.rows, report.anonymity.k, report.anonymity.suppressed, report.anonymity.loss) == (
        18,
        6,
        0,
        0.0,
    )
    assert len(table(clinic)) == 18


def test_what_is_not_enough_is_refused_and_nothing_is_said_of_values(
    clinic: World, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ContractError) as caught:
        load(clinic, patients(200), required(sensitive="disease", l_diversity=2))
    told = str(caught.value)
    assert "k=5, l=2 over 'born', 'postcode', 'sex' is not reached" in told
    assert "rows would have to be left out, and max_suppressed allows 0" in told
    assert CANARY not in told + caplog.text
    assert table(clinic).empty


def test_the_smallest_groups_are_left_out(clinic: World) -> None:
    rows = [row for row in patients(4) for _ in range(7)] + patients(9, seed=9)
    report = load(clinic, rows, required(max_suppressed=0.3))
    assert report.anonymity is not None
    assert (report.anonymity.suppressed, report.rows) == (9, 28)
    assert pycanon.k_anonymity(table(clinic), QUASI) == 7


@pytest.mark.parametrize("most", [0, 0.02])
def test_it_is_made_coarser_with_the_least_loss(clinic: World, most: float) -> None:
    need = required(
        quasi_identifiers=STEPS, sensitive=["disease"], l_diversity=2, t_closeness=0.5, max_suppressed=most
    )
    report = load(clinic, patients(3000), need)
    reached, found = report.anonymity, table(clinic)
    assert reached is not None
    assert reached.k == pycanon.k_anonymity(found, QUASI) >= 5
    assert reached.l_diversity == pycanon.l_diversity(found, QUASI, ["disease"]) >= 2
    assert reached.t_closeness == pytest.approx(pycanon.t_closeness(found, QUASI, ["disease"]), abs=1e-6)
    assert reached.t_closeness <= 0.5
    assert report.rows == len(found) == 3000 - reached.suppressed
    assert reached.suppressed <= 3000 * most
    assert 0 < reached.loss < 1
    by_name = {column.name: column for column in report.target.columns}
    assert by_name["postcode"].protection == (
        Protection.GENERALIZE if reached.levels["postcode"] else Protection.NONE
    )
    whole = load(clinic, patients(3000), required(**{**_given(need), "max_suppressed": 0})).anonymity
    assert whole is not None
    assert reached.loss <= whole.loss


def _given(need: Required) -> dict[str, Any]:
    return {
        "quasi_identifiers": STEPS,
        "sensitive": ["disease"],
        "l_diversity": need.l_diversity,
        "t_closeness": need.t_closeness,
    }


def test_append_counts_what_is_there(clinic: World) -> None:
    one, other = patients(2)
    load(clinic, [one] * 5, required())
    added = load(clinic, [one, *[other] * 5], required(), mode="append")
    assert added.anonymity is not None
    assert (added.rows, added.anonymity.k) == (6, 5)
    with pytest.raises(ContractError, match="2 of 2 rows would have to be left out"):
        load(clinic, [patients(3)[2]] * 2, required(), mode="append")
    assert len(table(clinic)) == 11


def test_rows_that_are_there_and_are_too_few_can_not_be_mended_by_appending(clinic: World) -> None:
    clinic.execute("INSERT INTO crm.patients VALUES ('1950', '12345', 'f', 'flu')")
    with pytest.raises(ContractError, match="holds rows already that do not meet it, and stay"):
        load(clinic, [patients(1)[0]] * 6, required(), mode="append")


def test_somebody_else_who_writes_meanwhile_is_noticed(clinic: World) -> None:
    clinic.execute(
        "CREATE FUNCTION crm.other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF pg_trigger_depth() = 1 THEN INSERT INTO crm.patients VALUES ('1900', 'x', 'f', 'flu'); END IF; RETURN NULL; END $$; "
        "CREATE TRIGGER other AFTER INSERT ON crm.patients EXECUTE FUNCTION crm.other()"
    )
    with pytest.raises(StoreUnavailable, match="1 classes have less than 5 rows, since it was changed"):
        load(clinic, [patients(1)[0]] * 6, required())
    assert table(clinic).empty


@pytest.mark.parametrize(
    ("given", "written", "says"),
    [
        ({"l_diversity": 2}, "('2000', '23456', 'm', 'flu')", "k=5, l=1, t="),
        ({"t_closeness": 0.05}, "('2000', '23456', 'm', 'flu')", "k=5, l=1, t=0."),
        ({"l_diversity": 2}, None, ""),
    ],
)
def test_l_and_t_are_looked_at_once_more(
    clinic: World, given: dict[str, Any], written: str | None, says: str
) -> None:
    """Another class, large enough, whose five persons all have the flu."""
    if written:
        clinic.execute(
            "CREATE FUNCTION crm.other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() = 1 THEN "
            f"INSERT INTO crm.patients SELECT v.* FROM (VALUES {written}) v, generate_series(1, 5); END IF; RETURN NULL; END $$; "
            "CREATE TRIGGER other AFTER INSERT ON crm.patients EXECUTE FUNCTION crm.other()"
        )
    rows = [(*patients(1)[0][:-1], disease) for disease in ("flu", "gout") for _ in range(5)]
    need = required(sensitive=["disease"], **given)
    if not written:
        assert load(clinic, rows, need).rows == 10
        return
    with pytest.raises(StoreUnavailable, match=f"crm.patients: {says}.*since it was changed after"):
        load(clinic, rows, need)
    assert table(clinic).empty


def test_out_of_a_table_in_one_snapshot(clinic: World) -> None:
    load(clinic, [row for row in patients(30) for _ in range(6)], required())
    clinic.execute("CREATE TABLE crm.shared (born text, postcode text, disease text)")
    columns = {
        "born": COLUMNS["born"],
        "postcode": "none",
        "sex": "drop",
        "disease": "none",
    }
    report = clinic.load(
        clinic.table_source("crm.patients"),
        columns,
        "crm.shared",
        mode="replace",
        options=clinic.options(
            require=required(
                k=12, quasi_identifiers={"born": ["decade"], "postcode": [3]}, max_suppressed=0.95
            )
        ),
    )
    found = pd.DataFrame(clinic.query("SELECT born, postcode FROM crm.shared"), columns=["born", "postcode"])
    assert report.anonymity is not None
    assert len(found) == report.rows
    assert found.groupby(["born", "postcode"]).size().min() >= 12


def test_into_an_object(clinic: World) -> None:
    uri = "s3://lake/out/shared.csv"
    target = ObjectTarget(
        clinic.lake.s3, lambda arn: clinic.lake.kms, uri, encryption="SSE-KMS", kms_keys=[clinic.lake.key]
    )
    from airflow_secure_provider.contract.contract import from_columns

    source = clinic.source(clinic.lake.put(clinic.lake.encrypt(as_csv(patients(500))).data))
    need = required(quasi_identifiers=STEPS, max_suppressed=50)
    report = transfer(source, from_columns(COLUMNS, uri), target, clinic.options(require=need), task="t")
    body = clinic.lake.s3.get_object(Bucket="lake", Key="out/shared.csv")["Body"].read()
    found = pd.read_csv(io.BytesIO(body), dtype=str).fillna("-")
    assert report.anonymity is not None
    assert len(found) == report.rows
    assert pycanon.k_anonymity(found, QUASI) == report.anonymity.k >= 5


def test_null_is_a_value_of_its_own(clinic: World) -> None:
    rows = [("1", "", "1000", "f", "flu")] * 5 + [("1", "1950-01-01", "1000", "f", "flu")] * 4
    with pytest.raises(ContractError, match="4 of 9 rows"):
        load(clinic, rows, required())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"k": 1}, "k is 1, expected a whole number from 2 up"),
        ({"k": True}, "k is True"),
        ({"quasi_identifiers": []}, "has no quasi_identifiers"),
        ({"quasi_identifiers": "born"}, "has no quasi_identifiers"),
        ({"l_diversity": 2}, "sensitive goes with l_diversity"),
        ({"sensitive": "disease"}, "sensitive goes with l_diversity"),
        ({"l_divresity": 2}, "unknown 'l_divresity'"),
        ({"t_closeness": 2, "sensitive": "x"}, "t_closeness is 2"),
        ({"max_suppressed": -1}, "max_suppressed is -1"),
        ({"quasi_identifiers": {"born": ["century"]}}, "step 'century'; expected month"),
        ({"quasi_identifiers": {"born": ["any", "year"]}}, "step 'any'"),
        ({"quasi_identifiers": {"born": [[3, 1]]}}, "a list of rising edges"),
        ({"quasi_identifiers": {"born": "year"}}, "neither a list of steps nor"),
    ],
)
def test_bad_requirements(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        required(**given)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"quasi_identifiers": ["nothing"]}, "'nothing', which is not in the contract"),
        ({"quasi_identifiers": ["id"]}, "'id', which is dropped"),
        ({"sensitive": ["born"], "l_diversity": 2}, "'born' is either a quasi-identifier or sensitive"),
    ],
)
def test_columns_that_have_no_classes(clinic: World, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractError) as caught:
        load(clinic, patients(3), required(**given))
    assert says in str(caught.value)


def test_noise_has_no_classes(clinic: World) -> None:
    columns = {
        **COLUMNS,
        "postcode": {"method": "noise", "scale": 5, "subject": "id", "type": "integer"},
    }
    with pytest.raises(
        ContractError, match="'postcode', which gets noise, in which equal values are not equal"
    ):
        required().check(from_columns(columns, "crm.patients").rules)


def test_what_does_not_go_together(clinic: World) -> None:
    reject = RejectTo(
        clinic.lake.s3, lambda arn: clinic.lake.kms, "s3://lake/rejected/", kms_keys=[clinic.lake.key], most=5
    )
    with pytest.raises(ConfigurationError, match="give one of both"):
        load(clinic, patients(3), required(), reject=reject)
    clinic.execute("CREATE UNIQUE INDEX ON crm.patients (postcode)")
    with pytest.raises(ConfigurationError, match="goes with mode='append' and mode='replace'"):
        clinic.load(
            clinic.lake.encrypt(as_csv(patients(3))).data,
            COLUMNS,
            "crm.patients",
            mode="upsert",
            target={"key_columns": ["postcode"]},
            options=clinic.options(require=required()),
        )


def test_a_hierarchy_file(clinic: World) -> None:
    places = "".join(f"{n}{m}0,area {n % 3},land\n" for n in range(100, 130) for m in range(3))
    need = Required.of(
        {"k": 5, "quasi_identifiers": {"postcode": "places.csv"}}, {"places.csv": places.encode()}.__getitem__
    )
    report = load(clinic, patients(300), need)
    assert report.anonymity is not None
    assert set(table(clinic)["postcode"]) == {"area 0", "area 1", "area 2"}
    with pytest.raises(ConfigurationError, match=r"1 different values of the column are not in places.csv"):
        load(clinic, [("1", "1950-01-01", "99999", "f", "x")] * 6, need)


@pytest.mark.parametrize("content", [b"", b"a\n", b"a,b\nc\n", b"a,b\na,c\n", b"\xff,\xfe\n"])
def test_what_is_no_hierarchy(content: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"h\.csv"):
        Required.of({"k": 5, "quasi_identifiers": {"a": "h.csv"}}, lambda name: content)

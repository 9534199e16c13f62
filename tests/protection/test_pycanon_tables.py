"""The tables that pyCANON shows itself with, which are not in its package: ``PYCANON_DATA`` names the ``data`` folder of its sources."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from pycanon import anonymity as pycanon

from .test_anonymity import measured

FOLDER = os.environ.get("PYCANON_DATA", "")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not FOLDER, reason="PYCANON_DATA does not name pyCANON's example data"),
]
_ADULT = ["age", "education", "occupation", "relationship", "sex", "native-country"]
_STROKE = ["gender", "age", "hypertension", "heart_disease", "ever_married", "work_type", "Residence_type", "smoking_status"]  # fmt: skip
_PUPILS = ["Teacher", "Gender", "Ethnic", "Freeredu", "wesson"]
_FLIGHTS = ["Gender", "Customer Type", "Age", "Type of Travel", "Class", "Flight Distance", "Departure Delay in Minutes", "Arrival Delay in Minutes"]  # fmt: skip
TABLES = {
    **{f"adult_anonymized_{k}": (_ADULT, ["salary-class"]) for k in (3, 10, 20)},
    **{f"stroke_k{k}": (_STROKE, ["stroke"]) for k in (2, 5, 10, 15, 19, 20, 22, 25)},
    **{f"StudentsMath_Score{k}": (_PUPILS, ["Score"]) for k in ("", "_k2", "_k5", "_k7")},
    **{name: (["Age", "Sex", "BP", "Cholesterol", "Na_to_K"], ["Drug"]) for name in ("drug_type", "drugs_k5")},
    "hospital_anonymized": (["age", "gender", "city"], ["disease"]),
    **{f"airline_passenger_sat_k{k}": (_FLIGHTS, ["On-board service", "satisfaction"]) for k in (2, 5, 10, 20)},
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_k_l_and_t_as_pycanon_finds_them(name: str) -> None:
    quasi, sensitive = TABLES[name]
    table = pd.read_csv(Path(FOLDER) / "processed" / f"{name}.csv")
    table.columns = table.columns.str.strip()
    table = table[[*quasi, *sensitive]].dropna()

    found = measured(table, quasi, sensitive)
    assert found.k == pycanon.k_anonymity(table, quasi)
    assert found.l_diversity == pycanon.l_diversity(table, quasi, sensitive)
    assert found.t_closeness == pytest.approx(pycanon.t_closeness(table, quasi, sensitive))

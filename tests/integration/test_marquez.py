"""What people see in Marquez: the real server, fed by a real Airflow, and asked through its API."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.marquez]

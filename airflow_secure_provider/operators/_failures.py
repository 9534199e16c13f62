"""Our errors as Airflow wants them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowFailException

from ..errors import SecureProviderError, TransientError, raise_alone


@contextmanager
def as_airflow_failures() -> Iterator[None]:
    """A :class:`TransientError` passes, so that Airflow retries; the rest fails the task for good."""
    failure: AirflowFailException | None = None
    try:
        yield
    except TransientError:
        raise
    except SecureProviderError as error:
        failure = AirflowFailException(f"{type(error).__name__}: {error}")
    if failure is not None:
        raise_alone(failure)

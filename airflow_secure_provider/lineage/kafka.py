"""Events to Kafka, and the broker's word that it has them: the OpenLineage client itself asks for none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SECONDS = 10.0


class NotDelivered(Exception):
    """The broker has not confirmed an event."""


def deliver(transport: Any, event: Mapping[str, Any]) -> None:
    """
    Events of one run have its id as their key, unless the transport has one of its own, so that they stay in order.

    :param transport: the OpenLineage client's, for its producer and its settings.
    :raises NotDelivered: if the broker refuses it, or does not answer within seconds.
    """
    if transport.producer is None:
        transport._setup_producer(transport.kafka_config.config)
    failures: list[str] = []
    confirmed: list[bool] = []

    def told(error: Any, message: Any) -> None:
        if error is None:
            confirmed.append(True)
        else:
            failures.append(error.name())

    key = transport.message_key or str((event.get("run") or {}).get("runId") or "") or None
    transport.producer.produce(
        topic=transport.topic, key=key, value=json.dumps(event).encode(), on_delivery=told
    )
    transport.producer.flush(timeout=_SECONDS)
    if not confirmed:
        transport.producer.purge()  # or it would come later, out of order
        transport.producer.flush(timeout=0)
        transport.producer = None
        raise NotDelivered(failures[0] if failures else "no answer in time")

"""Watches Kafka: the clients of confluent-kafka, as the stock hooks make them.

librdkafka shows nobody its sockets. But it connects in the one way that it was configured for, and never in a weaker one: a message
that went over a connection of a client for TLS went over TLS, whose version nobody tells. So TLS is observed once a message was
confirmed or received, and plaintext as soon as one is produced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ...model import Evidence, InTransit
from ..observations import OBSERVED
from .harmless import harmless

_PORT = "9092"
# librdkafka 2.0: before, names of servers were not checked unless one asked for it.
_FIRST_TO_CHECK_NAMES = 0x02000000
_CERTIFICATES = (
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.keystore.location",
    "ssl.engine.location",
)
_CALLBACKS = ("callback", "on_delivery")


@harmless
def watch_kafka(module: Any) -> None:
    """From now on in this process and its forks, since the task has imported the clients."""
    library: int = module.libversion()[1]
    for make in (_producer, _consumer):
        name = make.__name__.strip("_").capitalize()
        original = getattr(module, name)
        made = _renamed(make(original, library), original)
        # Where the DAG file was faster, as in ``dags test``, it and the hooks have the class already.
        for each in [*sys.modules.values()]:
            if getattr(each, "__dict__", {}).get(name) is original:
                setattr(each, name, made)


def in_transit(settings: Mapping[str, Any], library: int) -> InTransit:
    """How all connections of a client with these settings are protected, if it has any.

    :param library: librdkafka's version, as it tells it itself.
    """
    mocked = _setting(settings, "test.mock.num.brokers", "0") != "0"  # without TLS, whatever one asks for
    if mocked or _setting(settings, "security.protocol", "plaintext") not in ("ssl", "sasl_ssl"):
        return InTransit(protocol="none", evidence=Evidence.OBSERVED)
    usual = "https" if library >= _FIRST_TO_CHECK_NAMES else "none"
    verified = (
        _setting(settings, "enable.ssl.certificate.verification", "true") in ("true", "t", "1")
        and _setting(settings, "ssl.endpoint.identification.algorithm", usual) == "https"
    )
    offered = any(settings.get(name) for name in _CERTIFICATES)  # whether a server asks for it nobody tells
    return InTransit("TLS", None, verified, None if offered else False, Evidence.OBSERVED)


def namespaces(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the cluster, one for each server that the client was given."""
    listed = str(settings.get("bootstrap.servers") or settings.get("metadata.broker.list") or "")
    named: dict[str, None] = {}
    for each in listed.split(","):
        server = each.strip().rpartition("://")[2]
        if server:
            named[f"kafka://{server}"] = None
            if not server.rpartition(":")[2].isdecimal():
                named[f"kafka://{server}:{_PORT}"] = None
    return tuple(named)


class _Client:
    """What is known of one client. Its settings are not kept: there are passwords among them."""

    def __init__(self, settings: Mapping[str, Any], library: int) -> None:
        self.namespaces = namespaces(settings)
        self.in_transit = in_transit(settings, library)
        self.on_delivery = next((settings[each] for each in settings if each.lower() == "on_delivery"), None)
        self.topics: set[str] = set()

    @harmless
    def passed(self, topic: str) -> None:
        if topic not in self.topics:
            self.topics.add(topic)
            for each in self.namespaces:
                OBSERVED.travelled(each, topic, self.in_transit)

    def received(self, message: Any) -> None:
        if message.topic() not in self.topics and message.error() is None:
            self.passed(message.topic())

    def produced(self, topic: str, before: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """
        :param before: how many arguments there may be before the callback for a message's delivery.
        """
        if self.in_transit.protocol == "none":
            self.passed(topic)
        elif len(args) <= before:
            name = next((each for each in _CALLBACKS if each in kwargs), "on_delivery")
            told = kwargs.get(name) or self.on_delivery
            if told is None or callable(told):  # else the client finds it as it is
                kwargs[name] = self._telling(told)

    def _telling(self, told: Callable[..., Any] | None) -> Callable[..., Any]:
        def delivered(error: Any, message: Any) -> Any:
            if error is None:
                self.passed(message.topic())
            return told(error, message) if told is not None else None

        return delivered


def _producer(original: Any, library: int) -> Any:
    produce = original.produce

    class Producer(original):  # type: ignore[misc]  # a class that is known when the task imports it
        _secure_provider_told: _Client | None = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            _remember(self, library, args, kwargs)

        def produce(self, topic: str, *args: Any, **kwargs: Any) -> Any:  # for each message, so it is short
            told: _Client | None = self._secure_provider_told
            if told is not None and topic not in told.topics:
                told.produced(topic, 3, args, kwargs)
            return produce(self, topic, *args, **kwargs)

        def produce_batch(self, topic: str, *args: Any, **kwargs: Any) -> Any:
            told: _Client | None = self._secure_provider_told
            if told is not None and topic not in told.topics:
                told.produced(topic, 2, args, kwargs)
            return super().produce_batch(topic, *args, **kwargs)

    if not hasattr(original, "produce_batch"):  # older versions
        del Producer.produce_batch
    return Producer


def _consumer(original: Any, library: int) -> Any:
    class Consumer(original):  # type: ignore[misc]  # as above
        _secure_provider_told: _Client | None = None

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            _remember(self, library, args, kwargs)

        def poll(self, *args: Any, **kwargs: Any) -> Any:
            message = super().poll(*args, **kwargs)
            told: _Client | None = self._secure_provider_told
            if told is not None and message is not None:
                told.received(message)
            return message

        def consume(self, *args: Any, **kwargs: Any) -> Any:
            messages = super().consume(*args, **kwargs)
            told: _Client | None = self._secure_provider_told
            if told is not None:
                for each in messages:
                    told.received(each)
            return messages

    return Consumer


@harmless
def _remember(client: Any, library: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    given = args[0] if args and isinstance(args[0], Mapping) else {}
    client._secure_provider_told = _Client({**given, **kwargs}, library)


def _renamed(made: Any, original: Any) -> Any:
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(made, name, getattr(original, name))
    return made


def _setting(settings: Mapping[str, Any], name: str, usual: str) -> str:
    return str(settings.get(name, usual)).strip().lower()

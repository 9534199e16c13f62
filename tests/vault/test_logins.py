"""How processes log in to Vault, with what, and which tokens they refuse."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import hvac
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_secure_provider import leases
from airflow_secure_provider.errors import ConfigurationError
from airflow_secure_provider.secrets.vault import VaultSecretsBackend
from airflow_secure_provider.vault.login import Login, refuse_unfit
from sandbox.ca import Authority
from sandbox.vault import VaultStandIn
from tests.api_server import CLIENT_ID, CLIENT_SECRET, Api
from tests.fixtures_vault import VaultServer, unique
from tests.tls_server import TlsServer
from tests.vault.backends import Backends, denied, in_child


@pytest.fixture(autouse=True)
def _logins() -> Iterator[None]:
    leases.LOGINS.clear()
    yield
    leases.LOGINS.clear()


def token_with(root: hvac.Client, policy: str, **arguments: Any) -> str:
    name = unique("policy")
    root.sys.create_or_update_acl_policy(name, policy)
    token: str = root.auth.token.create(policies=[name], **arguments)["auth"]["client_token"]
    return token


READS = 'path "secret/data/variables/*" { capabilities = ["read"] }'


@pytest.fixture
def greeting(root: hvac.Client) -> str:
    name = unique("greeting")
    root.secrets.kv.v2.create_or_update_secret(f"variables/{name}", {"value": "hello"}, mount_point="secret")
    return name


def plain(server: VaultServer, **kwargs: Any) -> VaultSecretsBackend:
    return VaultSecretsBackend(url=server.url, ca_cert=server.verify, **kwargs)


# a response-wrapped secret id


def wrapped(backends: Backends, ttl: str = "60s") -> str:
    answer = backends.root.auth.approle.generate_secret_id(
        "airflow", mount_point=backends.mount, wrap_ttl=ttl
    )
    token: str = answer["wrap_info"]["token"]
    return token


def test_a_wrapped_secret_id(backends: Backends, greeting: str, tmp_path: Path) -> None:
    token_file, kept = tmp_path / "wrapping-token", tmp_path / "secret-id"
    token_file.write_text(wrapped(backends) + "\n")
    paths = {"secret_id": None, "secret_id_wrapping_token_path": str(token_file), "secret_id_path": str(kept)}
    assert backends(**paths).get_variable(greeting) == "hello"
    assert oct(kept.stat().st_mode & 0o777) == "0o600"
    leases.LOGINS.clear()
    assert (
        in_child(lambda: backends(**paths).get_variable(greeting) or "") == "hello"
    )  # another process, the same token

    before = kept.read_text()
    token_file.write_text(json.dumps({"wrap_info": {"token": wrapped(backends)}}))  # as the CLI prints it
    leases.LOGINS.clear()
    assert backends(**paths).get_variable(greeting) == "hello"
    assert kept.read_text() != before
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "secret-id",
        "secret-id.lock",
        "wrapping-token",
    ]


def test_a_wrapping_token_that_somebody_has_used(
    backends: Backends, vault_server: VaultServer, tmp_path: Path
) -> None:
    token_file, kept = tmp_path / "wrapping-token", tmp_path / "secret-id"
    token = wrapped(backends)
    thief = vault_server.client(token)
    assert thief.sys.unwrap()["data"]["secret_id"]
    thief.adapter.close()
    token_file.write_text(token)
    message = denied(
        lambda: backends(
            secret_id=None, secret_id_wrapping_token_path=str(token_file), secret_id_path=str(kept)
        ).get_variable("x")
    )
    assert "was used before" in message
    assert "stolen" in message
    assert token not in message
    assert not kept.exists()


def test_a_wrapping_token_of_something_else(backends: Backends, root: hvac.Client, tmp_path: Path) -> None:
    """Somebody has opened ours, and put the secret id into one of their own."""
    token_file, kept = tmp_path / "wrapping-token", tmp_path / "secret-id"
    answer = root.adapter.post(
        "/v1/sys/wrapping/wrap", json={"secret_id": "x"}, headers={"X-Vault-Wrap-TTL": "60s"}
    )
    token_file.write_text(answer["wrap_info"]["token"])
    message = denied(
        lambda: backends(
            secret_id=None, secret_id_wrapping_token_path=str(token_file), secret_id_path=str(kept)
        ).get_variable("x")
    )
    assert "does not wrap an AppRole's secret id" in message


# certificates and JWTs


@pytest.fixture
def certificate(root: hvac.Client, authority: Authority) -> Iterator[str]:
    mount = unique("cert")
    root.sys.enable_auth_method("cert", path=mount)
    root.sys.create_or_update_acl_policy(mount, READS)
    root.adapter.post(
        f"/v1/auth/{mount}/certs/airflow",
        json={"certificate": authority.ca_pem.read_text(), "token_policies": [mount], "token_ttl": "1h"},
    )
    yield mount
    root.sys.disable_auth_method(mount)


def test_login_by_a_certificate(
    vault_server: VaultServer, authority: Authority, certificate: str, greeting: str
) -> None:
    cert, key = authority.client("airflow")
    own = {
        "auth_type": "cert",
        "auth_mount_point": certificate,
        "client_cert": str(cert),
        "client_key": str(key),
    }
    assert plain(vault_server, **own).get_variable(greeting) == "hello"
    leases.LOGINS.clear()
    assert plain(vault_server, **own, cert_role="airflow").get_variable(greeting) == "hello"
    leases.LOGINS.clear()
    assert "status 400" in denied(
        lambda: plain(vault_server, **own, cert_role="nobody").get_variable(greeting)
    )


def test_a_certificate_of_another_ca(vault_server: VaultServer, certificate: str, tmp_path: Path) -> None:
    """By whom a client's certificate is issued is for the login to say, and not only for TLS."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stranger")])
    now = datetime.datetime.now(datetime.UTC)
    issued = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "c.pem").write_bytes(issued.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "c.key").write_bytes(pem(key))
    paths = {"client_cert": str(tmp_path / "c.pem"), "client_key": str(tmp_path / "c.key")}
    own = {"auth_type": "cert", "auth_mount_point": certificate, **paths}
    message = denied(lambda: plain(vault_server, **own).get_variable("x"))
    assert "status 400" in message or "TLS" in message  # the login refuses it, or the connection did before


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Issuer:
    """An identity provider: a key, a mount of Vault that trusts it, and tokens."""

    def __init__(self, root: hvac.Client) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.mount = unique("jwt")
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        root.sys.enable_auth_method("jwt", path=self.mount)
        root.sys.create_or_update_acl_policy(self.mount, READS)
        root.adapter.post(f"/v1/auth/{self.mount}/config", json={"jwt_validation_pubkeys": [public.decode()]})
        root.adapter.post(
            f"/v1/auth/{self.mount}/role/airflow",
            json={
                "role_type": "jwt",
                "user_claim": "sub",
                "bound_audiences": ["vault"],
                "token_policies": [self.mount],
                "token_ttl": "1h",
            },
        )

    def token(self, audience: str = "vault") -> str:
        now = int(time.time())
        claims = {
            "sub": "airflow",
            "aud": audience,
            "iss": "test",
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
        }
        return jwt.encode(claims, self.key, algorithm="ES256")


@pytest.fixture
def issuer(root: hvac.Client) -> Iterator[Issuer]:
    made = Issuer(root)
    yield made
    root.sys.disable_auth_method(made.mount)


def test_login_by_a_jwt_in_a_file(
    vault_server: VaultServer, issuer: Issuer, greeting: str, tmp_path: Path
) -> None:
    (tmp_path / "jwt").write_text(issuer.token())
    own = {"auth_type": "jwt", "auth_mount_point": issuer.mount, "jwt_role": "airflow"}
    made = plain(vault_server, **own, jwt_token_path=str(tmp_path / "jwt"))
    assert made.get_variable(greeting) == "hello"
    leases.LOGINS.clear()
    (tmp_path / "jwt").write_text(issuer.token("somebody else"))
    assert "status 400" in denied(
        lambda: plain(vault_server, **own, jwt_token_path=str(tmp_path / "jwt")).get_variable(greeting)
    )


def test_login_by_oauth_client_credentials(
    vault_server: VaultServer, issuer: Issuer, greeting: str, authority: Authority, tmp_path: Path
) -> None:
    """Whom the identity provider gives a token, Vault lets in."""
    with Api(authority) as api:
        api.make_token = issuer.token
        (tmp_path / "client-secret").write_text(CLIENT_SECRET + "\n")
        given = {
            "token_url": f"{api.url}/token",
            "client_id": CLIENT_ID,
            "client_secret_path": str(tmp_path / "client-secret"),
            "audience": "vault",
            "ca_cert": str(authority.ca_pem),
        }
        own = {"auth_type": "jwt", "auth_mount_point": issuer.mount, "jwt_role": "airflow"}
        assert plain(vault_server, **own, jwt_client_credentials=given).get_variable(greeting) == "hello"
        leases.LOGINS.clear()
        (tmp_path / "client-secret").write_text("wrong-secret")
        message = denied(
            lambda: plain(vault_server, **own, jwt_client_credentials=given).get_variable(greeting)
        )
        assert "token endpoint" in message
        assert "wrong-secret" not in message


# Kubernetes


class TokenReviews(BaseHTTPRequestHandler):
    """Of a Kubernetes API server the part that says whose a token is."""

    known: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        user = self.known.get(asked["spec"]["token"])
        status = {"authenticated": user is not None, "user": {"username": user, "uid": "1", "groups": []}}
        body = json.dumps(
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
        ).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_login_by_a_service_account(
    root: hvac.Client, vault_server: VaultServer, authority: Authority, greeting: str, tmp_path: Path
) -> None:
    def token(account: str) -> str:
        projected = {"namespace": "airflow", "serviceaccount": {"name": account, "uid": "1"}}
        subject = f"system:serviceaccount:airflow:{account}"
        claims = {"iss": "k", "sub": subject, "exp": int(time.time()) + 60, "kubernetes.io": projected}
        made = jwt.encode(claims, pem(ec.generate_private_key(ec.SECP256R1())), algorithm="ES256")
        TokenReviews.known[made] = subject
        return made

    mount = unique("kubernetes")
    with TlsServer(TokenReviews, "kubernetes", authority) as api:
        root.sys.enable_auth_method("kubernetes", path=mount)
        root.sys.create_or_update_acl_policy(mount, READS)
        root.adapter.post(
            f"/v1/auth/{mount}/config",
            json={
                "kubernetes_host": api.url,
                "kubernetes_ca_cert": authority.ca_pem.read_text(),
                "token_reviewer_jwt": token("reviewer"),
            },
        )
        root.adapter.post(
            f"/v1/auth/{mount}/role/airflow",
            json={
                "bound_service_account_names": ["worker"],
                "bound_service_account_namespaces": ["airflow"],
                "token_policies": [mount],
                "token_ttl": "1h",
            },
        )
        file = tmp_path / "token"
        own = {"auth_type": "kubernetes", "auth_mount_point": mount, "kubernetes_role": "airflow"}
        file.write_text(token("worker"))
        assert plain(vault_server, **own, kubernetes_jwt_path=str(file)).get_variable(greeting) == "hello"
        leases.LOGINS.clear()
        file.write_text(token("somebody"))
        message = denied(
            lambda: plain(vault_server, **own, kubernetes_jwt_path=str(file)).get_variable(greeting)
        )
        assert "status 403" in message
        assert "who logs in" in message
        root.sys.disable_auth_method(mount)


# Vault Agent


def test_the_token_file_of_an_agent_is_read_again(
    root: hvac.Client, vault_server: VaultServer, greeting: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(token_with(root, READS, ttl="1h"))
    made = plain(vault_server, auth_type="token", token_path=str(file))
    assert made.get_variable(greeting) == "hello"
    root.auth.token.revoke(file.read_text())
    file.write_text(token_with(root, READS, ttl="1h"))
    assert made.get_variable(greeting) == "hello"


# tokens that Airflow should not have


@pytest.mark.parametrize("kind", ["root", "over-broad", "administrator"])
def test_unfit_tokens(root: hvac.Client, vault_server: VaultServer, greeting: str, kind: str) -> None:
    if kind == "root":
        token = vault_server.root_token
    elif kind == "over-broad":
        token = token_with(root, 'path "*" { capabilities = ["read"] }', ttl="1h")
    else:
        token = token_with(root, READS + ' path "sys/policies/acl/*" { capabilities = ["update"] }', ttl="1h")
    message = denied(lambda: plain(vault_server, token=token).get_variable(greeting))
    assert "token is refused" in message
    assert token not in message
    leases.LOGINS.clear()
    allowed = {"administrator": "over-broad"}.get(kind, kind)
    assert f'"{allowed}"' in message
    assert plain(vault_server, token=token, allow_tokens=[allowed]).get_variable(greeting) == "hello"


def test_a_token_without_an_end(root: hvac.Client, vault_server: VaultServer) -> None:
    """What Vault of today makes only of root; the rule is for what else answers so."""
    client = vault_server.client(token_with(root, READS, ttl="1h"))
    login = Login.of(
        {"client_token": "t", "policies": ["airflow"], "lease_duration": 0}, own=True, started=0.0
    )
    with pytest.raises(ConfigurationError, match='"never-expiring"'):
        refuse_unfit(login, client, ())
    refuse_unfit(login, client, ["never-expiring"])
    client.adapter.close()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="allow_tokens in backend_kwargs has 'any'"):
        VaultSecretsBackend(url="https://vault.invalid", token="x", allow_tokens="any")


# how often


def test_one_login_per_process(vault: VaultStandIn, stand_in: Backends, greeting: str) -> None:
    stand_in.put(f"variables/{greeting}", value="hello")
    before = vault.requests(f"auth/{stand_in.mount}/login")
    for _ in range(5):  # Airflow 3.2 makes a backend for each look-up
        assert stand_in().get_variable(greeting) == "hello"
    assert in_child(lambda: stand_in().get_variable(greeting) or "") == "hello"
    assert vault.requests(f"auth/{stand_in.mount}/login") == before + 1


def test_a_denied_path_is_no_reason_to_log_in_again(vault: VaultStandIn, stand_in: Backends) -> None:
    made = stand_in()
    for _ in range(3):
        assert "status 403" in denied(lambda: made.get_conn_value("forbidden"))
    assert vault.requests(f"auth/{stand_in.mount}/login") == 1


@pytest.mark.usefixtures("task")
def test_a_task_ends_its_login(backends: Backends, greeting: str, vault_server: VaultServer) -> None:
    made = backends()
    assert made.get_variable(greeting) == "hello"
    token = made.vault_client.client.token
    leases.revoke_task_leases()
    client = vault_server.client(token)
    with pytest.raises(hvac.exceptions.Forbidden):
        client.auth.token.lookup_self()
    client.adapter.close()


@pytest.mark.usefixtures("task")
def test_a_given_token_is_not_ended(root: hvac.Client, vault_server: VaultServer, greeting: str) -> None:
    token = token_with(root, READS, ttl="1h")
    assert plain(vault_server, token=token).get_variable(greeting) == "hello"
    leases.revoke_task_leases()
    client = vault_server.client(token)
    assert client.auth.token.lookup_self()["data"]["ttl"] > 0
    client.adapter.close()


def test_a_login_of_the_parent_is_not_ended_by_its_task(backends: Backends, greeting: str) -> None:
    """A worker that logged in forks its tasks: one that ended the token would end it for all."""
    made = backends()
    assert made.get_variable(greeting) == "hello"

    def task() -> str:
        leases.enter_task_process()
        login = made.get_connection("crm").login
        leases.revoke_task_leases()
        return login

    login = in_child(task)
    assert login.startswith("v-")
    assert not backends.engine.role_exists(login)
    made.vault_client.client.auth.token.lookup_self()


# configuration


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"auth_type": "cert"}, "takes client_cert and client_key"),
        ({"client_cert": "c"}, "go together"),
        ({"secret_id_wrapping_token_path": "w", "role_id": "r"}, "takes secret_id_path too"),
        ({"jwt_client_credentials": {"client_id": "x"}}, "needs token_url"),
        ({"jwt_client_credentials": {"token_url": "x", "client_id": "x"}}, "client_secret"),
        ({"jwt_client_credentials": "{"}, "not JSON"),
        ({"cache_seconds": "long"}, "0 to 60"),
        ({"cache_seconds": 61}, "0 to 60"),
    ],
)
def test_bad_configuration(kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        VaultSecretsBackend(url="https://vault.invalid", token="x", **kwargs)


def test_the_core_needs_no_airflow() -> None:
    code = (
        "import sys, airflow_secure_provider.vault.book, airflow_secure_provider.vault.renewal, "
        "airflow_secure_provider.inspection.sweep; print({'airflow', 'hvac', 'requests'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"

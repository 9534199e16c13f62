from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from botocore.exceptions import SSLError

from sandbox import postgres as postgres_module
from sandbox.airflow import Airflow, AirflowError
from sandbox.aws import Aws
from sandbox.ca import Authority
from sandbox.environment import NOBODY, REPOSITORY, Process, ProcessError, clean_environment, short_directory
from sandbox.postgres import Database, Postgres

# environment


@pytest.mark.parametrize(
    "name",
    [
        "AWS_PROFILE", "VAULT_TOKEN", "BAO_ADDR", "PGPASSWORD", "PGSSLMODE", "AIRFLOW_HOME", "AIRFLOW__CORE__EXECUTOR",
        "AIRFLOW_CONN_X", "OPENLINEAGE_URL", "OPENLINEAGE__TRANSPORT__TYPE", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSLKEYLOGFILE", "HTTPS_PROXY",
        "https_proxy", "all_proxy", "PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "LC_ALL", "XDG_CONFIG_HOME",
    ],
)  # fmt: skip
def test_callers_variables_are_dropped(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "the caller's")

    assert name not in clean_environment(tmp_path)


@pytest.mark.parametrize("name", ["TERM", "TZ", "LD_LIBRARY_PATH", "PAGER", "CARGO_HOME"])
def test_harmless_variables_are_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "the caller's")

    assert clean_environment(tmp_path)[name] == "the caller's"


def test_environment_is_the_sandbox_own(tmp_path: Path) -> None:
    environment = clean_environment(tmp_path / "home", AWS_REGION="eu-central-1")

    assert environment["HOME"] == str(tmp_path / "home")
    assert Path(environment["TMPDIR"]).parent == tmp_path / "home"
    assert Path(environment["TMPDIR"]).is_dir()
    assert environment["NO_PROXY"] == environment["no_proxy"] == "127.0.0.1,localhost"
    assert environment["LANG"] == "C.UTF-8"
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert environment["AWS_REGION"] == "eu-central-1"


def test_tests_are_isolated_from_the_caller() -> None:
    left = {name for name in os.environ if name.startswith(("AWS_", "VAULT_", "BAO_", "OPENLINEAGE"))}

    assert left == {"AWS_EC2_METADATA_DISABLED"}
    assert Path(os.environ["AIRFLOW_HOME"]).is_relative_to(os.environ["HOME"])


# short directories


def test_short_directory_is_private_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    with short_directory() as path:
        assert len(str(path)) < 80
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        (path / "file").touch()

    assert not path.exists()


def test_short_directory_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    with _starter("with short_directory() as path:\n    say(path)\n    time.sleep(60)", tmp_path) as starter:
        abandoned = _said_path(starter)
    assert abandoned.exists()

    with short_directory():
        assert abandoned.exists()  # too young to tell
    an_hour_ago = time.time() - 3600
    os.utime(abandoned, (an_hour_ago, an_hour_ago))
    with short_directory() as alive:
        os.utime(alive, (an_hour_ago, an_hour_ago))
        with short_directory():
            assert not abandoned.exists()
            assert alive.exists()


# processes


@pytest.fixture
def tag() -> str:
    """A sleep of this many seconds is found again among all processes."""
    return f"{10_000 + os.getpid()}.{time.monotonic_ns() % 1_000_000_000:09d}"


def test_descendants_that_hide_are_gone_after_stop(tmp_path: Path, tag: str) -> None:
    # in another session, orphaned, deaf to TERM
    script = f"(trap '' TERM; setsid sleep {tag} &) ; trap '' TERM; sleep {tag}; sleep {tag}"
    process = Process(
        "hider",
        ["sh", "-c", script],
        log=tmp_path / "log",
        environment=clean_environment(tmp_path),
        grace_seconds=0.2,
    )
    with process:
        process.wait_until_ready(lambda: len(_sleeping(tag)) == 2)

    assert not _sleeping(tag)
    process.stop()
    assert not process.running


def test_process_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "a log"
    command = ["sh", "-c", "seq 1000; echo no such luck >&2; exit 3"]
    with Process("loser", command, log=log, environment=clean_environment(tmp_path)) as process:
        with pytest.raises(
            ProcessError, match=r"loser ended with exit status 3; the end of .*a log:"
        ) as raised:
            process.wait_until_ready(lambda: False)

    assert "no such luck" in str(raised.value)
    assert " 1000\n" in str(raised.value)
    assert " 500\n" not in str(raised.value)


def test_process_that_is_never_ready_is_given_up(tmp_path: Path, tag: str) -> None:
    with Process(
        "sleeper", ["sleep", tag], log=tmp_path / "log", environment=clean_environment(tmp_path)
    ) as process:
        with pytest.raises(ProcessError, match=r"sleeper was not ready after 0.1 s; (.|\n)*\(empty\)"):
            process.wait_until_ready(lambda: False, 0.1)

    assert not _sleeping(tag)


def test_program_that_is_missing(tmp_path: Path) -> None:
    with Process(
        "nothing", ["no-such-program"], log=tmp_path / "log", environment=clean_environment(tmp_path)
    ) as it:
        with pytest.raises(ProcessError, match="no-such-program: No such file or directory"):
            it.wait(10)


def test_processes_are_gone_when_their_starter_is_killed(tmp_path: Path, tag: str) -> None:
    script = """
        command = ["sh", "-c", f"(setsid sleep {tag} &); sleep {tag}"]
        Process("victim", command, log=home / "log", environment=clean_environment(home)).start()
        say("started")
        time.sleep(60)
        """
    with _starter(script, tmp_path, tag) as starter:
        assert _said(starter) == "started"
        _wait_until(lambda: len(_sleeping(tag)) == 2)

    _wait_until(lambda: not _sleeping(tag))


def test_thread_that_starts_a_process_may_end(tmp_path: Path, tag: str) -> None:
    process = Process("child", ["sleep", tag], log=tmp_path / "log", environment=clean_environment(tmp_path))
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    try:
        time.sleep(0.6)
        assert process.running
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_unwind(number: signal.Signals, status: int, tmp_path: Path, tag: str) -> None:
    script = """
        import signal
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever nohup has made of it
        try:
            with unwind_on_signals(), short_directory() as short:
                with Process("child", ["sleep", tag], log=home / "log", environment=clean_environment(home)):
                    say(short)
                    time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(130)
        """
    with _starter(script, tmp_path, tag) as starter:
        short = _said_path(starter)
        os.kill(starter.pid, number)
        os.kill(starter.pid, number)  # an impatient second time does not cut the cleaning up short
        assert starter.wait(20) == status

    assert not short.exists()
    assert not _sleeping(tag)


# PostgreSQL


def test_postgres_speaks_tls_1_3(database: Database) -> None:
    with database.connect() as connection:
        tls = connection.execute(
            "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
        settings = connection.execute(
            "SELECT current_database(), current_setting('server_encoding'), datcollate, current_setting('fsync')"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()

    assert tls == (True, "TLSv1.3")
    assert settings == (database.name, "UTF8", "C", "off")


def test_postgres_refuses_plaintext(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        postgres.connect(sslmode="disable")


def test_postgres_accepts_plaintext_only_where_asked(tmp_path: Path, authority: Authority) -> None:
    with Postgres(tmp_path, authority, allow_plaintext=True) as server:
        with server.connect(sslmode="disable") as connection:
            query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert connection.execute(query).fetchone() == (False,)
        server.connect().close()


def test_postgres_client_refuses_another_authority(postgres: Postgres, tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        postgres.connect(sslrootcert=str(Authority(tmp_path).ca_pem))


def test_postgres_client_refuses_another_host_name(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        postgres.connect(host="db.example", hostaddr="127.0.0.1")
    postgres.connect(host="localhost", hostaddr="127.0.0.1").close()


def test_postgres_refuses_a_wrong_password(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres.connect("postgres", "wrong")


@pytest.mark.parametrize("immediate", [False, True])
def test_postgres_restarts_with_its_data(immediate: bool, tmp_path: Path, authority: Authority) -> None:
    with Postgres(tmp_path, authority) as server:
        with server.connect() as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        port = server.port
        server.restart(immediate=immediate)
        assert server.port == port
        with server.connect() as connection:
            if not immediate:  # synchronous_commit is off
                assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
        server.stop("smart")
        with pytest.raises(psycopg.OperationalError, match="refused"):
            server.connect()

    assert not (tmp_path / "data").exists()


def test_database_is_dropped_under_a_connection(postgres: Postgres) -> None:
    with postgres.temporary_database() as database:
        connection = database.connect()
    with contextlib.closing(connection), pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        database.connect()


def test_postgres_in_a_path_with_a_space_and_a_quote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "it's a path" / ("x" * 100)
    directory.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(directory))

    with Postgres(directory, Authority(directory / "ca")) as server, server.connect() as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (
            True,
        )


def test_postgres_without_user_namespaces_below_a_private_folder(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL refuses to run as root, and then nobody must reach it below a 0700 home."""
    user = os.geteuid() or NOBODY
    programs = postgres_module._programs()
    private = tmp_path / "private"
    shutil.copytree(programs.parent, private / "pg", symlinks=True)
    private.chmod(0o700)
    monkeypatch.setenv("PGBIN", str(private / "pg" / programs.name))
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    monkeypatch.setattr(postgres_module, "_user_namespaces_work", lambda: False)
    monkeypatch.setattr(postgres_module._Template, "made", None)

    with Postgres(tmp_path / "first", authority) as first, Postgres(tmp_path / "second", authority) as second:
        for server in (first, second):
            with server.connect() as connection:
                found = connection.execute("SELECT current_setting('data_directory')").fetchone()
                assert found is not None
                data = Path(found[0])
            assert data.stat().st_uid == user
            assert {Path(f"/proc/{pid}").stat().st_uid for pid in _running(str(data))} == {user}

    assert not data.exists()


def test_postgres_programs_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBIN", str(tmp_path))

    with pytest.raises(RuntimeError, match=f"no program 'initdb' in PGBIN={tmp_path}"):
        postgres_module._programs()


# AWS


@pytest.fixture
def bucket(aws: Aws) -> Iterator[str]:
    with contextlib.closing(aws.client("s3")) as s3:
        s3.create_bucket(Bucket="sandbox", CreateBucketConfiguration={"LocationConstraint": aws.region})
        yield "sandbox"
        for entry in s3.list_objects_v2(Bucket="sandbox").get("Contents", []):
            s3.delete_object(Bucket="sandbox", Key=entry["Key"])
        s3.delete_bucket(Bucket="sandbox")


@pytest.mark.parametrize("length", [0, 5, 12_345_678])
def test_s3_over_tls(length: int, aws: Aws, bucket: str) -> None:
    content = os.urandom(length)
    with contextlib.closing(aws.client("s3")) as s3:
        s3.put_object(Bucket=bucket, Key="a key/with ü", Body=content)
        found = s3.get_object(Bucket=bucket, Key="a key/with ü")
        with contextlib.closing(found["Body"]) as body:
            assert body.read() == content

    assert aws.endpoint_url.startswith("https://127.0.0.1:")
    assert found["ContentLength"] == length


def test_kms_over_tls(aws: Aws) -> None:
    with contextlib.closing(aws.client("kms")) as kms:
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        context = {"for": "a test"}
        wrapped = kms.encrypt(KeyId=key_id, Plaintext=b"data key", EncryptionContext=context)[
            "CiphertextBlob"
        ]

        assert kms.decrypt(CiphertextBlob=wrapped, EncryptionContext=context)["Plaintext"] == b"data key"


@pytest.mark.parametrize("service", ["s3", "kms"])
def test_aws_client_refuses_another_authority(service: str, aws: Aws, tmp_path: Path) -> None:
    with contextlib.closing(aws.client(service, verify=str(Authority(tmp_path).ca_pem))) as client:
        call = client.list_buckets if service == "s3" else client.list_keys
        with pytest.raises(SSLError, match="certificate verify failed"):
            call()


def test_airflow_hooks_reach_aws(aws: Aws, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SANDBOX_AWS", json.dumps(aws.airflow_connection()))
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    hook = S3Hook("sandbox_aws")
    hook.load_bytes(b"from a hook", "key", bucket)
    kms = AwsBaseHook("sandbox_aws", client_type="kms").get_conn()

    assert hook.read_key("key", bucket) == "from a hook"
    assert isinstance(kms.list_keys()["Keys"], list)


# Airflow


@pytest.mark.airflow
@pytest.mark.slow
def test_airflow_runs_a_dag(tmp_path: Path) -> None:
    dags = tmp_path / "some dags"
    dags.mkdir()
    (dags / "greet.py").write_text(
        textwrap.dedent("""
            from airflow.sdk import Connection, dag, get_current_context, task


            @dag(schedule=None)
            def greet():
                @task
                def hello():
                    print("a line for the log")
                    return {"ds": get_current_context()["ds"], "host": Connection.get("greeted").host}

                @task
                def fails(said):
                    raise ValueError("on purpose")

                fails(hello())


            greet()
            """),
        encoding="utf-8",
    )
    progress: list[dict[str, str]] = []

    with Airflow(tmp_path, dags, {"AIRFLOW_CONN_GREETED": "generic://world.example"}) as airflow:
        run_id = airflow.trigger("greet", conf={"some": "thing"})
        state = airflow.wait("greet", run_id, 120, progress.append)

        assert state == "failed"
        assert airflow.task_states("greet", run_id) == {"hello": "success", "fails": "failed"} == progress[-1]
        said = airflow.xcoms("greet", run_id, "hello")["return_value"]
        assert said["host"] == "world.example"
        assert said["ds"] in run_id
        assert "a line for the log" in airflow.task_log("greet", run_id, "hello")
        assert "on purpose" in airflow.task_log("greet", run_id, "fails")

        (dags / "broken.py").write_text(
            "from airflow.sdk import dag\nimport no_such_module\n", encoding="utf-8"
        )
        with pytest.raises(AirflowError, match="No module named 'no_such_module'"):
            airflow.trigger("broken")
        home = str(airflow.home)
        assert (airflow.home / "airflow.db").exists()
        assert _running_with_home(home)

    assert not _running_with_home(home)


def _running(part_of_command: str) -> list[int]:
    """Processes with this in their command line, whose arguments end in NUL; the guards are left out."""
    return [pid for pid, command in _commands() if part_of_command in command and "guard.py" not in command]


def _sleeping(tag: str) -> list[int]:
    return _running(f"sleep\0{tag}\0")


def _commands() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_text(errors="replace")


def _running_with_home(home: str) -> list[int]:
    found = []
    for pid, _ in _commands():
        with contextlib.suppress(OSError):
            if f"AIRFLOW_HOME={home}\0" in Path(f"/proc/{pid}/environ").read_text(errors="replace"):
                found.append(pid)
    return found


def _wait_until(holds: object) -> None:
    assert callable(holds)
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def _starter(script: str, home: Path, tag: str = "") -> Iterator[subprocess.Popen[str]]:
    """A Python process that starts sandbox processes; it is killed at the end. ``home`` belongs to the test."""
    prelude = """
        import sys, time
        from pathlib import Path
        from sandbox.environment import Process, clean_environment, short_directory, unwind_on_signals
        home, tag = Path(sys.argv[1]), sys.argv[2]
        def say(what):
            print(what, flush=True)
        """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    command = [sys.executable, "-c", code, str(home), tag]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().rstrip("\n")
    assert line, "the process ended without a word"
    return line


def _said_path(process: subprocess.Popen[str]) -> Path:
    """A path to look at; a test removes nothing by a name that it has read."""
    path = Path(_said(process))
    assert path.is_absolute()
    return path

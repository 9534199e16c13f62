"""A real Airflow: scheduler with LocalExecutor, DAG processor and API server, each a process of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sandbox.environment import Process, clean_environment, free_port
from sandbox.guard import descendants

TaskStates = dict[str, str]

_MIGRATE_SECONDS = 120.0
_START_SECONDS = 90.0
_PARSE_SECONDS = 90.0
_REQUEST_SECONDS = 30.0
_TASK_END_SECONDS = 20.0
_POLL_SECONDS = 0.5
_FINAL_STATES = {"success", "failed"}


class AirflowError(RuntimeError):
    """The sandbox's Airflow can't do what was asked; the message says why, import errors of DAGs included."""


class Airflow:
    """
    Airflow on a free port of 127.0.0.1, with its own home and an SQLite metadata database.

    :param triggerer: also run one, for deferrable operators.
    :param environment: connections and further settings, such as ``AIRFLOW_CONN_…`` and ``AIRFLOW__SECRETS__BACKEND``;
        over what is set here. Nothing else of the caller's environment that concerns Airflow gets in.
    """

    def __init__(
        self, directory: Path, dags_folder: Path, environment: Mapping[str, str], *, triggerer: bool = False
    ) -> None:
        self._triggerer = triggerer
        directory = directory.resolve()
        self.home = directory / "airflow"
        self.logs_directory = self.home / "logs"
        self.process_logs_directory = directory / "processes"  # what the components print
        self.url = ""
        self.environment: dict[str, str] = {}
        self._directory = directory
        self._dags_folder = dags_folder.resolve()
        self._extra = dict(environment)
        self._processes: list[Process] = []
        self._token = ""
        self._owned = contextlib.ExitStack()
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def __enter__(self) -> Self:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.environment = {
            **clean_environment(self._directory / "home"),
            **_settings(self.home, self._dags_folder, port),
            **self._extra,
        }
        migration = self._component("db", "migrate")
        with contextlib.ExitStack() as owned:
            owned.enter_context(migration)
            migration.wait(_MIGRATE_SECONDS)
            components = {
                "api-server": ("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                "scheduler": ("--skip-serve-logs",),
                "dag-processor": (),
            } | ({"triggerer": ("--skip-serve-logs",)} if self._triggerer else {})
            self._processes = [self._component(name, *arguments) for name, arguments in components.items()]
            for process in self._processes:
                owned.enter_context(process)
            owned.callback(self._ask_all_to_stop)
            self._processes[0].wait_until_ready(self._is_ready, _START_SECONDS)
            self._owned = owned.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._owned.close()

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, logical_date: datetime | None = None
    ) -> str:
        """Unpause the DAG, once it is parsed, and start a run; the run's id is returned."""
        self._wait_until_parsed(dag_id)
        dag = f"/dags/{_quote(dag_id)}"
        self.request("PATCH", f"{dag}?update_mask=is_paused", {"is_paused": False})
        when = (logical_date or datetime.now(UTC)).isoformat()
        run = self.request("POST", f"{dag}/dagRuns", {"logical_date": when, "conf": dict(conf or {})})
        return str(run["dag_run_id"])

    def wait(
        self,
        dag_id: str,
        run_id: str,
        timeout_seconds: float = 300.0,
        on_progress: Callable[[TaskStates], None] | None = None,
    ) -> str:
        """
        Wait for the end of the run and return its state, "success" or "failed".

        The processes of its tasks have ended then, and with them their listeners.

        :param on_progress: is given the state of every task, whenever one has changed.
        """
        deadline = time.monotonic() + timeout_seconds
        seen: TaskStates = {}
        while True:
            state = str(self.request("GET", _run_path(dag_id, run_id))["state"])
            states = self.task_states(dag_id, run_id)
            if states != seen and on_progress is not None:
                on_progress(states)
            seen = states
            if state in _FINAL_STATES:
                self._wait_for_task_processes()
                return state
            self.check()
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"run {run_id!r} of {dag_id!r} is {state} after {timeout_seconds:g} s: {states}"
                )
            time.sleep(_POLL_SECONDS)

    def task_states(self, dag_id: str, run_id: str) -> TaskStates:
        """The state of each task of the run, "none" before it is scheduled; a mapped task is ``task[index]``."""
        found = self.request("GET", f"{_run_path(dag_id, run_id)}/taskInstances?limit=1000&order_by=id")
        return {_task_name(task): str(task["state"] or "none").lower() for task in found["task_instances"]}

    def xcoms(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """All that the (unmapped) task has pushed, by key, as it is stored in the metadata database."""
        entries = f"{_run_path(dag_id, run_id)}/taskInstances/{_quote(task_id)}/xcomEntries"
        keys = [entry["key"] for entry in self.request("GET", f"{entries}?limit=1000")["xcom_entries"]]
        return {key: self.request("GET", f"{entries}/{_quote(key)}?stringify=false")["value"] for key in keys}

    def task_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """The log files of all tries of a task, as they lie below ``logs_directory``."""
        folder = self.logs_directory / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        return "".join(
            path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.rglob("*.log"))
        )

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the REST API: ``path`` is what follows ``/api/v2``."""
        try:
            return self._send(method, f"/api/v2{path}", body)
        except urllib.error.HTTPError as error:
            with error:
                detail = error.read().decode("utf-8", "replace")
            raise AirflowError(f"{method} {path}: status {error.code}: {detail}") from error
        except OSError as error:
            self.check()
            raise AirflowError(f"{method} {path}: {error}") from error

    def check(self) -> None:
        """Raise :class:`sandbox.environment.ProcessError` unless all its processes are running."""
        for process in self._processes:
            process.check()

    def _component(self, *command: str) -> Process:
        return Process(
            f"airflow {command[0]}",
            [sys.executable, "-m", "airflow", *command],
            log=self.process_logs_directory / f"{command[0]}.log",
            environment=self.environment,
            directory=self._directory,
            grace_seconds=4.0,
        )

    def _ask_all_to_stop(self) -> None:
        for process in self._processes:
            process.ask_to_stop()

    def _wait_for_task_processes(self) -> None:
        """Tasks tell their listeners and give back their leases after their success is known."""
        deadline = time.monotonic() + _TASK_END_SECONDS
        scheduler = self._processes[1].pid
        # guard → scheduler → LocalExecutor's workers → task processes
        while scheduler and descendants(scheduler)[2:] and time.monotonic() < deadline:
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        self.check()
        try:
            if not self._token:
                self._token = self._send("GET", "/auth/token", None)["access_token"]
            health = self._send("GET", "/api/v2/monitor/health", None)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False
        return all(
            health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor")
        )

    def _wait_until_parsed(self, dag_id: str) -> None:
        deadline = time.monotonic() + _PARSE_SECONDS
        while True:
            try:
                self.request("GET", f"/dags/{_quote(dag_id)}")
                return
            except AirflowError as error:
                if getattr(error.__cause__, "code", None) != 404:
                    raise
            self.check()
            broken = self.request("GET", "/importErrors?limit=100")["import_errors"]
            if broken:
                told = "\n".join(f"{each['filename']}:\n{each['stack_trace']}" for each in broken)
                raise AirflowError(f"DAG {dag_id!r} is not there, and some files can't be imported:\n{told}")
            if time.monotonic() > deadline:
                processor = self._processes[-1].log_tail()
                raise AirflowError(
                    f"no DAG {dag_id!r} in {self._dags_folder} after {_PARSE_SECONDS:g} s; {processor}"
                )
            time.sleep(_POLL_SECONDS)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with self._open(request, timeout=_REQUEST_SECONDS) as response:
            content = response.read()
        return json.loads(content) if content else None


def _settings(home: Path, dags_folder: Path, port: int) -> dict[str, str]:
    """Everything on loopback, DAGs seen within a second or two, and no thing that is not needed."""
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags_folder,
            "executor": "LocalExecutor",
            "execution_api_server_url": f"http://127.0.0.1:{port}/execution/",
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "load_examples": False,
            "parallelism": 4,
            "simple_auth_manager_all_admins": True,
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{urllib.parse.quote(str(home / 'airflow.db'))}"},
        "api": {"host": "127.0.0.1", "port": port, "workers": 1, "secret_key": secrets.token_urlsafe(32)},
        "api_auth": {"jwt_secret": secrets.token_urlsafe(48), "jwt_expiration_time": 86400},
        "scheduler": {"scheduler_idle_sleep_time": 0.5, "enable_health_check": False},
        "dag_processor": {
            "refresh_interval": 2,
            "bundle_refresh_check_interval": 1,
            "min_file_process_interval": 2,
            "parsing_processes": 1,
        },
        "usage_data_collection": {"enabled": False},
    }
    settings = {"AIRFLOW_HOME": str(home), "SCARF_ANALYTICS": "false", "DO_NOT_TRACK": "1"}
    for section, options in sections.items():
        for option, value in options.items():
            settings[f"AIRFLOW__{section.upper()}__{option.upper()}"] = str(value)
    return settings


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{_quote(dag_id)}/dagRuns/{_quote(run_id)}"


def _task_name(task: Mapping[str, Any]) -> str:
    return task["task_id"] if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"


def _quote(part: str) -> str:
    return urllib.parse.quote(part, safe="")

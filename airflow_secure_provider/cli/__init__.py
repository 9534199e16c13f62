"""The command line: ``airflow-secure …``, and the same as ``airflow secure …``.

Starts without Airflow and without any SDK; each command imports what it needs when it runs.
"""

from __future__ import annotations

from typing import Any

from .main import main

__all__ = ["get_commands", "main"]


def get_commands() -> list[Any]:
    """What ``airflow secure`` adds to Airflow's own command line."""
    import argparse

    from airflow.cli.cli_config import ActionCommand, Arg

    def run(arguments: Any) -> None:
        main(arguments.arguments)

    rest = Arg(("arguments",), help="see: airflow-secure --help", nargs=argparse.REMAINDER)  # type: ignore[no-untyped-call]
    return [
        ActionCommand(
            name="secure",
            help="Keys, protected files, leases, and a check of the configuration",
            func=run,
            args=(rest,),
        )
    ]

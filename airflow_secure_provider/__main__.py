"""``python -m airflow_secure_provider`` is ``airflow-secure``."""

from .cli import main

main()

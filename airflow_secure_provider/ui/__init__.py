"""The page "Data protection" in Airflow's UI."""

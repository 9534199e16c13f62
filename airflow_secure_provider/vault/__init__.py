"""One Vault client for the secrets backend and the Transit keyring: sessions, leases, renewal, failures.

Speaks to HashiCorp Vault and to OpenBao. Nothing here knows Airflow, and hvac is imported only where a client is made.
"""

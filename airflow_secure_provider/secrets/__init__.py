"""Connections and variables from Vault, with credentials that live as long as the task."""

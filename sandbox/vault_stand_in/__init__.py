"""A stand-in for Vault: not Vault. See :mod:`sandbox.vault_stand_in.__main__`."""

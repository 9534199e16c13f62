"""What looks and reports without moving data: the sweep of leases, the check of the configuration."""

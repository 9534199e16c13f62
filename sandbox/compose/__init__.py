"""The servers of ``docker-compose.yaml``: what is generated for them, and what is made on them."""

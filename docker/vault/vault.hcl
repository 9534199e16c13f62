# One server. Its memory may be swapped: locking it takes a capability, and it has none.
listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/run/secrets/vault.pem"
  tls_key_file  = "/run/secrets/vault.key"
}

storage "raft" {
  path    = "/vault/file"
  node_id = "one"
}

api_addr      = "https://vault:8200"
cluster_addr  = "https://vault:8201"
disable_mlock = true
ui            = false

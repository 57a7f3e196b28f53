"""Identity and key material: SPIFFE names, certificates, credentials and ticket keys. Knows no configuration."""

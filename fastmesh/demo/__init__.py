"""The shop of the article, run on one machine: real services, a real gateway, rules in YAML, traffic and a table."""

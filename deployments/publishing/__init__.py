"""How prefect.yaml and the strategies of openbell.toml become deployments on a Prefect server."""

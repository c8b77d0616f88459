"""The only place that knows DuckDB and SQL."""

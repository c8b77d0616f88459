"""What would exist without Prefect and without DuckDB: values, rules, accounting, ports and their adapters."""

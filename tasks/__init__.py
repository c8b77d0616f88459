"""Prefect tasks: a retry policy, a timeout, a name, and one call into trading or storage."""

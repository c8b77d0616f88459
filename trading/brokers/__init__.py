"""Brokers behind the broker port."""

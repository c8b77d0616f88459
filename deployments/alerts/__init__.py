"""Alerts as code: Prefect automations, the words that they send, and the notification blocks that they send them through."""

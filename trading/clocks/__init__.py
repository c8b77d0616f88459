"""The session's time."""

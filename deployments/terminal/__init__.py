"""The command ``openbell``: one file per command, what they share beside them.

The rule: with ``--json`` exactly one JSON object goes to stdout; whatever else there is to say goes to stderr.
"""

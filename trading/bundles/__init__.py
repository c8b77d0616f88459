"""Trained policies as folders: what stands in them, and how they are written and read."""

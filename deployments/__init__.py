"""How flows reach a worker and a person."""

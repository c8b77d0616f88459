"""How policies are trained and judged: labels, splits, an environment, statistics. No session needs any of it."""

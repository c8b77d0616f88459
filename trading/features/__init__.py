"""What policies look at: one definition of each feature for whole histories and for single bars."""

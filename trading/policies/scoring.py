"""A model as a session sees it: rows of features in, rows of scores out. It knows no bars, no actions and no time."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
States = NDArray[np.float32]


class Scorer(Protocol):
    """A loaded model. Scores of one row do not depend on the rows beside it, up to the last bits of a float."""

    @property
    def inputs(self) -> int:
        """Features that a row must have."""
        ...

    @property
    def outputs(self) -> int:
        """Columns of the scores."""
        ...

    @property
    def state_size(self) -> int:
        """Numbers of state that are carried from one bar of a symbol to its next; 0 where it has none."""
        ...

    @property
    def are_probabilities(self) -> bool:
        """Whether the scores of a row are probabilities of its actions, so that the highest is a confidence."""
        ...

    def score(self, rows: Rows, states: States | None = None) -> tuple[Rows, States | None]:
        """Scores (N x outputs) of N rows, each of which is another symbol, and their new states (N x state_size).

        ``states``: None, or zeros, at the beginning. Without a state it ignores ``states`` and returns None.
        """
        ...

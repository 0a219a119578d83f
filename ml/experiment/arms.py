"""Which arm each row had, what came of it, and whose it was."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Rows
from ml.bootstrap import visitor_codes


@dataclass(frozen=True)
class Arms:
    """Rows of the two arms of an experiment.

    Parameters
    ----------
    treatment : ndarray of shape (n_rows,)
        1 for a treated row, 0 for a control row.
    outcome : ndarray of shape (n_rows,)
        1 where the row converted, else 0.
    visitor : ndarray of shape (n_rows,)
        Number of each row's visitor, the unit that was randomised.
    """

    treatment: Labels
    outcome: Labels
    visitor: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.treatment)

    def take(self, rows: Rows) -> "Arms":
        """Return the rows at some positions."""
        return Arms(self.treatment[rows], self.outcome[rows], self.visitor[rows])

    def of(self, arm: int) -> "Arms":
        """Return the rows of one arm: 1 treated, 0 control."""
        return self.take(np.flatnonzero(self.treatment == arm))

    @property
    def counts(self) -> tuple[int, int, int]:
        """All rows, treated rows and control rows."""
        return len(self), int(np.sum(self.treatment == 1)), int(np.sum(self.treatment == 0))

    @property
    def conversions(self) -> tuple[int, int]:
        """Conversions of the treated and of the control rows."""
        return int(np.sum(self.outcome[self.treatment == 1])), int(np.sum(self.outcome[self.treatment == 0]))

    @property
    def treated_share(self) -> float:
        """Share of the rows that are treated."""
        return float(self.treatment.mean())

    @property
    def difference_in_means(self) -> float:
        """Treated minus control conversion rate; NaN where an arm is missing."""
        treated, control = self.outcome[self.treatment == 1], self.outcome[self.treatment == 0]
        return float(treated.mean() - control.mean()) if len(treated) and len(control) else np.nan

    @property
    def cells(self) -> Floats:
        """Treated rows that converted and did not, then control rows that converted and did not."""
        return np.bincount(2 * (self.treatment == 0) + (self.outcome == 0), minlength=4).astype(np.float64)

    @property
    def visitor_codes(self) -> Rows:
        """Visitor of each row, numbered from 0 on: ndarray of shape (n_rows,)."""
        return self._visitors[0]

    @property
    def n_visitors(self) -> int:
        """How many visitors there are."""
        return self._visitors[1]

    @cached_property
    def _visitors(self) -> tuple[Rows, int]:
        return visitor_codes(self.visitor)

"""What everybody does with the rows of two arms."""

import numpy as np
import pytest

from ml.experiment.arms import Arms

ARMS = Arms(
    treatment=np.array([1, 0, 1, 0, 0], np.int8),
    outcome=np.array([1, 1, 0, 0, 0], np.int8),
    visitor=np.array([7, 3, 7, 9, 3], np.int32),
)


def test_counts_rates_and_cells_by_hand() -> None:
    assert len(ARMS) == 5
    assert ARMS.counts == (5, 2, 3)
    assert ARMS.conversions == (1, 1)
    assert ARMS.treated_share == 0.4
    assert ARMS.difference_in_means == pytest.approx(1 / 2 - 1 / 3)
    assert ARMS.cells.tolist() == [1, 1, 1, 2]


def test_visitors_are_numbered_from_0_on_in_each_selection() -> None:
    assert ARMS.visitor_codes.tolist() == [1, 0, 1, 2, 0]
    assert ARMS.n_visitors == 3
    control = ARMS.of(0)
    assert control.visitor_codes.tolist() == [0, 1, 0]
    assert control.n_visitors == 2
    assert control.outcome.tolist() == [1, 0, 0]


def test_without_an_arm_there_is_no_difference() -> None:
    assert np.isnan(ARMS.of(1).difference_in_means)
    assert ARMS.of(1).counts == (2, 2, 0)

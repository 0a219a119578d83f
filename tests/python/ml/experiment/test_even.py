"""One chance for all: who stays, and that nothing of the policy can be read from the arms of those who stay."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ml.experiment.even import LEFT_OUT, evened
from ml.experiment.experiment import Assigned

CHANCES = (0.1, 0.5, 0.9)
ROWS = 30_000


def drawn(seed: int = 1) -> tuple[Assigned, Any]:
    """Rows with three chances; every tenth takes no part."""
    rng = np.random.default_rng(seed)
    chance = rng.choice(CHANCES, ROWS)
    treatment = np.where(rng.random(ROWS) < 0.1, -1, rng.random(ROWS) < chance).astype(np.int8)
    outcome = np.where(treatment < 0, -1, 0).astype(np.int8)
    here = SimpleNamespace(identity=pa.table({"visitor_id": [f"v{row}" for row in range(ROWS)]}))
    return Assigned(treatment, outcome, None, "", {}, (chance * 10).astype(np.int32), chance), here


@pytest.mark.parametrize("chance", CHANCES)
def test_of_those_who_stay_half_were_treated_whatever_their_chance(chance: float) -> None:
    assigned, here = drawn()
    found = evened(assigned, here, "lot")
    assert assigned.propensity is not None
    group = assigned.propensity == chance
    stay = found.treatment[group]
    stay = stay[stay >= 0]
    assert stay.mean() == pytest.approx(0.5, abs=4 * 0.5 / len(stay) ** 0.5)
    # Of a policy that leaves a fifth to chance, a fifth stays.
    assert len(stay) / np.sum(assigned.treatment[group] >= 0) == pytest.approx(2 * min(chance, 1 - chance), abs=0.02)


def test_the_lot_is_the_same_again_and_tells_what_it_left_out() -> None:
    assigned, here = drawn()
    found = evened(assigned, here, "lot")
    assert np.array_equal(found.treatment, evened(assigned, here, "lot").treatment)
    assert not np.array_equal(found.treatment, evened(assigned, here, "another").treatment)
    gone = (assigned.treatment >= 0) & (found.treatment < 0)
    assert found.left_out == {LEFT_OUT: int(gone.sum())}
    assert (found.outcome[gone] == -1).all()
    assert np.array_equal(found.treatment[~gone], assigned.treatment[~gone])
    assert (found.stratum, found.propensity) == (None, None)

"""Policies of several offers, valued on drawn rows, as a training of money publishes them."""

from datetime import UTC, datetime

import numpy as np

from contracts import PUBLISHED
from ml.bootstrap import Bootstrap
from ml.policy.offer_tables import PolicyOffer, PolicyRow, policy_rows
from ml.policy.offers import BEST, NOBODY, Policy, Valued, best_for_each, single_policies, value_offers
from ml.publish.tables import publication
from ml.run import Stamp
from ml.uplift.offers import Costs, Responses
from warehouse.base import Publication

ROWS = 600
BASKET = 0.3
BOOTSTRAP = Bootstrap(200, 0.95, 1)


def costs(offers: int, contact: float = 0.0, fixed: float = 0.0, basket: float = 0.0) -> Costs:
    none = (0.0,) * offers
    return Costs((contact,) * offers, none, (basket,) * offers, (fixed,) * offers, 1.0)


def rows(seed: int, offers: int = 2) -> Valued:
    """Rows whose predictions are the truth."""
    rng = np.random.default_rng(seed)
    spends = rng.gamma(2, 5, (ROWS, offers + 1))
    paid = BASKET * spends[:, 1:]
    buys = np.minimum(spends / 50, 1)
    scores = Responses(buys, spends)
    return Valued(
        gains=spends[:, 1:] - spends[:, :1] - paid, costs=paid, scores=scores, capped=scores,
        ties=rng.random(ROWS), visitor=(np.arange(ROWS) // 2).astype(np.int32), rows=float(ROWS),
    )  # fmt: skip


def publications() -> list[Publication]:
    """Nobody, each of two offers for all, the best for each (which breaks its budget), and the same by lot."""
    valued, paid = rows(1), costs(2, basket=BASKET)
    best = best_for_each(valued, (1, 2), paid, None)
    singles = [(f"{'AB'[each.offers[0] - 1]} for all", each) for each in single_policies(valued, (1, 2), paid, 500.0)]
    policies = [(NOBODY, Policy(NOBODY)), *singles, (BEST, best)]
    totals = value_offers(valued, policies, best, paid, names=["A", "B"], bootstrap=BOOTSTRAP, budget=500.0)
    values, given = policy_rows(totals, float(ROWS))
    stamp = Stamp("drawn", "drawn", datetime(2026, 1, 1, tzinfo=UTC), is_synthetic=True, is_simulated=True)
    return [
        publication(PUBLISHED["policy_values"], PolicyRow, values, stamp),
        publication(PUBLISHED["policy_offers"], PolicyOffer, given, stamp),
    ]

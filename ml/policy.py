"""Whom to target, what it earns and with what certainty: policy value, ROI, break-even, sensitivity."""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ml.config import FunneliftError, PolicySettings
from ml.evaluate import visitor_weights

Floats = npt.NDArray[np.float64]
STRATEGIES = ("uplift", "response", "random")
RIVALS = ("response", "random", "random at the same share", "treat all", "treat none")
QUADRANTS = ("persuadable", "sure thing", "lost cause", "sleeping dog")
SHARES = np.arange(101) / 100
BINS = 100
WEIGHTS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Scored:
    """Rows of one slice of an experiment, as a policy sees them.

    `treatment` and `outcome` are 0 or 1; `p_control` and `p_treatment` the predicted probabilities of a conversion;
    `percentiles` maps the strategies uplift and response to each row's rank, 0 to 1: the share of calibration rows
    with a lower score, ties broken at random; targeting the top share s means percentile >= 1 - s. `value` is the
    revenue of a conversion; `visitor` numbers the visitors.
    """

    treatment: npt.NDArray[np.int8]
    outcome: npt.NDArray[np.int8]
    p_control: Floats
    p_treatment: Floats
    percentiles: dict[str, Floats]
    value: Floats
    visitor: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Projection:
    """What a strategy earns when it targets a share of the eligible sessions, for `eligible_sessions` of them.

    Measured on the `n_rows` test rows and scaled. `incremental_conversions` is treated minus control among the
    targeted; `redemptions` the conversions of the targeted under treatment; both with standard errors and covariance,
    so that profit under other costs and revenues has an interval too. Doubly robust, unless named ipw. Profit is
    `incremental_margin - cost`, ROI that over cost: null where the cost is not above zero. The ipw figures are null
    where an arm has no row among the targeted. For `random` the counts of targeted rows are expected ones.
    """

    strategy: str
    share_percent: int
    is_chosen: bool
    n_rows: int
    n_targeted: int
    n_targeted_treatment: int
    n_targeted_control: int
    eligible_sessions: float
    targeted_sessions: float
    incremental_conversions: float
    incremental_conversions_ci_lower: float
    incremental_conversions_ci_upper: float
    incremental_conversions_se: float
    redemptions: float
    redemptions_se: float
    conversions_covariance: float
    incremental_revenue: float
    incremental_margin: float
    cost: float
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float
    profit_ipw: float | None
    profit_ipw_ci_lower: float | None
    profit_ipw_ci_upper: float | None
    roi: float | None
    roi_ci_lower: float | None
    roi_ci_upper: float | None
    is_simulated: bool


@dataclass(frozen=True)
class Sensitivity:
    """Profit of the uplift strategy under another cost and revenue, its share chosen anew on the calibration slice.

    Where conversions have values of their own, they move in proportion to `revenue_per_conversion`.
    """

    cost: float
    revenue_per_conversion: float
    share_percent: int
    profit: float
    profit_ci_lower: float
    profit_ci_upper: float


@dataclass(frozen=True)
class Gain:
    """How much more profit a strategy makes than a rival, paired on the same resamples.

    The rivals are `RIVALS`: response and random are each at the share chosen for them, `random at the same share` is at
    the strategy's own, treat all and treat none ignore any budget.
    """

    strategy: str
    versus: str
    difference: float
    ci_lower: float
    ci_upper: float


@dataclass(frozen=True)
class PolicyValue:
    """All that the test slice says about money.

    `chosen` holds each strategy's share in percent, as chosen on the calibration slice (0: treat nobody);
    `break_even_share` the largest share in percent at which the uplift strategy's profit is not negative (0: none);
    `break_even_cost` the cost at which the chosen uplift strategy earns nothing, null where there is no such cost.
    """

    projections: list[Projection]
    chosen: dict[str, int]
    break_even_share: int
    break_even_cost: float | None
    sensitivity: list[Sensitivity]
    gains: list[Gain]


@dataclass(frozen=True)
class Estimate:
    """What targeting the top 0 to 100 percent of a slice yields.

    Every array has one row a resample and one column a share, from 0 to 100 percent: the sessions targeted, what
    treating them changes in conversions and in revenue, and the conversions they have when treated. NaN where an arm
    that the estimator needs has no row.
    """

    targeted: Floats
    incremental_conversions: Floats
    redemptions: Floats
    incremental_revenue: Floats

    @property
    def at_random(self) -> "Estimate":
        """The same shares of treating all: what a random choice yields on average, without drawing one."""
        return Estimate(*(getattr(self, field.name)[:, -1:] * SHARES for field in fields(self)))

    def charged(self, settings: PolicySettings) -> Floats:
        """Return how often the cost is paid: for redemptions, or for sessions targeted."""
        return self.redemptions if settings.cost_per == "redemption" else self.targeted

    def profit(self, settings: PolicySettings, cost: float, multiple: float = 1.0) -> Floats:
        """Return the profit at a cost and a multiple of all revenue."""
        return settings.margin * multiple * self.incremental_revenue - cost * self.charged(settings)


def percentile_ranks(calibration_score: Floats, score: Floats, tie_breaker: Floats) -> Floats:
    """Rank scores against those of the calibration rows: the share of calibration rows that score lower.

    Parameters
    ----------
    calibration_score : array of float
        Scores of the calibration rows, at least one.
    score : array of float
        Scores to rank.
    tie_breaker : array of float
        One random number a score, in [0, 1): where it falls among calibration rows of the same score.

    Returns
    -------
    array of float
        Ranks in [0, 1); the rows `percentile >= 1 - share` are the top share.
    """
    ranked = np.sort(calibration_score)
    lower = np.searchsorted(ranked, score, side="left")
    not_higher = np.searchsorted(ranked, score, side="right")
    return np.minimum((lower + tie_breaker * (not_higher - lower)) / len(ranked), np.nextafter(1.0, 0.0))


def smallest_share(percentile: Floats) -> npt.NDArray[np.int64]:
    """Return the smallest share at which each row is targeted: percentile >= (100 - percent) / 100.

    Parameters
    ----------
    percentile : array of float
        Percentile ranks, 0 to 1.

    Returns
    -------
    array of int
        Shares in percent, 1 to 100.
    """
    # A quotient, because 1 - 0.7 is a bit more than 0.3, and a rank of 0.3 belongs to the top 70 percent.
    lowest_percentile = np.arange(101) / 100
    return np.clip(len(SHARES) - np.searchsorted(lowest_percentile, percentile, side="right"), 1, BINS)


def deciles(percentile: Floats) -> npt.NDArray[np.int8]:
    """Return the decile of each percentile rank; decile 1 is the top 10 percent.

    Parameters
    ----------
    percentile : array of float
        Percentile ranks, 0 to 1.

    Returns
    -------
    array of int
        1, the highest, to 10.
    """
    return ((smallest_share(percentile) + 9) // 10).astype(np.int8)


def quadrants(
    p_control: Floats, p_treatment: Floats, value: Floats, usual_rate: float, settings: PolicySettings
) -> npt.NDArray[np.int8]:
    """Say what treating each session would do, by its predicted probabilities.

    A persuadable is expected to earn more than treating it costs. A sleeping dog is not, and converts less when
    treated. Of the rest, a sure thing converts untreated at the usual rate or more, a lost cause does not.

    Parameters
    ----------
    p_control, p_treatment : array of float
        Predicted probability of a conversion without and with treatment.
    value : array of float
        Revenue of a conversion.
    usual_rate : float
        Conversion rate of the control arm in training.
    settings : PolicySettings
        Cost, what it is paid for, and margin.

    Returns
    -------
    array of int
        Positions in `QUADRANTS`.
    """
    charged = p_treatment if settings.cost_per == "redemption" else 1.0
    uplift = p_treatment - p_control
    earns = settings.margin * value * uplift - settings.cost * charged > 0
    found = np.select([earns, uplift < 0, p_control >= usual_rate], [0, 3, 1], default=2)
    return found.astype(np.int8)


class ShareSums:
    """Sums over the rows that each share of each ranking targets, fast under any weights of the visitors.

    Rows are binned by the smallest share that targets them; all that the estimators need is then a sum by visitor,
    arm and bin, which a resample weights: one sparse product, no pass over the rows.

    Parameters
    ----------
    scored : Scored
        Rows of one slice, both arms among them.
    sessions : float
        Sessions that the estimates are stated for; 1 states them per session of the slice.

    Raises
    ------
    FunneliftError
        When the slice lacks an arm.
    """

    def __init__(self, scored: Scored, sessions: float = 1.0) -> None:
        rows, treated = len(scored.treatment), int((scored.treatment == 1).sum())
        if not 0 < treated < rows:
            raise FunneliftError(
                f"policy: a slice has {treated} treated and {rows - treated} control rows and needs both arms; "
                "give it a larger share of the time span (experiment.split)"
            )
        known, visitor = np.unique(scored.visitor, return_inverse=True)
        self.visitors, self.sessions = len(known), sessions
        columns = [np.ones(len(visitor)), scored.p_treatment, scored.p_control, scored.outcome.astype(np.float64)]
        columns += [column * scored.value for column in columns[1:]]
        self.shape = (len(scored.percentiles), len(columns), 2, BINS)
        self.rows, blocks = {}, []
        for ranking, percentile in scored.percentiles.items():
            cell = scored.treatment.astype(np.int64) * BINS + smallest_share(percentile) - 1
            self.rows[ranking] = _up_to_share(np.bincount(cell, minlength=2 * BINS).reshape(2, BINS), axis=-1)
            for column in columns:
                some = np.flatnonzero(column)
                at = (cell[some], visitor[some])
                blocks.append(sparse.csr_matrix((column[some], at), shape=(2 * BINS, self.visitors)))
        # By column, so that a product reads each visitor's weights once.
        self.matrix: Any = sparse.vstack(blocks).tocsc()

    def observed(self) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Return what `estimates` finds in the slice as it is: arrays of one row."""
        return self.estimates(np.ones((1, self.visitors), np.uint8))

    def resampled(self, resamples: int, seed: int) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Return what `estimates` finds in a Poisson bootstrap of the visitors, in bounded memory.

        Parameters
        ----------
        resamples : int
            Number of resamples.
        seed : int
            Seed of the resamples.

        Returns
        -------
        (dict, dict)
            Doubly robust and inverse-propensity estimates, one row a resample that holds both arms.
        """
        at_once = max(1, WEIGHTS_AT_ONCE // self.visitors)
        sizes = [min(at_once, resamples - start) for start in range(0, resamples, at_once)]
        seeds = np.random.SeedSequence(seed).generate_state(len(sizes))
        parts = [
            self.estimates(visitor_weights(self.visitors, size, int(own)))
            for size, own in zip(sizes, seeds, strict=True)
        ]
        robust, weighted = ([part[which] for part in parts] for which in (0, 1))
        return _joined(robust), _joined(weighted)

    def estimates(self, weights: npt.NDArray[np.uint8]) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Return each ranking's doubly robust and inverse-propensity estimates under weights of the visitors.

        Doubly robust (AIPW): the sum over the targeted of mu1 - mu0 + T/e (Y - mu1) - (1-T)/(1-e) (Y - mu0), with the
        predicted probabilities as mu and the treated share of the slice as e. Inverse propensity (Hajek): the
        difference between the arms' means among the targeted, times the targeted. Both re-estimate every share and
        every mean under the weights.

        Parameters
        ----------
        weights : array of int
            One row a resample and one column a visitor, in the order of the visitors' numbers. Resamples without a
            row in one of the arms are left out.

        Returns
        -------
        (dict, dict)
            Each ranking's estimate, `random` among them.

        References
        ----------
        Robins, Rotnitzky & Zhao (1994), JASA 89(427); Dudik, Langford & Li (2011), ICML; Hajek (1971).
        """
        sums = _up_to_share((self.matrix @ weights.T.astype(np.float64)).reshape(*self.shape, -1), axis=-2)
        # Treating all is the same whatever the ranking, to the last bit: else rounding would pass for a difference.
        sums[..., -1, :] = sums[:1, ..., -1, :]
        sums = np.moveaxis(sums[..., (sums[0, 0, :, -1] > 0).all(axis=0)], -1, 0)
        robust, weighted = {}, {}
        for ranking, own in zip(self.rows, np.moveaxis(sums, 1, 0), strict=True):
            robust[ranking], weighted[ranking] = self._of_ranking(own)
        robust["random"], weighted["random"] = robust["uplift"].at_random, weighted["uplift"].at_random
        return robust, weighted

    def _of_ranking(self, sums: Floats) -> tuple[Estimate, Estimate]:
        rows, conversions, revenues = sums[:, 0], sums[:, 1:4], sums[:, 4:]
        targeted, all_rows = rows.sum(axis=1), rows.sum(axis=1)[:, -1:]
        found = []
        for estimator in (_doubly_robust, _inverse_propensity):
            treated, control = estimator(rows, conversions)
            treated_revenue, control_revenue = estimator(rows, revenues)
            totals = (targeted, treated - control, treated, treated_revenue - control_revenue)
            found.append(Estimate(*(total / all_rows * self.sessions for total in totals)))
        return found[0], found[1]


def value_policies(
    calibration: Scored,
    test: Scored,
    settings: PolicySettings,
    eligible_sessions: float,
    confidence: float,
    seed: int,
    is_simulated: bool,
) -> PolicyValue:
    """Choose each strategy's share on the calibration slice and say what it earns by the test slice.

    The share is the one of the highest doubly robust profit within the budget, among multiples of `share_step`; the
    smallest where several are equal.

    Parameters
    ----------
    calibration, test : Scored
        Rows of the two slices, ranked against the calibration rows' scores.
    settings : PolicySettings
        Cost, revenue, margin, budget, resamples and the multiples of the sensitivity grid.
    eligible_sessions : float
        Sessions that all figures and the budget are stated for.
    confidence : float
        Confidence of the intervals: percentiles of a Poisson bootstrap of the visitors, in which the targeted rows
        stay fixed. A resample in which a figure is not defined (ROI without a cost, ipw without an arm) counts as
        outside on both sides, and a bound that would lie there is null.
    seed : int
        Seed of the resamples.
    is_simulated : bool
        Whether the arms and effects are made up.

    Returns
    -------
    PolicyValue
        Projections of every strategy and share, the chosen ones, break-even, sensitivity and gains.

    Raises
    ------
    FunneliftError
        When a slice lacks an arm, or too few visitors are in one for an interval.
    """
    planned, _ = ShareSums(calibration, eligible_sessions).observed()
    chosen = {strategy: _best_share(planned[strategy], settings, settings.cost) for strategy in STRATEGIES}
    sums = ShareSums(test, eligible_sessions)
    robust, weighted = sums.observed()
    robust_resamples, weighted_resamples = sums.resampled(settings.bootstrap_resamples, seed)
    if len(robust_resamples["uplift"].targeted) < 2:
        raise FunneliftError(
            f"policy: {sums.visitors} visitors in the test slice are too few for an interval; "
            "give it a larger share of the time span (experiment.split)"
        )

    projections = []
    for strategy in STRATEGIES:
        figures = _figures(robust[strategy], robust_resamples[strategy], settings, confidence)
        ipw = weighted[strategy].profit(settings, settings.cost)[0]
        ipw_bounds = _bounds(weighted_resamples[strategy].profit(settings, settings.cost), confidence)
        figures |= {"profit_ipw": ipw, "profit_ipw_ci_lower": ipw_bounds[0], "profit_ipw_ci_upper": ipw_bounds[1]}
        stated = {name: [_or_none(value) for value in values.tolist()] for name, values in figures.items()}
        rows = sums.rows.get(strategy, np.rint(sums.rows["uplift"][:, -1:] * SHARES).astype(np.int64))
        for percent in range(1, 101):
            own: dict[str, Any] = {name: values[percent] for name, values in stated.items()}
            projections.append(
                Projection(
                    strategy=strategy,
                    share_percent=percent,
                    is_chosen=percent == chosen[strategy],
                    n_rows=len(test.treatment),
                    n_targeted=int(rows[:, percent].sum()),
                    n_targeted_treatment=int(rows[1, percent]),
                    n_targeted_control=int(rows[0, percent]),
                    eligible_sessions=eligible_sessions,
                    is_simulated=is_simulated,
                    **own,
                )
            )

    uplift, best = robust["uplift"], chosen["uplift"]
    return PolicyValue(
        projections=projections,
        chosen=chosen,
        break_even_share=int(np.flatnonzero(uplift.profit(settings, settings.cost)[0] >= 0)[-1]),
        break_even_cost=_break_even_cost(uplift, settings, best),
        sensitivity=_sensitivity(planned["uplift"], uplift, robust_resamples["uplift"], settings, confidence),
        gains=_gains(robust, robust_resamples, chosen, settings, confidence),
    )


def _up_to_share(bins: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    # From one entry a bin to one a share, 0 to 100 percent: all bins up to it.
    nobody = np.zeros_like(np.take(bins, [0], axis))
    return np.concatenate([nobody, np.cumsum(bins, axis)], axis)


def _doubly_robust(rows: Floats, sums: Floats) -> tuple[Floats, Floats]:
    # Axes: resample, (mu1, mu0, y), arm, share; `rows` has no second one. Totals of the targeted, treated and not.
    mu1, mu0, y = sums[:, 0], sums[:, 1], sums[:, 2]
    treated_share = rows[:, 1, -1:] / rows[..., -1].sum(axis=1, keepdims=True)
    treated = mu1.sum(axis=1) + (y[:, 1] - mu1[:, 1]) / treated_share
    return treated, mu0.sum(axis=1) + (y[:, 0] - mu0[:, 0]) / (1 - treated_share)


def _inverse_propensity(rows: Floats, sums: Floats) -> tuple[Floats, Floats]:
    targeted = rows.sum(axis=1)
    with np.errstate(invalid="ignore"):
        treated, control = (sums[:, 2, arm] / rows[:, arm] * targeted for arm in (1, 0))
    return np.where(targeted == 0, 0, treated), np.where(targeted == 0, 0, control)


def _joined(parts: list[dict[str, Estimate]]) -> dict[str, Estimate]:
    names = [field.name for field in fields(Estimate)]
    return {
        ranking: Estimate(*(np.concatenate([getattr(part[ranking], name) for part in parts]) for name in names))
        for ranking in parts[0]
    }


def _best_share(planned: Estimate, settings: PolicySettings, cost: float, multiple: float = 1.0) -> int:
    profit = planned.profit(settings, cost, multiple)[0]
    if settings.budget is not None:
        # Treating more never costs less, although an estimate of it may.
        spent = np.maximum.accumulate(cost * planned.charged(settings)[0])
        profit = np.where(spent <= settings.budget, profit, -np.inf)
    candidates = np.arange(0, BINS + 1, settings.share_step)
    return int(candidates[np.argmax(profit[candidates])])


def _figures(found: Estimate, resamples: Estimate, settings: PolicySettings, confidence: float) -> dict[str, Floats]:
    cost = settings.cost * found.charged(settings)
    profit = found.profit(settings, settings.cost)
    profits = resamples.profit(settings, settings.cost)
    conversions, redemptions = resamples.incremental_conversions, resamples.redemptions
    centred = conversions - conversions.mean(axis=0), redemptions - redemptions.mean(axis=0)
    figures = {
        "targeted_sessions": found.targeted[0],
        "incremental_conversions": found.incremental_conversions[0],
        "incremental_conversions_se": conversions.std(axis=0, ddof=1),
        "redemptions": found.redemptions[0],
        "redemptions_se": redemptions.std(axis=0, ddof=1),
        "conversions_covariance": (centred[0] * centred[1]).sum(axis=0) / (len(conversions) - 1),
        "incremental_revenue": found.incremental_revenue[0],
        "incremental_margin": settings.margin * found.incremental_revenue[0],
        "cost": cost[0],
        "profit": profit[0],
        "roi": _ratio(profit, cost)[0],
    }
    for name, values in {
        "incremental_conversions": conversions,
        "profit": profits,
        "roi": _ratio(profits, settings.cost * resamples.charged(settings)),
    }.items():
        figures[f"{name}_ci_lower"], figures[f"{name}_ci_upper"] = _bounds(values, confidence)
    return figures


def _break_even_cost(found: Estimate, settings: PolicySettings, percent: int) -> float | None:
    margin, charged = settings.margin * found.incremental_revenue[0, percent], found.charged(settings)[0, percent]
    return float(margin / charged) if charged > 0 and margin >= 0 else None


def _sensitivity(
    planned: Estimate, found: Estimate, resamples: Estimate, settings: PolicySettings, confidence: float
) -> list[Sensitivity]:
    grid = []
    # A cost of 0 has no multiples.
    for cost in dict.fromkeys(settings.cost * multiple for multiple in settings.sensitivity):
        for multiple in dict.fromkeys(settings.sensitivity):
            percent = _best_share(planned, settings, cost, multiple)
            profit = float(found.profit(settings, cost, multiple)[0, percent])
            lower, upper = _bounds(resamples.profit(settings, cost, multiple)[:, percent], confidence)
            revenue = settings.revenue_per_conversion * multiple
            grid.append(Sensitivity(cost, revenue, percent, profit, float(lower), float(upper)))
    return grid


def _gains(
    found: dict[str, Estimate],
    resamples: dict[str, Estimate],
    chosen: dict[str, int],
    settings: PolicySettings,
    confidence: float,
) -> list[Gain]:
    places = [("response", chosen["response"]), ("random", chosen["random"]), ("random", chosen["uplift"])]
    places += [("random", 100), ("random", 0)]
    gains = []
    for versus, (rival, percent) in zip(RIVALS, places, strict=True):
        differences = [
            every["uplift"].profit(settings, settings.cost)[:, chosen["uplift"]]
            - every[rival].profit(settings, settings.cost)[:, percent]
            for every in (found, resamples)
        ]
        lower, upper = _bounds(differences[1], confidence)
        gains.append(Gain("uplift", versus, float(differences[0][0]), float(lower), float(upper)))
    return gains


def _ratio(profit: Floats, cost: Floats) -> Floats:
    ratio = np.full(profit.shape, np.nan)
    np.divide(profit, cost, out=ratio, where=cost > 0)
    return ratio


def _bounds(resamples: Floats, confidence: float) -> tuple[Floats, Floats]:
    # A resample without a figure lies below the lower and above the upper bound.
    undefined, tail = np.isnan(resamples), (1 - confidence) / 2
    with np.errstate(invalid="ignore"):
        lower = np.quantile(np.where(undefined, -np.inf, resamples), tail, axis=0)
        upper = np.quantile(np.where(undefined, np.inf, resamples), 1 - tail, axis=0)
    return lower, upper


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None

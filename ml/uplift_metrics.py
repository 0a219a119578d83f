"""How well a score ranks sessions by what an intervention changes, with intervals that resample visitors.

Everywhere `treatment` is 1 for a treated row and 0 for a control row, and `outcome` is 1 where the row converted.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from ml.config import FunneliftError, UpliftSettings
from ml.conversion import Floats, Labels
from ml.evaluate import RESAMPLES_AT_ONCE, Rows, equal_count_edges, visitor_weights

Weights = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.signedinteger]
RESPONSE, T_LEARNER = "response", "t_learner"


@dataclass(frozen=True)
class UpliftMetric:
    """One metric of one learner on the test slice; `versus` names the learner it is the difference to, if any."""

    learner: str
    versus: str
    metric: str
    value: float
    ci_lower: float
    ci_upper: float
    n_rows: int
    n_treatment: int
    n_control: int
    is_simulated: bool


@dataclass(frozen=True)
class UpliftDecile:
    """One decile of test rows by score (1 is the highest): predicted and observed uplift, and the truth if known."""

    learner: str
    decile: int
    n_treatment: int
    n_control: int
    conversions_treatment: int
    conversions_control: int
    predicted_uplift: float
    observed_uplift: float
    ci_lower: float
    ci_upper: float
    true_uplift: float | None
    is_simulated: bool


def rank_order(score: Floats, seed: int) -> Rows:
    """Return the rows' positions from the highest score to the lowest, ties in random order.

    Parameters
    ----------
    score : array of float, shape (rows,)
        Score of each row, no NaN.
    seed : int
        Seed of the order among ties.

    Returns
    -------
    array of int, shape (rows,)
        Positions within `score`.
    """
    shuffled = np.random.default_rng(seed).permutation(len(score))
    return shuffled[np.argsort(-score[shuffled], kind="stable")]


def qini_curve(score: Floats, treatment: Labels, outcome: Labels) -> tuple[Floats, Floats]:
    """Return the Qini curve: incremental conversions among the treated when the top n rows are targeted.

    Q(n) = Y_T - Y_C N_T / N_C, where N_T and N_C count the treated and the control rows among the n rows of the
    highest scores, and Y_T and Y_C their conversions. Rows of equal score enter together.

    Parameters
    ----------
    score : array of float, shape (rows,)
        Higher means more uplift.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.

    Returns
    -------
    (array of float, array of float)
        Rows targeted, from 0 to all, and Q at each distinct score.

    References
    ----------
    Radcliffe (2007), Using control groups to target on predicted lift, Direct Marketing Analytics Journal 3:14-21;
    the same curve as scikit-uplift's `qini_curve`.
    """
    n, n_treated, y_treated, y_control = _cumulative(score, treatment, outcome)
    # Without a control row there is no control conversion either: the divisor does not matter there.
    return n, y_treated - y_control * n_treated / np.maximum(n - n_treated, 1)


def uplift_curve(score: Floats, treatment: Labels, outcome: Labels) -> tuple[Floats, Floats]:
    """Return the cumulative uplift curve: extra conversions if all of the top n rows were treated.

    U(n) = (Y_T / N_T - Y_C / N_C) (N_T + N_C), in the terms of `qini_curve`; a rate over no row counts as 0. Rows of
    equal score enter together.

    Parameters
    ----------
    score : array of float, shape (rows,)
        Higher means more uplift.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.

    Returns
    -------
    (array of float, array of float)
        Rows targeted, from 0 to all, and U at each distinct score.

    References
    ----------
    Gutierrez and Gerardy (2016), Causal inference and uplift modeling: a review of the literature, PMLR 67:1-13;
    the same curve as scikit-uplift's `uplift_curve`.
    """
    n, n_treated, y_treated, y_control = _cumulative(score, treatment, outcome)
    return n, (y_treated / np.maximum(n_treated, 1) - y_control / np.maximum(n - n_treated, 1)) * n


def qini_coefficient(score: Floats, treatment: Labels, outcome: Labels) -> float:
    """Return the area between Qini curve and diagonal as a share of the perfect curve's: 0 is random, 1 perfect.

    The perfect curve ranks treated rows that converted first and control rows that converted last, so it counts
    negative effects too. Areas are by the trapezoid rule.

    Parameters
    ----------
    score : array of float, shape (rows,)
        Higher means more uplift.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.

    Returns
    -------
    float
        At most 1; NaN where an arm or every conversion is missing.

    References
    ----------
    Radcliffe (2007), as for `qini_curve`; scikit-uplift's `qini_auc_score` with `negative_effect=True`.
    """
    n, curve = qini_curve(score, treatment, outcome)
    return float(_share_of_perfect_qini(float(np.trapezoid(curve, n)), _cells(treatment, outcome)))


def auuc(score: Floats, treatment: Labels, outcome: Labels) -> float:
    """Return the area between uplift curve and diagonal as a share of the perfect curve's: 0 is random, 1 perfect.

    The perfect curve ranks treated rows that converted first, then control rows that did not, then the larger and last
    the smaller of the two groups that remain: control rows that converted and treated rows that did not. Areas are by
    the trapezoid rule.

    Parameters
    ----------
    score : array of float, shape (rows,)
        Higher means more uplift.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.

    Returns
    -------
    float
        NaN where an arm or every conversion is missing, or where all treated and no control rows converted.

    References
    ----------
    Gutierrez and Gerardy (2016), as for `uplift_curve`; scikit-uplift's `uplift_auc_score`.
    """
    n, curve = uplift_curve(score, treatment, outcome)
    return float(_share_of_perfect_uplift(float(np.trapezoid(curve, n)), _cells(treatment, outcome)))


def uplift_at_k(score: Floats, treatment: Labels, outcome: Labels, share: float) -> float:
    """Return treated minus control conversion rate among the rows of the highest scores.

    Parameters
    ----------
    score : array of float, shape (rows,)
        Higher means more uplift. Among equal scores the later rows come first; pass ranks for another order.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    share : float
        Share of the rows to take, 0 to 1, both arms together; rounded down to whole rows.

    Returns
    -------
    float
        Difference in rates, -1 to 1; NaN where an arm is missing among these rows.

    References
    ----------
    scikit-uplift's `uplift_at_k` with `strategy="overall"`.
    """
    top = np.argsort(score, kind="stable")[::-1][: int(len(score) * share)]
    return _difference_in_means(treatment[top], outcome[top])


class RankedArms:
    """Test rows in the rank order of one score, so that a resample costs one pass and no sort.

    Parameters
    ----------
    score : array of float, shape (rows,)
        Higher means more uplift; ties are broken at random.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor_codes : array of int, shape (rows,)
        Visitor code of each row, an index into the bootstrap's weights.
    n_visitors : int
        Number of visitor codes.
    shares : list of float
        Shares of the rows for uplift@k.
    seed : int
        Seed of the order among ties.
    """

    def __init__(
        self,
        score: Floats,
        treatment: Labels,
        outcome: Labels,
        visitor_codes: Rows,
        n_visitors: int,
        shares: list[float],
        seed: int,
    ) -> None:
        self.order = rank_order(score, seed)
        self.shares = shares
        self.visitor = visitor_codes[self.order]
        self.treatment, self.outcome = treatment[self.order].astype(np.uint8), outcome[self.order]
        # Conversions change only at these rows, so sums between them are all that the areas need.
        self.converted = np.flatnonzero(self.outcome)
        self.converted_treatment = self.treatment[self.converted]
        # Half as wide is nearly twice as fast; a resample weighs a row 255 at most.
        self.counts = np.int32 if len(score) < 2**31 // 255 else np.int64

    def metrics(self, weights: Weights, pool: ThreadPoolExecutor) -> Floats:
        """Return the metrics under weights of the visitors: each row counts as often as its visitor's weight says.

        Parameters
        ----------
        weights : array of int, shape (resamples, visitors)
            Weight of each visitor, 0 to 255.
        pool : ThreadPoolExecutor
            Threads that share the resamples.

        Returns
        -------
        array of float, shape (resamples, 2 + shares)
            Qini coefficient, AUUC and uplift@k for each share, equal to the plain functions' values on rows that are
            copied so often, with ranks as scores; NaN where they are.
        """
        found = np.array(list(pool.map(self._sums, weights)))
        qini_area, uplift_area, cells = found[:, 0], found[:, 1], found[:, 2:6].T
        qini, uplift = _share_of_perfect_qini(qini_area, cells), _share_of_perfect_uplift(uplift_area, cells)
        return np.column_stack([qini, uplift, found[:, 6:]])

    def _sums(self, weights: Weights) -> list[float]:
        weight = weights.take(self.visitor)
        n: Counts = np.cumsum(weight, dtype=self.counts)
        n_treated: Counts = np.cumsum(weight * self.treatment, dtype=self.counts)
        n_control = n - n_treated
        conversions = weight[self.converted].astype(np.int64)
        y_treated = np.cumsum(conversions * self.converted_treatment)
        y_control = np.cumsum(conversions) - y_treated
        # Trapezoid rule: the curve's point at a row counts for half the step to it and half the step from it.
        both_steps = np.add(weight, np.append(weight[1:], np.uint8(0)), dtype=np.uint16)
        # Both curves are conversions times an arm ratio: Q = Y_T - Y_C N_T/N_C and
        # U = Y_T (1 + N_C/N_T) - Y_C (1 + N_T/N_C). Where a divisor is 0, so are the conversions it goes with.
        steps = np.add.reduceat(both_steps, self.converted, dtype=np.float64)
        ratio = n_treated / np.maximum(n_control, 1)
        ratio *= both_steps
        odds = np.add.reduceat(ratio, self.converted)
        np.divide(n_control, np.maximum(n_treated, 1), out=ratio)
        ratio *= both_steps
        inverse_odds = np.add.reduceat(ratio, self.converted)
        # Not the @ of linear algebra: its own threads would fight the pool's.
        qini_area = np.sum(y_treated * steps - y_control * odds) / 2
        uplift_area = np.sum(y_treated * (steps + inverse_odds) - y_control * (steps + odds)) / 2
        y_treated, y_control = np.append(0, y_treated), np.append(0, y_control)
        cells = [y_treated[-1], n_treated[-1] - y_treated[-1], y_control[-1], n_control[-1] - y_control[-1]]
        at_shares = []
        for share in self.shares:
            size = int(n[-1] * share)
            # The row that fills the share may enter with a part of its weight.
            last = int(np.searchsorted(n, size))
            surplus, arm = int(n[last]) - size, int(self.treatment[last])
            surplus_converted = surplus * int(self.outcome[last])
            upto = np.searchsorted(self.converted, last, side="right")
            treated = int(n_treated[last]) - surplus * arm
            control = size - treated
            y1 = y_treated[upto] - surplus_converted * arm
            y0 = y_control[upto] - surplus_converted * (1 - arm)
            at_shares.append(y1 / treated - y0 / control if treated and control else np.nan)
        return [qini_area, uplift_area, *cells, *at_shares]


def evaluate_uplift(
    scores: dict[str, Floats],
    treatment: Labels,
    outcome: Labels,
    visitor: npt.NDArray[np.int32],
    settings: UpliftSettings,
    confidence: float,
    seed: int,
    threads: int,
    is_simulated: bool,
) -> list[UpliftMetric]:
    """Judge every score on the test rows, and pairs of scores on the same resamples.

    Metrics are qini, auuc and uplift_at_<percent>. Each score stands alone (`versus` is empty); each is also set
    against the response ranking, and each but the response ranking against the T-learner. The row of learner "all" is
    the average effect.

    Parameters
    ----------
    scores : dict of str to array of float, shape (rows,)
        Learner name to its score of the test rows, higher means more uplift; ties are broken at random, the same way
        for every learner.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
    settings : UpliftSettings
        Resamples, and the shares of uplift@k.
    confidence : float
        Confidence of the intervals, 0 to 1.
    seed : int
        Seed of the resamples and of the order among ties.
    threads : int
        Threads to use; the numbers do not depend on it.
    is_simulated : bool
        Whether arms and effects are made up.

    Returns
    -------
    list of UpliftMetric
        Percentile intervals of a bootstrap of visitors; for uplift@k see `widened` too. The average effect's interval
        is that of `average_effect`.

    Raises
    ------
    FunneliftError
        When a score is not finite, an arm holds fewer than two visitors, or a metric is not defined on these rows.
    """
    codes, n_visitors = _coded(visitor)
    counts = _counts(treatment)
    found = [
        UpliftMetric(
            "all", "", "average_effect", *average_effect(treatment, outcome, visitor, confidence), *counts, is_simulated
        )
    ]
    shares = settings.top_shares
    names = ["qini", "auuc", *(f"uplift_at_{100 * share:g}" for share in shares)]
    weights = visitor_weights(n_visitors, settings.bootstrap_resamples, seed)
    values, resampled = {}, {}
    with ThreadPoolExecutor(threads) as pool:
        for learner, score in scores.items():
            if not np.isfinite(score).all():
                raise FunneliftError(
                    f"{learner}: {np.sum(~np.isfinite(score))} of {len(score)} test rows have a score that is not a "
                    "finite number; look for infinite or overflowing features"
                )
            ranked = RankedArms(score, treatment, outcome, codes, n_visitors, shares, seed)
            values[learner] = ranked.metrics(np.ones((1, n_visitors), np.uint8), pool)[0]
            undefined = [name for name, value in zip(names, values[learner], strict=True) if not np.isfinite(value)]
            if undefined:
                raise FunneliftError(
                    f"{learner}: {', '.join(undefined)} not defined on the {counts[0]} test rows ({counts[1]} treated, "
                    f"{counts[2]} control, {np.sum(outcome)} conversions): among the rows looked at an arm or every "
                    "conversion is missing; use more rows or larger uplift.top_shares"
                )
            resampled[learner] = ranked.metrics(weights, pool)
            for column, (name, value) in enumerate(zip(names, values[learner], strict=True)):
                interval = _percentile_interval(resampled[learner][:, column], confidence)
                if column >= 2:
                    top = ranked.order[: int(len(score) * shares[column - 2])]
                    interval = widened(value, interval, treatment[top], outcome[top], visitor[top], confidence)
                found.append(UpliftMetric(learner, "", name, float(value), *interval, *counts, is_simulated))
    for versus in (RESPONSE, T_LEARNER):
        for learner in scores:
            if versus not in scores or learner == versus or (learner, versus) == (RESPONSE, T_LEARNER):
                continue
            differences = resampled[learner] - resampled[versus]
            for name, value, column in zip(names, values[learner] - values[versus], differences.T, strict=True):
                interval = _percentile_interval(column, confidence)
                found.append(UpliftMetric(learner, versus, name, float(value), *interval, *counts, is_simulated))
    return found


def average_effect(
    treatment: Labels, outcome: Labels, visitor: npt.NDArray[np.int32], confidence: float
) -> tuple[float, float, float]:
    """Return the treated-minus-control difference in mean outcomes with its cluster-robust normal interval.

    The variance is the sum over visitors of (sum of the visitor's residuals, each divided by the rows of its arm)
    squared, times G / (G - 1) for the G visitors of an arm. With one row a visitor this is Welch's unpooled variance.

    Parameters
    ----------
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
    confidence : float
        Confidence of the interval, 0 to 1.

    Returns
    -------
    (float, float, float)
        Difference, lower and upper bound.

    Raises
    ------
    FunneliftError
        When an arm holds fewer than two visitors.

    References
    ----------
    Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, Biometrika 73:13-22.
    """
    codes, n_visitors = _coded(visitor)
    influence, means = np.zeros(len(outcome)), {}
    for arm, name, sign in ((1, "treated", 1), (0, "control", -1)):
        rows = np.flatnonzero(treatment == arm)
        clusters = len(np.unique(codes[rows]))
        if clusters < 2:
            raise FunneliftError(
                f"{clusters} visitors among the {name} test rows; an interval needs two in each arm: check the "
                "treatment column and the split"
            )
        means[arm] = outcome[rows].mean()
        correction = np.sqrt(clusters / (clusters - 1))
        influence[rows] = sign * correction * (outcome[rows] - means[arm]) / len(rows)
    error = np.sqrt(np.sum(np.bincount(codes, influence, n_visitors) ** 2))
    difference, half = means[1] - means[0], norm.ppf(0.5 + confidence / 2) * error
    return float(difference), float(difference - half), float(difference + half)


def widened(
    value: float,
    interval: tuple[float, float],
    treatment: Labels,
    outcome: Labels,
    visitor: npt.NDArray[np.int32],
    confidence: float,
) -> tuple[float, float]:
    """Widen a bootstrap interval of a difference in rates where no row, or every row, of an arm converted.

    There all resamples agree, as if that arm's rate were known. Wilson's interval says how far it may be off: 0 of n
    visitors may stand for a rate up to z^2 / (n + z^2). The two arms' distances are joined as Newcombe joins them, by
    the root of the sum of their squares.

    Parameters
    ----------
    value : float
        Difference in rates, treated minus control.
    interval : (float, float)
        Its bootstrap interval.
    treatment, outcome : array of int, shape (rows,)
        0 or 1: the rows that the difference is about, with both arms.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
    confidence : float
        Confidence of the interval, 0 to 1.

    Returns
    -------
    (float, float)
        The interval; as it was, where both arms have rows that converted and rows that did not.

    References
    ----------
    Newcombe (1998), Interval estimation for the difference between independent proportions, Statistics in Medicine
    17:873-890, method 10.
    """
    lower, upper = interval
    z2 = norm.ppf(0.5 + confidence / 2) ** 2
    for arm in (1, 0):
        rows = treatment == arm
        rate = outcome[rows].mean()
        if rate not in (0, 1):
            continue
        slack = z2 / (len(np.unique(visitor[rows])) + z2)
        # A treated rate that may be higher, or a control rate that may be lower, raises the difference.
        if rate != arm:
            upper = value + np.hypot(upper - value, slack)
        else:
            lower = value - np.hypot(value - lower, slack)
    return float(lower), float(upper)


def decile_table(
    learner: str,
    decile: npt.NDArray[np.integer],
    predicted: Floats,
    treatment: Labels,
    outcome: Labels,
    visitor: npt.NDArray[np.int32],
    true_effect: Floats | None,
    settings: UpliftSettings,
    confidence: float,
    seed: int,
    is_simulated: bool,
) -> list[UpliftDecile]:
    """Set predicted against observed uplift, decile by decile of the score.

    Observed uplift is the treated minus the control conversion rate among the decile's rows.

    Parameters
    ----------
    learner : str
        Learner that the deciles belong to.
    decile : array of int, shape (rows,)
        Decile of each row, 1 (highest scores) to 10.
    predicted : array of float, shape (rows,)
        Predicted uplift, a difference in probabilities.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
    true_effect : array of float, shape (rows,), optional
        Expected effect of each row, where a simulation knows it.
    settings : UpliftSettings
        Resamples.
    confidence : float
        Confidence of the intervals, 0 to 1.
    seed : int
        Seed of the resamples.
    is_simulated : bool
        Whether arms and effects are made up.

    Returns
    -------
    list of UpliftDecile
        Deciles in order with percentile intervals of a bootstrap of visitors, made wider as `widened` says. A decile
        without rows of both arms has no observed uplift and is left out.
    """
    codes, n_visitors = _coded(visitor)
    weights = visitor_weights(n_visitors, settings.bootstrap_resamples, seed)
    ones = np.ones(len(outcome))
    sums = _resampled_sums(np.column_stack([ones, outcome]), 2 * decile + treatment, 22, codes, weights)
    n, conversions = sums.reshape(len(weights), 11, 2, 2).transpose(3, 0, 1, 2)
    with np.errstate(invalid="ignore"):
        resampled = np.diff(conversions / n, axis=2)[..., 0]
    table = []
    for number in range(1, 11):
        rows = np.flatnonzero(decile == number)
        arm, converted = treatment[rows], outcome[rows]
        observed = _difference_in_means(arm, converted)
        if not np.isfinite(observed):
            continue
        interval = _percentile_interval(resampled[:, number], confidence)
        table.append(
            UpliftDecile(
                learner,
                number,
                int(np.sum(arm == 1)),
                int(np.sum(arm == 0)),
                int(np.sum(converted[arm == 1])),
                int(np.sum(converted[arm == 0])),
                float(predicted[rows].mean()),
                observed,
                *widened(observed, interval, arm, converted, visitor[rows], confidence),
                None if true_effect is None else float(true_effect[rows].mean()),
                is_simulated,
            )
        )
    return table


def uplift_calibration(
    learner: str,
    predicted: Floats,
    treatment: Labels,
    outcome: Labels,
    visitor: npt.NDArray[np.int32],
    bins: int,
    settings: UpliftSettings,
    confidence: float,
    seed: int,
    is_simulated: bool,
) -> list[UpliftMetric]:
    """Say whether predicted effects have the right size.

    calibration_slope is the slope of the best linear predictor of the effect given the prediction s: beta in
    y = a + b s + c (t - p) + beta (t - p) (s - mean s) + error. 1 is perfect, below 1 the predictions spread too far,
    0 they say nothing. As arms are random with one probability p, beta is the slope of y on s among treated rows minus
    that among control rows, whatever p is.

    calibration_error is the mean over bins of equal count, weighted by rows, of |mean predicted - observed uplift|.
    Noise alone keeps it above 0: with n_T and n_C rows of the arms in a bin (one row a visitor) and outcome rates r_T
    and r_C, a perfect prediction is off by sqrt(2/pi) sqrt(r_T (1 - r_T) / n_T + r_C (1 - r_C) / n_C) there on average.
    calibration_error_floor is that floor for these rows and visitors: how far the bins of a resample lie from the bins
    themselves, in the same weighted mean; the mean and the range over resamples.

    A percentile interval of the error would never hold a true error of 0. But the error cannot be further from the
    true one than the observed bins are from the true bins, and the floor's distribution says how far that is. The
    interval is the error less and plus that distance: wide rather than narrow, and it holds 0 where noise explains all.

    Parameters
    ----------
    learner : str
        Learner that the predictions belong to.
    predicted : array of float, shape (rows,)
        Predicted uplift, a difference in probabilities.
    treatment, outcome : array of int, shape (rows,)
        0 or 1.
    visitor : array of int, shape (rows,)
        Number of each row's visitor.
    bins : int
        Number of bins of about equal count; rows of equal prediction share a bin.
    settings : UpliftSettings
        Resamples.
    confidence : float
        Confidence of the intervals, 0 to 1.
    seed : int
        Seed of the resamples.
    is_simulated : bool
        Whether arms and effects are made up.

    Returns
    -------
    list of UpliftMetric
        The three metrics with intervals of a bootstrap of visitors, by percentiles but for calibration_error. Bins
        without rows of both arms do not count. One prediction for all rows has no slope, and no row for it.

    References
    ----------
    Chernozhukov, Demirer, Duflo and Fernandez-Val (2018), Generic machine learning inference on heterogeneous
    treatment effects in randomized experiments, NBER 24678: its best linear predictor, with 1 and s as covariates.
    """
    codes, n_visitors = _coded(visitor)
    order = np.argsort(predicted, kind="stable")
    edges = equal_count_edges(predicted[order], bins)
    bin_of_row = np.empty(len(order), dtype=np.intp)
    bin_of_row[order] = np.repeat(np.arange(len(edges)), np.diff([*edges, len(order)]))
    # Sums of squares lose no digits when the predictions are centred; the slope does not change.
    centre = predicted.mean()
    s = predicted - centre
    columns = np.column_stack([np.ones(len(s)), s, outcome, s * outcome, s**2])
    weights = visitor_weights(n_visitors, settings.bootstrap_resamples, seed)

    def sums(weights: Weights) -> Floats:
        found = _resampled_sums(columns, 2 * bin_of_row + treatment, 2 * len(edges), codes, weights)
        return found.reshape(len(weights), len(edges), 2, 5)

    whole, resampled = sums(np.ones((1, n_visitors), np.uint8)), sums(weights)
    (n, gap), (resampled_n, resampled_gap) = _bin_gaps(whole), _bin_gaps(resampled)
    error, gap = _mean_size(n, gap - centre), gap[0]
    distance = _mean_size(resampled_n, resampled_gap - gap)
    distance = distance[np.isfinite(distance)]
    reach = np.quantile(distance, confidence)
    found = {
        "calibration_error": (error[0], max(0.0, error[0] - reach), error[0] + reach),
        "calibration_error_floor": (distance.mean(), *_percentile_interval(distance, confidence)),
    }
    slope = _slope_of_effect(whole)[0]
    # A difference of two probabilities differs by rounding where the effect does not.
    if np.ptp(predicted) > 1e-12 and np.isfinite(slope):
        found["calibration_slope"] = (slope, *_percentile_interval(_slope_of_effect(resampled), confidence))
    counts = _counts(treatment)
    return [
        UpliftMetric(learner, "", metric, float(value), float(lower), float(upper), *counts, is_simulated)
        for metric, (value, lower, upper) in found.items()
    ]


def pehe(predicted: Floats, effect: Floats) -> float:
    """Return the root mean squared error of predicted effects (precision in estimating heterogeneous effects).

    Parameters
    ----------
    predicted : array of float, shape (rows,)
        Predicted uplift.
    effect : array of float, shape (rows,)
        Expected effect of each row, as only a simulation knows it.

    Returns
    -------
    float
        0 is perfect.

    References
    ----------
    Hill (2011), Bayesian nonparametric modeling for causal inference, JCGS 20:217-240.
    """
    return float(np.sqrt(np.mean((predicted - effect) ** 2)))


def _cumulative(score: Floats, treatment: Labels, outcome: Labels) -> tuple[Floats, Floats, Floats, Floats]:
    order = np.argsort(score, kind="stable")[::-1]
    last_of_ties = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    arm, converted = treatment[order].astype(np.float64), outcome[order].astype(np.float64)
    counts = np.cumsum([np.ones(len(arm)), arm, converted * arm, converted * (1 - arm)], axis=1)[:, last_of_ties]
    n, n_treated, y_treated, y_control = np.pad(counts, ((0, 0), (1, 0)))
    return n, n_treated, y_treated, y_control


def _cells(treatment: Labels, outcome: Labels) -> Floats:
    """Count treated rows that converted and did not, then control rows that converted and did not."""
    return np.bincount(2 * (treatment == 0) + (outcome == 0), minlength=4).astype(np.float64)


def _share_of_perfect_qini(area: Floats | float, cells: Floats) -> Floats:
    """Set areas under Qini curves against the diagonal's and the perfect curve's; the last axis goes over samples."""
    treated_yes, treated_no, control_yes, control_no = cells
    n, zero = cells.sum(axis=0), np.zeros_like(treated_yes)
    with np.errstate(invalid="ignore", divide="ignore"):
        end = treated_yes - control_yes * (treated_yes + treated_no) / (control_yes + control_no)
        perfect = _area([zero, treated_yes, n - control_yes, n], [zero, treated_yes, treated_yes, end])
    return _share_of_perfect(area, n * end / 2, perfect)


def _share_of_perfect_uplift(area: Floats | float, cells: Floats) -> Floats:
    """Set areas under uplift curves against the diagonal's and the perfect curve's; the last axis goes over samples."""
    treated_yes, treated_no, control_yes, control_no = cells
    n, zero = cells.sum(axis=0), np.zeros_like(treated_yes)
    with np.errstate(invalid="ignore", divide="ignore"):
        treated_rate, control_rate = treated_yes / (treated_yes + treated_no), control_yes / (control_yes + control_no)
        end = (treated_rate - control_rate) * n
        # Before the third group all treated rows converted and no control row did.
        second = treated_yes + control_no
        third = second + np.maximum(treated_no, control_yes)
        third_rate = np.where(control_yes > treated_no, (treated_yes > 0) - control_rate, treated_rate)
        rates = [zero, treated_yes, second * (treated_yes > 0), third * third_rate, end]
        perfect = _area([zero, treated_yes, second, third, n], rates)
    return _share_of_perfect(area, n * end / 2, perfect)


def _share_of_perfect(area: Floats | float, diagonal: Floats, perfect: Floats) -> Floats:
    room = perfect - diagonal
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(room > 0, (area - diagonal) / room, np.nan)


def _area(n: list[Floats], curve: list[Floats]) -> Floats:
    return np.asarray(np.trapezoid(curve, n, axis=0))


def _coded(visitor: npt.NDArray[np.int32]) -> tuple[Rows, int]:
    known, codes = np.unique(visitor, return_inverse=True)
    return codes, len(known)


def _counts(treatment: Labels) -> tuple[int, int, int]:
    return len(treatment), int(np.sum(treatment == 1)), int(np.sum(treatment == 0))


def _difference_in_means(treatment: Labels, outcome: Labels) -> float:
    treated, control = outcome[treatment == 1], outcome[treatment == 0]
    return float(treated.mean() - control.mean()) if len(treated) and len(control) else np.nan


def _percentile_interval(resampled: Floats, confidence: float) -> tuple[float, float]:
    tail = 50 * (1 - confidence)
    lower, upper = np.percentile(resampled[np.isfinite(resampled)], [tail, 100 - tail])
    return float(lower), float(upper)


def _resampled_sums(columns: Floats, segment: Rows, segments: int, codes: Rows, weights: Weights) -> Floats:
    """Sum columns over the rows of each segment, weighted: shape (resamples, segments, columns)."""
    order = np.argsort(segment, kind="stable")
    bounds = np.searchsorted(segment[order], np.arange(segments + 1))
    columns, codes = columns[order], codes[order]
    parts = []
    for start in range(0, len(weights), RESAMPLES_AT_ONCE):
        part = weights[start : start + RESAMPLES_AT_ONCE].take(codes, axis=1).astype(np.float64)
        parts.append(np.stack([part[:, a:b] @ columns[a:b] for a, b in pairwise(bounds)], axis=1))
    return np.concatenate(parts)


def _bin_gaps(sums: Floats) -> tuple[Floats, Floats]:
    """Return rows, and observed uplift minus mean centred prediction, of each bin: shapes (resamples, bins)."""
    n_arm, predicted, converted = np.moveaxis(sums[..., :3], 3, 0)
    n = n_arm.sum(axis=2)
    with np.errstate(invalid="ignore"):
        return n, np.diff(converted / n_arm, axis=2)[..., 0] - predicted.sum(axis=2) / n


def _mean_size(n: Floats, gap: Floats) -> Floats:
    """Return |gap| averaged over bins, weighted by rows; bins where it is NaN do not count: shape (resamples,)."""
    known = np.isfinite(gap)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(np.where(known, n * np.abs(gap), 0), axis=1) / np.sum(n * known, axis=1))


def _slope_of_effect(sums: Floats) -> Floats:
    """Return the slope of outcome on prediction among treated minus that among control rows: shape (resamples,)."""
    n, s, y, sy, ss = np.moveaxis(sums.sum(axis=1), 2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.diff((sy - s * y / n) / (ss - s**2 / n), axis=1)[:, 0])

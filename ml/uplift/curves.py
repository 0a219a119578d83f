"""How well a score ranks rows by what an intervention changes: Qini, AUUC and uplift at k."""

import numpy as np

from ml.arrays import Floats, Rows
from ml.experiment.arms import Arms


def rank_order(score: Floats, seed: int) -> Rows:
    """Return the rows' positions from the highest score to the lowest, ties in random order.

    Parameters
    ----------
    score : ndarray of shape (n_rows,)
        Score of each row, no NaN.
    seed : int
        Seed of the order among ties.

    Returns
    -------
    ndarray of shape (n_rows,)
        Positions within `score`.
    """
    shuffled = np.random.default_rng(seed).permutation(len(score))
    return shuffled[np.argsort(-score[shuffled], kind="stable")]


def qini_curve(score: Floats, arms: Arms) -> tuple[Floats, Floats]:
    """Return the Qini curve: incremental conversions among the treated when the top n rows are targeted.

    Q(n) = Y_T - Y_C N_T / N_C, where N_T and N_C count the treated and the control rows among the n rows of the
    highest scores, and Y_T and Y_C their conversions. Rows of equal score enter together.

    Parameters
    ----------
    score : ndarray of shape (n_rows,)
        Higher means more uplift.
    arms : Arms
        The same rows.

    Returns
    -------
    (ndarray of shape (n_scores,), ndarray of shape (n_scores,))
        Rows targeted, from 0 to all, and Q at each distinct score.

    References
    ----------
    Radcliffe (2007), Using control groups to target on predicted lift, Direct Marketing Analytics Journal 3:14-21;
    the same curve as scikit-uplift's `qini_curve`.
    """
    n, n_treated, y_treated, y_control = _cumulative(score, arms)
    # Without a control row there is no control conversion either: the divisor does not matter there.
    return n, y_treated - y_control * n_treated / np.maximum(n - n_treated, 1)


def uplift_curve(score: Floats, arms: Arms) -> tuple[Floats, Floats]:
    """Return the cumulative uplift curve: extra conversions if all of the top n rows were treated.

    U(n) = (Y_T / N_T - Y_C / N_C) (N_T + N_C), in the terms of `qini_curve`; a rate over no row counts as 0. Rows of
    equal score enter together.

    Parameters
    ----------
    score : ndarray of shape (n_rows,)
        Higher means more uplift.
    arms : Arms
        The same rows.

    Returns
    -------
    (ndarray of shape (n_scores,), ndarray of shape (n_scores,))
        Rows targeted, from 0 to all, and U at each distinct score.

    References
    ----------
    Gutierrez and Gerardy (2016), Causal inference and uplift modeling: a review of the literature, PMLR 67:1-13;
    the same curve as scikit-uplift's `uplift_curve`.
    """
    n, n_treated, y_treated, y_control = _cumulative(score, arms)
    return n, (y_treated / np.maximum(n_treated, 1) - y_control / np.maximum(n - n_treated, 1)) * n


def qini_coefficient(score: Floats, arms: Arms) -> float:
    """Return the area between Qini curve and diagonal as a share of the perfect curve's: 0 is random, 1 perfect.

    The perfect curve ranks treated rows that converted first and control rows that converted last, so it counts
    negative effects too. Areas are by the trapezoid rule.

    Parameters
    ----------
    score : ndarray of shape (n_rows,)
        Higher means more uplift.
    arms : Arms
        The same rows.

    Returns
    -------
    float
        At most 1; NaN where an arm or every conversion is missing.

    References
    ----------
    Radcliffe (2007), as for `qini_curve`; scikit-uplift's `qini_auc_score` with `negative_effect=True`.
    """
    n, curve = qini_curve(score, arms)
    return float(share_of_perfect_qini(float(np.trapezoid(curve, n)), arms.cells))


def auuc(score: Floats, arms: Arms) -> float:
    """Return the area between uplift curve and diagonal as a share of the perfect curve's: 0 is random, 1 perfect.

    The perfect curve ranks treated rows that converted first, then control rows that did not, then the larger and last
    the smaller of the two groups that remain: control rows that converted and treated rows that did not. Areas are by
    the trapezoid rule.

    Parameters
    ----------
    score : ndarray of shape (n_rows,)
        Higher means more uplift.
    arms : Arms
        The same rows.

    Returns
    -------
    float
        NaN where an arm or every conversion is missing, or where all treated and no control rows converted.

    References
    ----------
    Gutierrez and Gerardy (2016), as for `uplift_curve`; scikit-uplift's `uplift_auc_score`.
    """
    n, curve = uplift_curve(score, arms)
    return float(share_of_perfect_uplift(float(np.trapezoid(curve, n)), arms.cells))


def uplift_at_k(score: Floats, arms: Arms, share: float) -> float:
    """Return treated minus control conversion rate among the rows of the highest scores.

    Parameters
    ----------
    score : ndarray of shape (n_rows,)
        Higher means more uplift. Among equal scores the later rows come first; pass ranks for another order.
    arms : Arms
        The same rows.
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
    return arms.take(top).difference_in_means


def _cumulative(score: Floats, arms: Arms) -> tuple[Floats, Floats, Floats, Floats]:
    order = np.argsort(score, kind="stable")[::-1]
    last_of_ties = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    arm, converted = arms.treatment[order].astype(np.float64), arms.outcome[order].astype(np.float64)
    counts = np.cumsum([np.ones(len(arm)), arm, converted * arm, converted * (1 - arm)], axis=1)[:, last_of_ties]
    n, n_treated, y_treated, y_control = np.pad(counts, ((0, 0), (1, 0)))
    return n, n_treated, y_treated, y_control


def share_of_perfect_qini(area: Floats | float, cells: Floats) -> Floats:
    """Set areas under Qini curves against the diagonal's and the perfect curve's; the last axis goes over samples."""
    treated_yes, treated_no, control_yes, control_no = cells
    n, zero = cells.sum(axis=0), np.zeros_like(treated_yes)
    with np.errstate(invalid="ignore", divide="ignore"):
        end = treated_yes - control_yes * (treated_yes + treated_no) / (control_yes + control_no)
        perfect = _area([zero, treated_yes, n - control_yes, n], [zero, treated_yes, treated_yes, end])
    return _share_of_perfect(area, n * end / 2, perfect)


def share_of_perfect_uplift(area: Floats | float, cells: Floats) -> Floats:
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

"""The population stability index, and how large chance alone makes it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Rows


@dataclass(frozen=True)
class Side:
    """One sample of a binned feature: rows per bin, and the covariance of the bins' shares.

    Parameters
    ----------
    counts : ndarray of shape (n_bins,)
        Rows in each bin.
    covariance : ndarray of shape (n_bins, n_bins)
        Covariance of the shares between samples of as many visitors; infinite where one visitor has all rows.
    """

    counts: Floats
    covariance: Floats


@dataclass(frozen=True)
class Stability:
    """A population stability index beside what chance makes of it where nothing has changed."""

    psi: float
    by_chance: float
    limit: float


def side(codes: npt.NDArray[np.uint8], visitor: Rows, visitors: int, bins: int) -> Side:
    """Count the rows of each bin, and how far the counts vary with the visitors who happened to come.

    Rows of one visitor resemble each other, so the sum of a visitor's rows is one observation.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Bin of each row.
    visitor : ndarray of shape (n_rows,)
        Visitor code of each row, each code in use.
    visitors : int
        Number of visitor codes.
    bins : int
        Number of bins.

    Returns
    -------
    Side
        Counts and covariance.
    """
    from scipy.sparse import coo_matrix

    counts = np.bincount(codes, minlength=bins).astype(np.float64)
    if visitors < 2:
        return Side(counts, np.full((bins, bins), np.inf))
    ones = np.ones(len(codes))
    table = coo_matrix((ones, (visitor, codes)), shape=(visitors, bins)).tocsr()
    size = np.bincount(visitor, minlength=visitors).astype(np.float64)
    share, cross = counts / len(codes), np.asarray(table.T @ size)
    # The sum over visitors of (own counts - own rows x shares), squared, without a matrix of visitors by bins.
    squares = (table.T @ table).toarray() - np.outer(cross, share) - np.outer(share, cross)
    squares += (size @ size) * np.outer(share, share)
    return Side(counts, squares / len(codes) ** 2 * visitors / (visitors - 1))


def population_stability(reference: Floats, current: Floats) -> float:
    r"""Return the population stability index of two samples.

    .. math:: \sum_b (a_b - e_b) \ln(a_b / e_b)

    with the share of bin b among the reference's rows, e, and among the current ones, a. Half a row is added to each
    bin, so that an empty one counts as rare and not as impossible. Bins empty in both samples say nothing.

    Parameters
    ----------
    reference, current : ndarray of shape (n_bins,)
        Rows in each bin.

    Returns
    -------
    float
        0 where the shares are equal; NaN where a sample is empty.

    References
    ----------
    Siddiqi (2006), Credit risk scorecards, chapter 8; Kullback and Leibler (1951), On information and sufficiency,
    Annals of Mathematical Statistics 22:79-86 (the sum is their symmetric divergence J).

    Examples
    --------
    >>> round(population_stability(np.array([5000.0, 5000]), np.array([2500.0, 7500])), 3)
    0.275
    """
    if not (reference.sum() and current.sum()):
        return float("nan")
    expected, actual = _shares(reference, current)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def contributions(reference: Floats, current: Floats) -> Floats:
    """Return what each bin adds to the index; 0 for a bin that both samples leave empty."""
    found = np.zeros(len(reference))
    if reference.sum() and current.sum():
        expected, actual = _shares(reference, current)
        found[reference + current > 0] = (actual - expected) * np.log(actual / expected)
    return found


def stability(reference: Side, current: Side, false_alarms: float) -> Stability:
    """Return the index of two samples, and how large it is where they come from one population.

    Then the index is nearly the chi-square distance of the shares: a sum of squares of normal variables, whose weights
    are the eigenvalues of the shares' covariance over the shares. Rao and Scott's second-order correction takes the
    sum for a multiple of a chi-square variable with the same mean and variance. Were rows independent, the mean would
    be (bins - 1) (1/n + 1/m), as Yurdakul has it; rows of one visitor make it larger.

    Parameters
    ----------
    reference, current : Side
        The two samples, taken as independent of each other: visitors in both make the limit a little too high.
    false_alarms : float
        Share of comparisons without a change whose index may exceed the limit.

    Returns
    -------
    Stability
        The index, its mean and its upper limit by chance; NaN where a sample is too small to say.

    References
    ----------
    Rao and Scott (1981), The analysis of categorical data from complex sample surveys, JASA 76:221-230.
    Yurdakul (2018), Statistical properties of population stability index, Western Michigan University.
    """
    from scipy.stats import chi2

    psi = population_stability(reference.counts, current.counts)
    pooled = reference.counts + current.counts
    used = pooled > 0
    covariance = (reference.covariance + current.covariance)[np.ix_(used, used)]
    if not np.isfinite(psi) or not np.isfinite(covariance).all():
        return Stability(psi, float("nan"), float("nan"))
    root = np.sqrt(pooled[used] / pooled.sum())
    weights = covariance / np.outer(root, root)
    mean, squared = float(np.trace(weights)), float((weights * weights.T).sum())
    if squared <= 0:
        return Stability(psi, 0.0, 0.0)
    return Stability(psi, mean, float(squared / mean * chi2.ppf(1 - false_alarms, mean**2 / squared)))


def _shares(reference: Floats, current: Floats) -> tuple[Floats, Floats]:
    used = reference + current > 0
    smooth = [(counts[used] + 0.5) / (counts.sum() + 0.5 * used.sum()) for counts in (reference, current)]
    return smooth[0], smooth[1]

"""Whether the arms of an experiment look as if they were assigned at random: sample ratio and covariate balance."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.config import ExperimentSettings
from ml.data.gates import GateError
from ml.experiment.balance import Balance, balances_of
from ml.experiment.experiment import Experiment

SHOWN = 10  # names that a message lists
SAME_CHANCE = 0.02  # chances that differ by less are one for a ranking


@dataclass(frozen=True)
class Randomisation:
    """Whether arms look as if they were assigned at random: visitors per arm, and each covariate, the worst first.

    `ratio_p` is null where no share was designed; `worst_p` is the smallest p-value times the number of covariates.
    `warnings` says what a reader must know: what was not tested, and mismatches that were let through.
    """

    visitors_treatment: int
    visitors_control: int
    ratio_p: float | None
    balances: tuple[Balance, ...]
    worst_p: float
    warnings: tuple[str, ...]

    @property
    def worst_balance(self) -> tuple[str, float, float] | None:
        """The feature in which the arms differ most: name, standardised mean difference, corrected p-value."""
        return (self.balances[0].covariate, self.balances[0].smd, self.worst_p) if self.balances else None


def check_randomisation(
    experiment: Experiment, settings: ExperimentSettings, *, ratio_is_designed: bool = True
) -> Randomisation:
    """Test whether the arms look as if they were assigned at random.

    The number of visitors per arm is tested against the design by chi-square; where visitors had chances of their own,
    against the sum of these. Covariates are compared on each visitor's
    first row, as `balances_of` says. p-values of covariates are multiplied by their number (Bonferroni).

    Parameters
    ----------
    experiment : Experiment
        The experiment; rows without an arm are left aside.
    settings : ExperimentSettings
        How unlikely a mismatch may be, and whether a worse one stops the run.
    ratio_is_designed : bool
        Whether the experiment's treated share was designed; if not there is nothing to test it against.

    Returns
    -------
    Randomisation
        What was found.

    Raises
    ------
    GateError
        When the ratio or a covariate is less likely than `highest_mismatch_p`, unless a mismatch is allowed.

    References
    ----------
    Fabijan et al. (2019), Diagnosing Sample Ratio Mismatch in Online Controlled Experiments, KDD.
    """
    from scipy import stats

    with_arm = np.flatnonzero(experiment.treatment >= 0)
    first = with_arm[is_first(experiment.visitor[with_arm])]
    treated = int((experiment.treatment[first] == 1).sum())
    visitors, share = np.array([treated, len(first) - treated]), experiment.treated_share
    balances = balances_of(experiment, first)
    worst_p = min(1.0, balances[0].p_value * len(balances)) if balances else 1.0
    ratio_p, warnings, faults = None, [], []
    if experiment.propensity is not None:
        share = float(experiment.propensity[first].mean())
        own = experiment.propensity[first] * (1 - experiment.propensity[first])
        ratio_p = float(2 * stats.norm.sf(abs(treated - share * len(first)) / np.sqrt(own.sum())))
        if ratio_p < settings.highest_mismatch_p:
            faults.append(_ratio_fault(treated, len(first), share, ratio_p))
        faults += _chances_faults(
            experiment.propensity[first], experiment.treatment[first], settings.highest_mismatch_p
        )
    elif ratio_is_designed:
        ratio_p = float(stats.chisquare(visitors, visitors.sum() * np.array([share, 1 - share])).pvalue)
        if ratio_p < settings.highest_mismatch_p:
            faults.append(_ratio_fault(treated, len(first), share, ratio_p))
    else:
        warnings.append(
            f"the designed share of treated visitors was not told, so the sample ratio ({treated:,} treated, "
            f"{len(first) - treated:,} control, {treated / len(first):.2%} treated) was not tested "
            "(--treated-share, --propensity-column; on the mart: experiment.offer_shares)"
        )
    if worst_p < settings.highest_mismatch_p:
        faults.append(_balance_fault(balances, settings.highest_mismatch_p))
    remedy = (
        "The salt assigned the made-up arms badly: choose another experiment.simulation.salt"
        if experiment.is_simulated
        else "The arms were not assigned at random, visitors were lost from one, a feature was measured after the "
        "treatment changed it, groups such as families were drawn (--visitor-column), or the share of the treated "
        "differed between groups or days (--stratum-column). Find out which: "
        "correct the assignments, or leave the feature out. experiment.allow_mismatch goes on all the same, and says so"
    )
    errors = [GateError(*fault, remedy) for fault in faults]
    if errors and not settings.allow_mismatch:
        raise errors[0]
    warnings += [str(error).removesuffix(f". {remedy}") for error in errors]
    return Randomisation(treated, len(first) - treated, ratio_p, tuple(balances), worst_p, tuple(warnings))


def shares_differ(experiment: Experiment, highest_p: float) -> bool:
    """Say whether the chance of treatment differs between strata or visitors by more than chance explains.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms; those without one have no part.
    highest_p : float
        P-value from which a difference is chance.

    Returns
    -------
    bool
        Whether it differs: then no ranking may take all rows for equally likely to be treated.
    """
    from scipy import stats

    with_arm = np.flatnonzero(experiment.treatment >= 0)
    if experiment.propensity is not None and np.ptp(experiment.propensity[with_arm]) >= SAME_CHANCE:
        return True
    if experiment.stratum is None:
        return False
    first = with_arm[is_first(experiment.visitor[with_arm])]
    stratum, treated = experiment.stratum[first], experiment.treatment[first]
    counts = np.stack([np.bincount(stratum), np.bincount(stratum, treated)])
    n, m = counts[:, counts[0] > 0]
    share = m.sum() / n.sum()
    fit = ((m - n * share) ** 2 / (n * share * (1 - share))).sum()
    return len(n) > 1 and bool(stats.chi2.sf(fit, len(n) - 1) < highest_p)


def is_first(visitor: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Mark the first row of each visitor.

    Parameters
    ----------
    visitor : ndarray of shape (n_rows,)
        Visitor code of each row.

    Returns
    -------
    ndarray of shape (n_rows,)
        True where no earlier row has the same visitor.
    """
    rows = np.arange(len(visitor))
    first = np.empty(int(visitor.max(initial=0)) + 1, dtype=np.intp)
    # Written backwards, a visitor's first row is the last to say where it is.
    first[visitor[::-1]] = rows[::-1]
    return np.asarray(first[visitor] == rows)


def _ratio_fault(treated: int, visitors: int, share: float, p_value: float) -> tuple[str, str, str, str]:
    return (
        "sample ratio",
        f"visitors in the arms, {share:.2%} of them treated (experiment.treated_share)",
        f"about {visitors * share:,.0f} treated and {visitors * (1 - share):,.0f} control",
        f"{treated:,} and {visitors - treated:,} ({treated / visitors:.2%} treated, p = {p_value:.2g})",
    )


def _chances_faults(
    chance: npt.NDArray[np.float64], treatment: npt.NDArray[np.int8], highest_p: float
) -> list[tuple[str, str, str, str]]:
    """Whether higher chances of treatment come with more treatment, as much as they say."""
    from scipy import stats

    above, own = chance - chance.mean(), chance * (1 - chance)
    error = float(np.sqrt((above**2 * own).sum()))
    if error == 0:
        return []
    p_value = float(2 * stats.norm.sf(abs((above * (treatment - chance)).sum()) / error))
    if p_value >= highest_p:
        return []
    high = chance > chance.mean()
    return [
        (
            "chances of treatment",
            f"treated share of the {int(high.sum()):,} visitors with higher chances than the mean, and of the others",
            f"about {chance[high].mean():.2%} and {chance[~high].mean():.2%}, as their chances say",
            f"{treatment[high].mean():.2%} and {treatment[~high].mean():.2%} (p = {p_value:.2g}): they may be "
            "chances of the control",
        )
    ]


def _balance_fault(balances: list[Balance], highest_p: float) -> tuple[str, str, str, str]:
    worst, *others = [b for b in balances if b.p_value * len(balances) < highest_p]
    also = f"; also unbalanced: {', '.join(entry.covariate for entry in others[:SHOWN])}" if others else ""
    return (
        "balance",
        f"{worst.covariate}, mean among treated and control visitors",
        f"a difference that chance explains (p of at least {highest_p:g})",
        f"{worst.mean_treatment:.4g} and {worst.mean_control:.4g} (standardised difference {worst.smd:.3f}, "
        f"p = {min(1.0, worst.p_value * len(balances)):.2g} corrected for {len(balances)} comparisons{also})",
    )

"""How good scores are, on the test split."""

from dataclasses import dataclass

from ml.arrays import Floats
from ml.bootstrap import Bootstrap
from ml.data.split import MODEL_SPLITS
from ml.experiment.arms import Arms
from ml.experiment.average_effect import average_effect
from ml.experiment.experiment import Experiment
from ml.uplift.calibration import uplift_calibration
from ml.uplift.choice import UpliftCandidate
from ml.uplift.curves import qini_curve
from ml.uplift.deciles import UpliftDecile, decile_table
from ml.uplift.learners import Fits
from ml.uplift.metrics import UpliftMetric, evaluate_uplift
from ml.uplift.names import CHOSEN, RANDOM
from ml.uplift.placebo import placebo_qini
from ml.uplift.scores import Scores
from ml.uplift.truth import TrueError, true_error


@dataclass(frozen=True)
class Evaluation:
    """How good the scores are on the test split.

    `curves` maps a learner to shares of rows (0 to 1) and incremental conversions per 1,000 rows; `placebo` is what was
    found where there is nothing to find; `truth` compares with the true effects, null where they are not known;
    `comparison` is what the choice among the candidates was made by, on other rows.
    """

    metrics: list[UpliftMetric]
    deciles: list[UpliftDecile]
    placebo: UpliftMetric | None
    truth: TrueError | None
    curves: dict[str, tuple[Floats, Floats]]
    comparison: list[UpliftCandidate]

    @property
    def all_metrics(self) -> list[UpliftMetric]:
        """The metrics and the placebo's."""
        return [*self.metrics, *([self.placebo] if self.placebo else [])]


def evaluate(
    experiment: Experiment,
    scores: Scores,
    fits: Fits,
    top_shares: list[float],
    bootstrap: Bootstrap,
) -> Evaluation:
    """Evaluate all scores on the test split.

    Parameters
    ----------
    experiment : Experiment
        Rows with arms that were found to be random.
    scores : Scores
        What the learners say of them.
    fits : Fits
        The learners, with what they say of permuted arms.
    top_shares : list of float
        Shares of the rows for uplift@k.
    bootstrap : Bootstrap
        The intervals.

    Returns
    -------
    Evaluation
        Metrics, deciles, curves, placebo and truth.
    """
    test, arms = experiment.rows("test"), experiment.arms("test")
    predicted, by_learner = scores.prediction.uplift[test], {n: s[test] for n, s in scores.by_learner.items()}
    # The same array, so that it is evaluated once.
    by_learner[scores.chosen] = by_learner[CHOSEN]
    effect = None if experiment.truth is None else experiment.truth.effect[test]
    metrics = evaluate_uplift(by_learner, arms, top_shares, bootstrap)
    metrics.append(_average_effect_of_all(experiment.arms(*MODEL_SPLITS), bootstrap.confidence))
    metrics += uplift_calibration(CHOSEN, predicted, arms, bootstrap)
    return Evaluation(
        metrics=metrics,
        deciles=decile_table(
            scores.decile[test], predicted, arms, bootstrap.confidence, learner=CHOSEN, true_effect=effect
        ),
        placebo=placebo_qini(fits.placebos, top_shares, bootstrap),
        truth=None if effect is None else true_error(predicted, effect),
        curves={name: _curve(name, score, arms) for name, score in by_learner.items() if name != CHOSEN},
        comparison=fits.comparison,
    )


def _average_effect_of_all(arms: Arms, confidence: float) -> UpliftMetric:
    # It needs no model, so no row is held back for a test.
    return UpliftMetric("all", "", "average_effect_all_slices", *average_effect(arms, confidence), *arms.counts)


def _curve(name: str, score: Floats, arms: Arms) -> tuple[Floats, Floats]:
    """Qini curve: share of rows targeted, and incremental conversions per 1,000 rows; a random order is a line."""
    targeted, conversions = qini_curve(score, arms)
    share, gain = targeted / len(score), conversions / arms.treatment.sum() * 1000
    return (share[[0, -1]], gain[[0, -1]]) if name == RANDOM else (share, gain)

"""Whom does an intervention change? The T-learner, its rivals, and the placebo that must find nothing."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin

from ml.config import Config, UpliftSettings
from ml.conversion import Calibrator, CatBoostModel, Floats, Labels, Training, fit_calibrator
from ml.experiment import Experiment
from ml.features import Mart
from ml.publish import write_json
from ml.split import sample_negatives

if TYPE_CHECKING:
    import pandas as pd

Rows = npt.NDArray[np.intp]
T_LEARNER, RESPONSE, RANDOM = "t_learner", "response", "random"
ARMS = ("control", "treatment")
UPLIFT_FILE = "uplift.json"
FEWEST_TREES = 10
TENTHS = 10
TRUST_FOLDS = 5


@dataclass(frozen=True)
class Prediction:
    """What the T-learner says of each row: probability of a conversion in either arm, and the score that ranks.

    `uplift` is their difference. `score` is the difference of the two arms' models as they are; `uplift` is the same
    ranking on the scale of the effects that training rows showed.
    """

    p_control: Floats
    p_treatment: Floats
    score: Floats

    @property
    def uplift(self) -> Floats:
        """Predicted probability with treatment less that without."""
        return self.p_treatment - self.p_control


@dataclass(frozen=True)
class EffectScale:
    """The non-decreasing line through `knots` and `effects` that turns the two models' difference into an effect.

    The difference of two fitted models is spread wider than the effects are, because each model errs on its own, so
    that its top rows promise too much. So the effect of each tenth of the cross-fitted training rows, ranked by that
    difference, is the mean of their doubly robust scores, made non-decreasing (isotonic regression), with straight
    lines between the tenths. Then all are drawn towards their mean by `trust`, from 0 (no difference between rows was
    found) to 1: the slope of the best linear predictor of the effect (Chernozhukov, Demirer, Duflo & Fernández-Val
    2018) given such a line fitted on other visitors.
    """

    knots: tuple[float, ...]
    effects: tuple[float, ...]
    trust: float
    treated_share: float

    @classmethod
    def learn(
        cls,
        p_control: Floats,
        p_treatment: Floats,
        treatment: Labels,
        outcome: Labels,
        visitor: npt.NDArray[np.int32],
    ) -> "EffectScale":
        """Fit the line on rows that neither model saw.

        Parameters
        ----------
        p_control, p_treatment : array of float
            Cross-fitted probabilities of a conversion in either arm.
        treatment, outcome : array of int
            0 or 1.
        visitor : array of int
            Visitor code of each row; rows of a visitor are not independent.

        Returns
        -------
        EffectScale
            The line.
        """
        score = p_treatment - p_control
        effects = doubly_robust_effects(p_control, p_treatment, treatment, outcome)
        tenth = np.empty(len(score), dtype=np.intp)
        tenth[np.argsort(score, kind="stable")] = np.arange(len(score)) * TENTHS // len(score)
        fold = visitor % TRUST_FOLDS
        crossed = np.empty(len(score))
        for held_out in range(TRUST_FOLDS):
            rest = fold != held_out
            crossed[~rest] = _rising_means(tenth[rest], effects[rest])[tenth[~rest]]
        crossed -= crossed.mean()
        spread = float(crossed @ crossed)
        trust = float(np.clip(crossed @ (effects - effects.mean()) / spread, 0, 1)) if spread > 0 else 0.0
        rows = np.bincount(tenth, minlength=TENTHS)
        knots = np.bincount(tenth, score, TENTHS)[rows > 0] / rows[rows > 0]
        means = _rising_means(tenth, effects)[rows > 0]
        mean = float(effects.mean())
        drawn = mean + trust * (means - mean)
        return cls(tuple(map(float, knots)), tuple(map(float, drawn)), trust, float(treatment.mean()))

    def apply(self, p_control: Floats, p_treatment: Floats) -> Prediction:
        """Rescale the difference of two probabilities and keep their weighted mean, which is better known.

        Parameters
        ----------
        p_control, p_treatment : array of float
            Probabilities of a conversion as the two models say.

        Returns
        -------
        Prediction
            Probabilities from 0 to 1.
        """
        score = p_treatment - p_control
        effect = np.interp(score, self.knots, self.effects)
        overall = (1 - self.treated_share) * p_control + self.treated_share * p_treatment
        control = np.clip(overall - self.treated_share * effect, 0, 1)
        return Prediction(control, np.clip(control + effect, 0, 1), score)


class TLearner:
    """Two CatBoost models, one an arm, each calibrated; uplift is their difference on the scale of the effects.

    Also the response model, which knows no arms: the baseline that a T-learner must beat.

    References
    ----------
    Künzel, Sekhon, Bickel & Yu (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116(10).
    """

    def __init__(
        self,
        models: dict[str, CatBoostModel],
        calibrators: dict[str, Calibrator],
        scale: EffectScale,
        usual_rate: float,
    ) -> None:
        self.models, self.calibrators, self.scale, self.usual_rate = models, calibrators, scale, usual_rate

    def predict(self, inputs: "pd.DataFrame") -> Prediction:
        """Predict rows that were not trained on.

        Parameters
        ----------
        inputs : DataFrame
            Features.

        Returns
        -------
        Prediction
            One value a row.
        """
        return self.scale.apply(*(self._probability(arm, inputs) for arm in ARMS))

    def response(self, inputs: "pd.DataFrame") -> Floats:
        """Predict the probability of a conversion whatever the arm.

        Parameters
        ----------
        inputs : DataFrame
            Features.

        Returns
        -------
        array of float
            One probability a row.
        """
        return self._probability(RESPONSE, inputs)

    def save(self, folder: Path) -> None:
        """Write all that prediction needs.

        Parameters
        ----------
        folder : Path
            Where the files go: one CatBoost file a model and `uplift.json`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in self.models.items():
            model.save(folder / f"uplift_{name}.cbm")
        calibrators = {name: vars(calibrator) for name, calibrator in self.calibrators.items()}
        content = {"calibrators": calibrators, "scale": vars(self.scale), "usual_rate": self.usual_rate}
        write_json(folder / UPLIFT_FILE, content)

    def _probability(self, name: str, inputs: "pd.DataFrame") -> Floats:
        return self.calibrators[name].probability(self.models[name].margin(inputs))


@dataclass(frozen=True)
class Learned:
    """The T-learner, what it says of every row, and the scores of all learners on calibration and test rows.

    Training rows are predicted by models of the other folds. `scores` maps a learner to one score a row, NaN where it
    was not asked. `placebos` holds the test rows' arms and scores of T-learners whose arms were permuted.
    """

    t_learner: TLearner
    prediction: Prediction
    response: Floats
    scores: dict[str, Floats]
    placebos: list[tuple[Labels, Floats]]
    rival_rows: int


def fit_learners(experiment: Experiment, mart: Mart, config: Config, step: "Callable[[str], Any]") -> Learned:
    """Fit the T-learner, its rivals, the response baseline and the placebo.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms; each slice has conversions in both.
    mart : Mart
        Features.
    config : Config
        Settings.
    step : callable
        Returns a context manager that shows what is being done.

    Returns
    -------
    Learned
        Models and scores.
    """
    fitter = _Fitter(experiment, mart, config)
    arms = experiment.treatment
    with step("fitting the T-learner, cross-fitted by visitor, and the response baseline"):
        fits = [fitter.arm(experiment.treatment == arm) for arm in (0, 1)]
        response_model, response_calibrator = fitter.response()
        train = experiment.rows("train")
        crossed = [fit.crossed for fit in fits]
        scale = EffectScale.learn(
            crossed[0], crossed[1], arms[train], experiment.outcome[train], experiment.visitor[train]
        )
        controls = train[arms[train] == 0]
        t_learner = TLearner(
            models={name: fit.model for name, fit in zip(ARMS, fits, strict=True)} | {RESPONSE: response_model},
            calibrators={name: fit.calibrator for name, fit in zip(ARMS, fits, strict=True)}
            | {RESPONSE: response_calibrator},
            scale=scale,
            usual_rate=float(experiment.outcome[controls].mean()),
        )
    with step("scoring every row of the experiment"):
        prediction = t_learner.predict(experiment.inputs)
        for whole, part in zip(
            (prediction.p_control, prediction.p_treatment, prediction.score), vars(scale.apply(*crossed)).values(),
            strict=True,
        ):  # fmt: skip
            whole[train] = part
        response = t_learner.response(experiment.inputs)
    judged = np.concatenate([experiment.rows("calibration"), experiment.rows("test")])
    trees = round(float(np.mean([fit.trees for fit in fits])))
    scores = {T_LEARNER: prediction.score}
    used = fitter.rival_rows()
    for name in config.uplift.rivals:
        with step(f"fitting the {RIVALS[name].title}"), warnings.catch_warnings():
            # EconML warns of missing values, which CatBoost handles, and uses functions that scikit-learn will drop.
            for kind in (UserWarning, FutureWarning):
                warnings.simplefilter("ignore", kind)
            scores[name] = np.full(len(experiment), np.nan)
            scores[name][judged] = RIVALS[name].fit(fitter, used, trees)(judged)
    scores[RESPONSE] = response
    scores[RANDOM] = np.random.default_rng(config.seed).random(len(experiment))
    test = experiment.rows("test")
    placebos = []
    with step("placebo: the same with permuted arms"):
        for run in range(config.uplift.placebo_runs):
            permuted = permuted_arms(experiment, config.seed + run)
            control, treatment = (
                fit.calibrator.probability(
                    fitter.whole(permuted == arm, trees=fit.trees).margin(experiment.inputs.iloc[test])
                )
                for arm, fit in enumerate(fits)
            )
            placebos.append((permuted[test], treatment - control))
    return Learned(t_learner, prediction, response, scores, placebos, len(used))


def doubly_robust_effects(p_control: Floats, p_treatment: Floats, treatment: Labels, outcome: Labels) -> Floats:
    """Return each row's doubly robust score of the effect, whose mean estimates the average effect.

    mu1 - mu0 + T/e (Y - mu1) - (1-T)/(1-e) (Y - mu0), with e the share of treated rows (Robins, Rotnitzky & Zhao 1994).

    Parameters
    ----------
    p_control, p_treatment : array of float
        Predicted outcomes mu0 and mu1, from models that did not see the row.
    treatment, outcome : array of int
        T and Y, 0 or 1.

    Returns
    -------
    array of float
        One score a row.
    """
    share = treatment.mean()
    return np.asarray(
        p_treatment
        - p_control
        + np.where(treatment == 1, (outcome - p_treatment) / share, -(outcome - p_control) / (1 - share))
    )


def permuted_arms(experiment: Experiment, seed: int) -> Labels:
    """Deal the arms anew among the visitors, so that no effect is left.

    Parameters
    ----------
    experiment : Experiment
        Rows with their arms.
    seed : int
        Seed of the draw.

    Returns
    -------
    array of int
        One arm a row, one arm a visitor; -1 where there was none.
    """
    arm_of = np.full(int(experiment.visitor.max()) + 1, -1, dtype=np.int8)
    has_arm = experiment.treatment >= 0
    arm_of[experiment.visitor[has_arm]] = experiment.treatment[has_arm]
    visitors = np.flatnonzero(arm_of >= 0)
    arm_of[visitors] = np.random.default_rng(seed).permutation(arm_of[visitors])
    return np.where(has_arm, arm_of[experiment.visitor], -1).astype(np.int8)


def _rising_means(group: Rows, values: Floats) -> Floats:
    """Mean of the values in each tenth, made non-decreasing; a tenth without rows takes its neighbours' level."""
    from sklearn.isotonic import IsotonicRegression

    rows = np.bincount(group, minlength=TENTHS)
    known = np.flatnonzero(rows)
    means = np.bincount(group, values, TENTHS)[known] / rows[known]
    line = IsotonicRegression(out_of_bounds="clip").fit(known, means, sample_weight=rows[known])
    return np.asarray(line.predict(np.arange(TENTHS)))


@dataclass(frozen=True)
class _ArmFit:
    model: CatBoostModel
    calibrator: Calibrator
    margin: Floats  # of every training row, by models of the other folds
    trees: int

    @property
    def crossed(self) -> Floats:
        return self.calibrator.probability(self.margin)


class _Fitter:
    def __init__(self, experiment: Experiment, mart: Mart, config: Config) -> None:
        self.experiment, self.mart, self.config = experiment, mart, config
        self.settings: UpliftSettings = config.uplift
        self.train = experiment.rows("train")
        self.fold = experiment.visitor % self.settings.folds

    def arm(self, of_arm: npt.NDArray[np.bool_]) -> _ArmFit:
        model = self.whole(of_arm)
        trees = max(model.booster.tree_count_, FEWEST_TREES)
        margin = np.empty(len(self.train))
        fold = self.fold[self.train]
        for held_out in range(self.settings.folds):
            rows = self.train[(fold != held_out) & of_arm[self.train]]
            fitted = self._fit(rows, self.train[:0], self.settings.model_copy(update={"max_trees": trees}))
            margin[fold == held_out] = fitted.margin(self.experiment.inputs.iloc[self.train[fold == held_out]])
        own = of_arm[self.train]
        calibrator = fit_calibrator("platt", margin[own], self.experiment.outcome[self.train[own]])
        return _ArmFit(model, calibrator, margin, trees)

    def whole(self, of_arm: npt.NDArray[np.bool_], trees: int | None = None) -> CatBoostModel:
        rows = self.train[of_arm[self.train]]
        if trees is not None:
            return self._fit(rows, rows[:0], self.settings.model_copy(update={"max_trees": trees}))
        stop = self.experiment.rows("calibration")
        return self._fit(rows, stop[of_arm[stop]], self.settings)

    def response(self) -> tuple[CatBoostModel, Calibrator]:
        everyone = np.ones(len(self.experiment), dtype=bool)
        model = self.whole(everyone)
        rows = self.experiment.rows("calibration")
        margin = model.margin(self.experiment.inputs.iloc[rows])
        return model, fit_calibrator("platt", margin, self.experiment.outcome[rows])

    def rival_rows(self) -> Rows:
        if len(self.train) <= self.settings.rival_rows:
            return self.train
        rng = np.random.default_rng(self.config.seed)
        return np.sort(rng.choice(self.train, self.settings.rival_rows, replace=False))

    def matrix(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Numbers and category codes, as EconML takes them."""
        return np.column_stack(
            [
                column.cat.codes if column.dtype == "category" else column
                for _, column in self.experiment.inputs.iloc[rows].items()
            ]
        ).astype(np.float64)

    def base(self, trees: int, target: str) -> "CatBoostOnCodes":
        names = list(self.experiment.inputs.columns)
        return CatBoostOnCodes(
            target=target,
            categorical=[names.index(name) for name in self.experiment.categorical],
            trees=trees,
            learning_rate=self.settings.learning_rate,
            depth=self.settings.depth,
            l2_leaf_reg=self.settings.l2_leaf_reg,
            seed=self.config.seed,
            threads=self.config.threads,
        )

    def _fit(self, rows: Rows, stop: Rows, settings: UpliftSettings) -> CatBoostModel:
        inputs, outcome = self.experiment.inputs, self.experiment.outcome
        (chosen, weights), (stop, stop_weights) = (
            sample_negatives(part, outcome, self.settings.sampling, self.config.seed) for part in (rows, stop)
        )
        training = Training(
            inputs=inputs.iloc[chosen],
            label=outcome[chosen],
            weights=weights,
            stop_inputs=inputs.iloc[stop],
            stop_label=outcome[stop],
            mart=self.mart,
            seed=self.config.seed,
            threads=self.config.threads,
            stop_weights=stop_weights,
        )
        return CatBoostModel.fit(training, settings)


class CatBoostOnCodes(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """CatBoost as EconML wants its models: a matrix of numbers in, one number a row out.

    `target` is "probability" for a 0/1 outcome, of which the probability is predicted, or "value". The other
    parameters are CatBoost's; `categorical` gives the columns that hold category codes.
    """

    def __init__(
        self,
        target: str,
        categorical: Sequence[int],
        trees: int,
        learning_rate: float,
        depth: int,
        l2_leaf_reg: float,
        seed: int,
        threads: int,
    ) -> None:
        self.target, self.categorical, self.trees, self.learning_rate = target, categorical, trees, learning_rate
        self.depth, self.l2_leaf_reg, self.seed, self.threads = depth, l2_leaf_reg, seed, threads

    def fit(self, inputs: Floats, outcome: Floats) -> "CatBoostOnCodes":
        """Fit on rows of numbers and category codes."""
        from catboost import CatBoostClassifier, CatBoostRegressor

        kind = CatBoostClassifier if self.target == "probability" else CatBoostRegressor
        self.model_ = kind(
            iterations=self.trees,
            learning_rate=self.learning_rate,
            depth=self.depth,
            l2_leaf_reg=self.l2_leaf_reg,
            border_count=64,
            max_ctr_complexity=1,
            one_hot_max_size=32,
            random_seed=self.seed,
            thread_count=self.threads,
            allow_writing_files=False,
            logging_level="Silent",
        ).fit(self._pool(inputs, np.asarray(outcome).ravel()))
        return self

    def predict(self, inputs: Floats) -> Floats:
        """Predict a probability or a value a row."""
        if self.target == "probability":
            return np.asarray(self.model_.predict_proba(self._pool(inputs))[:, 1])
        return np.asarray(self.model_.predict(self._pool(inputs)))

    def _pool(self, inputs: Floats, outcome: Floats | None = None) -> Any:
        import pandas as pd
        from catboost import Pool

        frame = pd.DataFrame(inputs)
        for column in self.categorical:
            frame[column] = frame[column].astype(np.int32)
        return Pool(frame, outcome, cat_features=list(self.categorical))


def _fit_x_learner(fitter: _Fitter, rows: Rows, trees: int) -> "Callable[[Rows], Floats]":
    from econml.metalearners import XLearner
    from sklearn.dummy import DummyClassifier

    learner = XLearner(
        models=fitter.base(trees, "probability"),
        cate_models=fitter.base(trees, "value"),
        propensity_model=DummyClassifier(strategy="prior"),
        allow_missing=True,
    )
    experiment = fitter.experiment
    learner.fit(experiment.outcome[rows], experiment.treatment[rows], X=fitter.matrix(rows))
    return lambda asked: np.asarray(learner.effect(fitter.matrix(asked))).ravel()


def _fit_dr_learner(fitter: _Fitter, rows: Rows, trees: int) -> "Callable[[Rows], Floats]":
    from econml.dr import DRLearner
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import GroupKFold

    learner = DRLearner(
        model_propensity=DummyClassifier(strategy="prior"),
        model_regression=fitter.base(trees, "probability"),
        model_final=fitter.base(trees, "value"),
        cv=GroupKFold(fitter.settings.folds),
        random_state=fitter.config.seed,
        allow_missing=True,
    )
    experiment = fitter.experiment
    learner.fit(
        experiment.outcome[rows], experiment.treatment[rows], X=fitter.matrix(rows), groups=experiment.visitor[rows]
    )
    return lambda asked: np.asarray(learner.effect(fitter.matrix(asked))).ravel()


@dataclass(frozen=True)
class _Rival:
    title: str
    fit: "Callable[[_Fitter, Rows, int], Callable[[Rows], Floats]]"


# Künzel et al. (2019) and Kennedy (2023), with the same base models, by EconML.
RIVALS = {
    "x_learner": _Rival("X-learner", _fit_x_learner),
    "dr_learner": _Rival("DR-learner", _fit_dr_learner),
}

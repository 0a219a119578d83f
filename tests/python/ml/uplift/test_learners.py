"""The T-learner, its challengers and the placebo, on experiments whose effects are known."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.config import Config, load_config
from ml.data.features import Feature, Mart
from ml.experiment.experiment import SPLITS, Experiment, Truth
from ml.uplift.base_model import CatBoostOnCodes
from ml.uplift.cross_fitting import CrossFitter
from ml.uplift.curves import qini_coefficient
from ml.uplift.doubly_robust import doubly_robust_effects
from ml.uplift.effect_scale import EffectScale
from ml.uplift.learners import CONTROL, TREATMENT, Fits, fit_learners
from ml.uplift.names import RESPONSE
from ml.uplift.placebo import permuted_arms
from ml.uplift.scores import Scores, score_rows
from ml.uplift.truth import pehe
from uplift_worlds import World, make_world

NUMBERS = ("demand", "effect", "nothing")
MART = Mart((*(Feature(name, "x", "numeric", name) for name in NUMBERS), Feature("kind", "x", "categorical", "kind")),
            "outcome", ())  # fmt: skip


def config(**uplift: object) -> Config:
    whole = load_config(None, {}, {})
    return whole.model_copy(update={"uplift": whole.uplift.model_copy(update=uplift)})


class Silent:
    def step(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass(frozen=True)
class Learned:
    fits: Fits
    scores: Scores


def learn(experiment: Experiment, settings: Config) -> Learned:
    fits = fit_learners(experiment, MART, settings, Silent())
    return Learned(fits, score_rows(experiment, fits, settings.seed))


def experiment_of(world: World, seed: int = 0) -> Experiment:
    rng = np.random.default_rng(seed)
    inputs = pd.DataFrame(world.x.astype(np.float32), columns=list(NUMBERS))
    inputs.loc[rng.random(len(inputs)) < 0.05, "nothing"] = np.nan
    inputs["kind"] = pd.Categorical(rng.choice(["a", "b", "(none)"], len(inputs)))
    split_of = rng.choice([SPLITS.index(name) for name in ("train", "calibration", "test")],
                          int(world.visitor.max()) + 1, p=[0.5, 0.2, 0.3])  # fmt: skip
    return Experiment(
        inputs=inputs,
        categorical=("kind",),
        treatment=world.treatment,
        outcome=world.outcome,
        visitor=world.visitor,
        split=split_of[world.visitor].astype(np.int8),
        treated_share=0.5,
        truth=Truth(world.y0, world.y1, np.zeros(len(inputs), np.int8), ("all",), world.tau),
    )


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(6000, seed=3, effect=2.0)


@pytest.fixture(scope="module")
def learned(world: World) -> Learned:
    return learn(experiment_of(world), config())


def test_every_learner_ranks_better_than_chance_and_the_effects_have_the_right_size(
    world: World, learned: Learned
) -> None:
    experiment = experiment_of(world)
    test = experiment.rows("test")
    arms, scores, prediction = experiment.arms("test"), learned.scores.by_learner, learned.scores.prediction
    for name in ("t_learner", "x_learner", "dr_learner"):
        score = scores[name][test]
        assert np.corrcoef(score, world.tau[test])[0, 1] > 0.6
        assert qini_coefficient(score, arms) > qini_coefficient(scores["random"][test], arms) + 0.05
    uplift = prediction.uplift[test]
    assert pehe(uplift, world.tau[test]) < 0.8 * world.tau[test].std()
    top = np.argsort(-prediction.score[test])[: len(test) // 10]
    assert abs(uplift[top].mean() - world.tau[test][top].mean()) < 0.04
    assert abs(uplift.mean() - world.tau.mean()) < 0.02


def test_probabilities_are_probabilities_and_uplift_is_their_difference(learned: Learned) -> None:
    prediction = learned.scores.prediction
    for values in (prediction.p_control, prediction.p_treatment, learned.scores.response):
        assert ((values >= 0) & (values <= 1)).all()
    assert (prediction.uplift == prediction.p_treatment - prediction.p_control).all()
    assert np.isfinite(prediction.score).all()


def test_challengers_are_asked_about_calibration_and_test_rows_only(world: World, learned: Learned) -> None:
    experiment = experiment_of(world)
    train = experiment.rows("train")
    for name in ("x_learner", "dr_learner"):
        assert np.isnan(learned.scores.by_learner[name][train]).all()
        assert np.isfinite(np.delete(learned.scores.by_learner[name], train)).all()


def test_no_training_row_is_predicted_by_a_model_that_saw_its_visitor(world: World) -> None:
    # Trees as many whatever the outcomes are, so that nothing but the fitted rows can differ.
    settings = config(max_trees=10)
    experiment = experiment_of(world)
    folds = settings.uplift.folds
    for arm in (0, 1):
        before = CrossFitter(experiment, MART, settings).cross_fit(experiment.treatment == arm).log_odds
        changed = experiment.outcome.copy()
        own_fold = experiment.visitor % folds == 1
        changed[own_fold] = 1 - changed[own_fold]
        altered = Experiment(**(vars(experiment) | {"outcome": changed}))
        after = CrossFitter(altered, MART, settings).cross_fit(altered.treatment == arm).log_odds
        of_fold = own_fold[experiment.rows("train")]
        assert (before[of_fold] == after[of_fold]).all()
        assert (before[~of_fold] != after[~of_fold]).mean() > 0.9


def test_the_seed_and_the_data_decide_the_models(world: World, learned: Learned, tmp_path: Path) -> None:
    again = learn(experiment_of(world), config(challengers=[]))
    for name, fitted in (("first", learned), ("again", again)):
        fitted.fits.save(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == sorted(["uplift.json", *(f"uplift_{name}.cbm" for name in (CONTROL, TREATMENT, RESPONSE))])
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert (again.scores.prediction.uplift == learned.scores.prediction.uplift).all()


@pytest.mark.statistics
def test_doubly_robust_scores_average_to_the_effect_even_with_wrong_predictions() -> None:
    estimates = []
    for seed in range(60):
        world = make_world(800, seed=seed)
        wrong = np.random.default_rng(seed).random((2, len(world.tau)))
        scores = doubly_robust_effects(wrong[0], wrong[1], world.arms)
        share = world.treatment.mean()
        slow = [
            wrong[1][i] - wrong[0][i]
            + (world.outcome[i] - wrong[1][i]) * world.treatment[i] / share
            - (world.outcome[i] - wrong[0][i]) * (1 - world.treatment[i]) / (1 - share)
            for i in range(50)
        ]  # fmt: skip
        assert scores[:50] == pytest.approx(slow)
        estimates.append(scores.mean() - world.tau.mean())
    assert abs(np.mean(estimates)) < 3 * np.std(estimates) / np.sqrt(len(estimates))


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_the_scale_undoes_a_spread_that_is_too_wide(spread: float) -> None:
    world = make_world(40_000, seed=5, effect=1.5)
    score = world.tau.mean() + spread * (world.tau - world.tau.mean())
    p_control = np.full(len(score), 0.5)
    scale = EffectScale.learn(p_control, p_control + score, world.arms)
    predicted = scale.apply(p_control, p_control + score)
    assert pehe(predicted.uplift, world.tau) < 0.15 * world.tau.std()
    assert 0.9 < scale.shrinkage <= 1
    assert (np.diff(scale.effects) >= 0).all()


@pytest.mark.statistics
def test_effects_of_the_best_are_not_promised_too_high() -> None:
    promised, raw = [], []
    for seed in range(12):
        world = make_world(1500, seed=seed, effect=1.5)
        experiment = experiment_of(world, seed)
        prediction = learn(experiment, config(challengers=[])).scores.prediction
        test = experiment.rows("test")
        top = test[np.argsort(-prediction.score[test])[: len(test) // 10]]
        promised.append(prediction.uplift[top].mean() - world.tau[top].mean())
        raw.append(prediction.score[top].mean() - world.tau[top].mean())
    # Without the scale they would be, by far.
    assert np.mean(raw) > 5 * np.std(raw) / np.sqrt(len(raw))
    assert np.mean(promised) < 2 * np.std(promised) / np.sqrt(len(promised))


@pytest.mark.statistics
def test_where_nothing_works_the_effects_shrink_to_nothing() -> None:
    spreads, plain, shrinkages = [], [], []
    for seed in range(200):
        world = make_world(500, seed=seed, effect=0.0)
        score = np.random.default_rng(seed).normal(0, 0.1, int(world.visitor.max()) + 1)[world.visitor]
        half = np.full(len(score), 0.5)
        scale = EffectScale.learn(half, half + score, world.arms)
        effects = doubly_robust_effects(half, half + score, world.arms)
        decile = np.argsort(np.argsort(score)) * 10 // len(score)
        spreads.append(scale.effects[-1] - effects.mean())
        plain.append(effects[decile == 9].mean() - effects.mean())
        shrinkages.append(scale.shrinkage)
    assert np.mean(np.square(spreads)) < 0.5 * np.mean(np.square(plain))
    assert np.mean(np.array(shrinkages) == 0) > 0.6


def test_permuted_arms_keep_their_number_and_one_arm_a_visitor(world: World) -> None:
    experiment = experiment_of(world)
    arms = permuted_arms(experiment, seed=1)
    assert (arms != experiment.treatment).mean() > 0.4
    table = pd.DataFrame({"visitor": experiment.visitor, "old": experiment.treatment, "new": arms})
    assert (table.groupby("visitor")["new"].nunique() == 1).all()
    first = table.groupby("visitor").first()
    assert first["old"].sum() == first["new"].sum()


def test_the_x_learner_is_that_of_its_formula(world: World, learned: Learned) -> None:
    experiment = experiment_of(world)
    settings = config(challengers=["x_learner"])
    fitter = CrossFitter(experiment, MART, settings)
    train, test = experiment.rows("train"), experiment.rows("test")
    trees = [fitter.cross_fit(experiment.treatment == arm).trees for arm in (0, 1)]

    def base(target: str) -> CatBoostOnCodes:
        return fitter.base(round(float(np.mean(trees))), target)

    arm, outcome = experiment.treatment[train], experiment.outcome[train].astype(float)
    x = fitter.matrix(train)
    control = base("probability").fit(x[arm == 0], outcome[arm == 0])
    treated = base("probability").fit(x[arm == 1], outcome[arm == 1])
    on_treated = base("value").fit(x[arm == 1], outcome[arm == 1] - control.predict(x[arm == 1]))
    on_control = base("value").fit(x[arm == 0], treated.predict(x[arm == 0]) - outcome[arm == 0])
    asked = fitter.matrix(test)
    expected = arm.mean() * on_control.predict(asked) + (1 - arm.mean()) * on_treated.predict(asked)
    assert learned.scores.by_learner["x_learner"][test] == pytest.approx(expected, abs=1e-9)

"""The T-learner, the other candidates, the choice and the placebo, on experiments whose effects are known."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from catboost import CatBoost, CatBoostRegressor, Pool

from ml.arrays import Floats
from ml.config import Config, load_config
from ml.data.features import Feature, Mart
from ml.experiment.experiment import SPLITS, Experiment, Truth
from ml.publish.uplift_model import load_uplift, save_uplift, uplift_version
from ml.uplift.candidates import Candidate, Fitting, Ranking, fit_candidates
from ml.uplift.choice import choose, compare
from ml.uplift.cross_fitting import CrossFitter
from ml.uplift.curves import qini_coefficient
from ml.uplift.doubly_robust import doubly_robust_effects
from ml.uplift.effect_model import effect_features
from ml.uplift.effect_scale import EffectScale
from ml.uplift.evidence import Evidence
from ml.uplift.learners import Fits, fit_learners
from ml.uplift.mean import fit_mean
from ml.uplift.names import RESPONSE, TITLES
from ml.uplift.placebo import permuted_arms
from ml.uplift.profile import UP, contrast_of, explain_ranking, profile_of, strongest, words_of
from ml.uplift.ranks import percentile_ranks
from ml.uplift.scores import Scores, score_rows
from ml.uplift.stack import fit_stack
from ml.uplift.truth import pehe
from ml.uplift.uplift_model import CONTROL, TREATMENT
from uplift_worlds import World, make_world

NUMBERS = ("demand", "effect", "nothing")
MART = Mart((*(Feature(name, "x", "numeric", name) for name in NUMBERS), Feature("kind", "x", "categorical", "kind")),
            "outcome", ())  # fmt: skip

FITTING = Fitting(seed=42, threads=2, folds=3)


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
    for name in ("chosen", "t_learner", "s_learner", "x_learner", "dr_learner", "stack"):
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


def test_every_candidate_has_a_score_of_training_calibration_and_test_rows(world: World, learned: Learned) -> None:
    scores = learned.scores.by_learner
    assert set(scores) == {"chosen", *TITLES}
    assert all(np.isfinite(score).all() for score in scores.values())
    assert (scores["chosen"] == scores[learned.fits.chosen]).all()


def test_a_row_that_was_learnt_from_is_scored_by_models_of_other_folds(world: World) -> None:
    # Trees as many whatever the outcomes are, and predictions of the arms that stay, so that only fitted rows differ.
    settings = config(max_trees=10)
    experiment = experiment_of(world)
    learned = learn(experiment, settings).fits
    changed = replace(learned.evidence.arms, outcome=1 - learned.evidence.arms.outcome)
    own = learned.evidence.fold == 1
    outcome = np.where(own, changed.outcome, learned.evidence.arms.outcome)
    altered = replace(learned.evidence, arms=replace(changed, outcome=outcome))
    for name, candidate in fit_candidates(("s_learner", "dr_learner", "x_learner"), altered, FITTING).items():
        if name != "t_learner":
            before = learned.candidates[name].crossed
            assert (before[own] == candidate.crossed[own]).all()
            assert (before[~own] != candidate.crossed[~own]).mean() > 0.9


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


def test_catboost_fits_one_model_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, train = [0], [0], CatBoostRegressor._train

    def counted(*arguments: object) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.02)
        train(*arguments)
        running[0] -= 1

    monkeypatch.setattr(CatBoost, "_train", counted)
    with ThreadPoolExecutor(2) as pool:
        fitter = CrossFitter(experiment_of(world), MART, config(max_trees=2))
        list(pool.map(lambda arm: fitter.cross_fit(fitter.experiment.treatment == arm), (0, 1)))
    assert most == [1]


def test_the_seed_and_the_data_decide_the_models(world: World, learned: Learned, tmp_path: Path) -> None:
    again = learn(experiment_of(world), config())
    for name, fitted in (("first", learned), ("again", again)):
        fitted.fits.model.save(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    names = (CONTROL, TREATMENT, RESPONSE, *learned.fits.model.ranking.models)
    assert files == sorted(["uplift.json", *(f"uplift_{name}.cbm" for name in names)])
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
    effects = doubly_robust_effects(p_control, p_control + score, world.arms)
    scale = EffectScale.learn(score, effects, world.visitor, world.arms.treated_share)
    predicted = scale.apply(p_control, p_control + score, score)
    assert pehe(predicted.uplift, world.tau) < 0.15 * world.tau.std()
    assert 0.9 < scale.shrinkage <= 1
    assert (np.diff(scale.effects) >= 0).all()


@pytest.mark.statistics
def test_many_rows_tell_the_effects_of_few() -> None:
    """A segment of five in a hundred, of 60,000 rows, is not averaged with the rest of its tenth."""
    rng = np.random.default_rng(5)
    score, visitor = rng.random(60_000), np.arange(60_000, dtype=np.int32)
    effects = np.where(score > 0.95, 0.3, 0.0) + rng.normal(scale=0.3, size=60_000)
    scale = EffectScale.learn(score, effects, visitor, 0.5)
    half = np.full(60_000, 0.4)
    predicted = scale.apply(half, half, score).uplift
    assert predicted[score > 0.95].mean() == pytest.approx(0.3, abs=0.06)
    assert predicted[(score > 0.8) & (score < 0.9)].mean() == pytest.approx(0, abs=0.02)
    assert len(EffectScale.learn(score[:20_000], effects[:20_000], visitor[:20_000], 0.5).knots) == 10


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
        effects = doubly_robust_effects(half, half + score, world.arms)
        scale = EffectScale.learn(score, effects, world.visitor, world.arms.treated_share)
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
    evidence, test = learned.fits.evidence, experiment_of(world).rows("test")
    arm, outcome, x = evidence.arms.treatment, evidence.arms.outcome.astype(float), evidence.inputs

    def effect(of: int, target: Floats) -> Floats:
        own = arm == of
        booster = CatBoostRegressor(
            iterations=100, depth=2, learning_rate=0.1, l2_leaf_reg=10, border_count=64, one_hot_max_size=32,
            random_seed=42, thread_count=1, allow_writing_files=False, logging_level="Silent",
        )  # fmt: skip
        booster.fit(Pool(x[own], target[own], cat_features=["kind"]))
        return np.asarray(booster.predict(Pool(experiment_of(world).inputs.iloc[test], cat_features=["kind"])))

    on_control, on_treated = effect(0, evidence.p_treatment - outcome), effect(1, outcome - evidence.p_control)
    expected = arm.mean() * on_control + (1 - arm.mean()) * on_treated
    assert learned.scores.by_learner["x_learner"][test] == pytest.approx(expected, abs=1e-9)


def test_where_nothing_works_the_x_learner_knows_nothing_of_the_rows_that_judge_it() -> None:
    """What it learns from is made with predictions; some of these saw the outcomes of the fold that it is asked of."""
    gains = []
    for seed in (101, 102, 103):
        experiment = experiment_of(make_world(3000, seed=seed, effect=0.0))
        fits = learn(experiment, config(challengers=["x_learner"], placebo_runs=0)).fits
        kept, leaking = fits.evidence, replace(fits.evidence, other_arm=None)
        for evidence in (kept, leaking):
            found = fit_candidates(["x_learner"], evidence, FITTING)["x_learner"]
            gains.append(compare({"x_learner": found}, evidence)[0].gain)
    own, leaked = np.reshape(gains, (-1, 2)).mean(axis=0)
    assert own < 0.5 < leaked


def test_the_dr_learner_weighs_rows_by_the_variance_of_their_scores(learned: Learned) -> None:
    evidence = learned.fits.evidence
    share = evidence.arms.treatment.mean()
    overall = (1 - share) * evidence.p_control + share * evidence.p_treatment
    expected = 1 / (overall * (1 - overall) + 1e-3)
    assert evidence.weights == pytest.approx(expected / expected.mean())
    # Uneven chances of treatment: each row's own.
    uneven = replace(evidence, propensity=np.where(np.arange(len(evidence)) % 2, 0.2, 0.6))
    row = int(np.flatnonzero((uneven.arms.treatment == 1) & (uneven.propensity == 0.2))[0])
    p0, p1, y = uneven.p_control[row], uneven.p_treatment[row], uneven.arms.outcome[row]
    assert uneven.effects[row] == pytest.approx(p1 - p0 + (y - p1) / 0.2)


@pytest.mark.parametrize("name", ["response", "t_learner", "s_learner", "x_learner", "dr_learner", "stack", "mean"])
def test_whichever_candidate_is_chosen_the_saved_model_says_the_same(
    world: World, learned: Learned, tmp_path: Path, name: str
) -> None:
    experiment = experiment_of(world)
    comparison = [replace(entry, is_chosen=entry.learner == name) for entry in learned.fits.comparison]
    fits = replace(learned.fits, comparison=comparison)
    scores = score_rows(experiment, fits, 0)
    sessions = pa.chunked_array([pa.array([f"s{row}" for row in range(len(experiment))])])
    hashes = save_uplift(tmp_path, fits, MART, experiment, scores, names=sessions)
    saved = load_uplift(tmp_path, MART, 2)
    prediction, response = saved.predict(experiment.inputs, sessions)
    for field, values in vars(scores.prediction).items():
        assert (getattr(prediction, field) == values).all()
    test = experiment.rows("test")
    assert (prediction.score[test] == scores.by_learner[name][test]).all()
    assert (response == scores.response).all()
    ties = np.zeros(len(experiment))
    assert saved.percentiles("chosen", prediction.score, ties) == pytest.approx(
        percentile_ranks(prediction.score[experiment.rows("calibration")], prediction.score, ties)
    )
    assert uplift_version(name, hashes).startswith(name)


def made_up_evidence(visitors: int, seed: int, effect: float = 1.0) -> tuple[World, Evidence]:
    """Rows whose outcomes in either arm are known, so that a candidate is nothing but its score."""
    world = make_world(visitors, seed=seed, effect=effect)
    everywhere = np.ones(len(world.tau), dtype=bool)
    evidence = Evidence(
        inputs=pd.DataFrame(world.x.astype(np.float32), columns=list(NUMBERS)),
        rows=np.arange(len(world.tau)),
        chosen=everywhere,
        fold=(world.visitor % 3).astype(np.int8),
        arms=world.arms,
        p_control=world.p0,
        p_treatment=world.p0 + world.tau,
        response=world.p0,
        propensity=None,
    )
    return world, evidence


def candidate(name: str, score: Floats) -> Candidate:
    return Candidate(Ranking(name, {name: 1.0}, {}), score)


def test_the_simplest_that_is_not_shown_to_be_worse_is_chosen() -> None:
    world, evidence = made_up_evidence(20_000, 1, effect=2.0)
    noise = np.random.default_rng(1).normal(size=len(world.tau))
    scores = {"response": world.p0, "t_learner": world.tau + 0.2 * noise, "x_learner": world.tau,
              "stack": 3 * world.tau + 1}  # fmt: skip
    found = {entry.learner: entry for entry in choose({n: candidate(n, s) for n, s in scores.items()}, evidence)}
    # The stack says what the X-learner says, on another scale; the others know less.
    assert [name for name, entry in found.items() if entry.is_chosen] == ["x_learner"]
    assert found["stack"].gain == pytest.approx(found["x_learner"].gain)
    for name in ("response", "t_learner"):
        assert found[name].behind_best > found[name].behind_best_se
        assert found[name].reason.startswith("worse than the best by more than one standard error")
    assert [entry.simplicity for entry in found.values()] == [1, 3, 5, 6]
    # What a ranking explains of the effect, in squared points: its variance, where rows weigh the same.
    flat = replace(evidence, p_control=np.full(len(noise), 0.5), p_treatment=np.full(len(noise), 0.5))
    whole = choose({"x_learner": candidate("x_learner", world.tau)}, flat)[0]
    assert whole.gain == pytest.approx(1e4 * world.tau.var(), abs=3 * whole.gain_se)


def test_scores_that_fall_where_effects_rise_are_not_chosen_however_simple_they_are() -> None:
    world, evidence = made_up_evidence(800, 3)
    noise = np.random.default_rng(3).normal(size=len(world.tau))
    found = choose({"response": candidate("response", -world.tau + 0.01 * noise),
                    "dr_learner": candidate("dr_learner", world.tau + 0.3 * noise[::-1])}, evidence)  # fmt: skip
    assert found[0].behind_best <= found[0].behind_best_se
    assert [entry.is_chosen for entry in found] == [False, True]
    assert found[0].reason == "its scores do not rise with the effects"
    # Where nobody's scores do, the best is chosen, whatever it is worth.
    assert choose({"response": candidate("response", -world.tau)}, evidence)[0].is_chosen


def test_what_is_a_little_behind_the_best_is_chosen_where_it_is_simpler() -> None:
    behind = []
    for seed in range(12):
        world, evidence = made_up_evidence(800, seed)
        blurred = world.tau + 0.01 * np.random.default_rng(seed).normal(size=len(world.tau))
        simple, other = choose({"t_learner": candidate("t_learner", blurred),
                                "x_learner": candidate("x_learner", world.tau)}, evidence)  # fmt: skip
        assert simple.is_chosen == (simple.behind_best <= simple.behind_best_se) != other.is_chosen
        behind.append((simple.is_chosen, simple.behind_best > 0))
    assert {(True, True), (False, True)} <= set(behind)


def test_the_mean_is_of_those_that_may_be_the_best() -> None:
    world, evidence = made_up_evidence(20_000, 1, effect=2.0)
    first, second = np.random.default_rng(1).normal(scale=0.02, size=(2, len(world.tau)))
    scores = {"response": -world.tau, "s_learner": world.tau + first, "x_learner": 4 * (world.tau + second),
              "t_learner": world.p0, "stack": world.tau}  # fmt: skip
    candidates = {name: candidate(name, score) for name, score in scores.items()}
    mean = fit_mean(candidates, evidence)
    assert mean is not None
    assert mean.members == ("s_learner", "x_learner")
    # Each on the scale of the effects, so that neither outweighs the other.
    weights = mean.candidate.ranking.weights
    assert weights["s_learner"] == pytest.approx(4 * weights["x_learner"], rel=0.2)
    assert mean.candidate.crossed == pytest.approx(mean.candidate.ranking.score(scores))
    found = {e.learner: e for e in choose(candidates | {"mean": mean.candidate}, evidence, mean.members)}
    assert [name for name, entry in found.items() if entry.is_chosen] == ["mean"]
    assert found["mean"].gain > max(found["s_learner"].gain, found["x_learner"].gain)
    assert found["mean"].reason == "the mean of those that may be the best: S-learner, X-learner"
    assert [found[name].reason for name in ("response", "s_learner", "t_learner", "stack")] == [
        "its scores do not rise with the effects", "has a part in the mean",
        "worse than the best by more than two standard errors", "a mixture itself"]  # fmt: skip
    assert all(len(entry.reason) <= 128 for entry in found.values())
    # One that is clearly the best has no equals.
    assert fit_mean({name: candidates[name] for name in ("response", "s_learner", "t_learner")}, evidence) is None


@pytest.mark.statistics
def test_standard_errors_of_the_choice_are_those_of_repeated_worlds() -> None:
    gains, errors = [], []
    for seed in range(150):
        world, evidence = made_up_evidence(800, seed)
        first, second = choose({"response": candidate("response", world.p0),
                                "t_learner": candidate("t_learner", world.tau)}, evidence)  # fmt: skip
        gains.append([second.gain, second.gain - first.gain])
        errors.append([second.gain_se, max(first.behind_best_se, second.behind_best_se)])
    ratio = np.sqrt(np.mean(np.square(errors), axis=0)) / np.std(gains, axis=0)
    assert (ratio > 0.8).all(), ratio
    assert (ratio < 1.25).all(), ratio


def test_the_stack_finds_the_mixture_and_gives_no_candidate_a_weight_below_0() -> None:
    world, evidence = made_up_evidence(20_000, 2, effect=2.0)
    own, other = world.tau - world.tau.mean(), world.p0 - world.p0.mean()
    candidates = {"s_learner": candidate("s_learner", 0.5 * own + other), "x_learner": candidate("x_learner", -other),
                  "response": candidate("response", -own)}  # fmt: skip
    stack = fit_stack(candidates, evidence, 3)
    assert stack is not None
    assert set(stack.ranking.weights) == {"s_learner", "x_learner"}
    assert np.corrcoef(stack.crossed, world.tau)[0, 1] > 0.98
    assert stack.ranking.weights["s_learner"] == pytest.approx(2, abs=0.4)
    assert fit_stack({"response": candidate("response", -own)}, evidence, 3) is None


def test_a_category_of_many_levels_teaches_no_effects() -> None:
    inputs = pd.DataFrame({"number": np.zeros(40), "few": pd.Categorical(["a", "b"] * 20),
                           "many": pd.Categorical([f"{i}" for i in range(40)])})  # fmt: skip
    assert effect_features(inputs) == ["number", "few"]
    assert effect_features(inputs[["many"]]) == ["many"]


@pytest.mark.parametrize("name", ["x_learner", "dr_learner", "s_learner", "t_learner", "stack"])
def test_the_profile_says_which_feature_moves_the_effect(world: World, learned: Learned, name: str) -> None:
    comparison = [replace(entry, is_chosen=entry.learner == name) for entry in learned.fits.comparison]
    fits, experiment = replace(learned.fits, comparison=comparison), experiment_of(world)
    scores = score_rows(experiment, fits, 42)
    profile = profile_of(experiment, fits, scores, MART, most_rows=2000, seed=42, threads=2)
    first = profile[0]
    assert [entry.feature for entry in strongest(profile, 1)] == ["effect"]
    assert (first.feature, first.difference_rank, first.shap_rank) == ("effect", 1, 1)
    assert first.direction == UP
    assert first.words == f"effect: {first.top_mean:.3g} on average in the top tenth, {first.rest_mean:.3g} in the rest"
    is_top = scores.percentiles["chosen"][experiment.rows("test")] >= 0.9
    values = experiment.inputs["effect"].to_numpy()[experiment.rows("test")].astype(float)
    assert first.difference == pytest.approx((values[is_top].mean() - values[~is_top].mean()) / values.std())
    assert (first.n_top, first.n_rest) == (is_top.sum(), (~is_top).sum())
    assert first.fidelity == 1 if name in ("x_learner", "dr_learner") else 0.7 < first.fidelity <= 1


@pytest.mark.parametrize("name", ["x_learner", "dr_learner"])
def test_contributions_add_up_to_the_score(world: World, learned: Learned, name: str) -> None:
    inputs = experiment_of(world).inputs.iloc[:500]
    ranking = learned.fits.candidates[name].ranking
    said = explain_ranking(ranking, inputs, 1.0).values.sum(axis=1)
    score = ranking.score({part: model.effect(inputs) for part, model in ranking.models.items()})
    assert np.ptp(score - said) < 1e-9
    assert np.ptp(score) > 0.01


@pytest.mark.parametrize(
    ("feature", "values", "words"),
    [
        (Feature("f", "x", "numeric", "f", short="carts"), [1200.0, 1600, 3, 5],
         "carts: 1,400 on average in the top tenth, 4 in the rest"),
        (Feature("f", "x", "numeric", "f", is_flag=True, short="cart so far"), [1.0, 1, 0, 1],
         "cart so far: 100 % in the top tenth, 50 % in the rest"),
        (Feature("f", "x", "numeric", "f", short="days since last cart"), [2.0, 3, np.nan, np.nan],
         "days since last cart known: 100 % in the top tenth, 0.0 % in the rest"),
        (Feature("f", "x", "categorical", "f"), ["(none)", "a", "b", "b"],
         "f b: 0.0 % in the top tenth, 100 % in the rest"),
        (Feature("f", "x", "categorical", "f"), ["(none)", "(none)", "b", "c"],
         "f not known: 100 % in the top tenth, 0.0 % in the rest"),
    ],
)  # fmt: skip
def test_contrasts_in_words(feature: Feature, values: list[object], words: str) -> None:
    column = pd.Series(values)
    if feature.kind == "categorical":
        column = pd.Series(pd.Categorical(values))
    assert words_of(feature, contrast_of(feature, column, np.array([True, True, False, False]))) == words

"""Training rows value a policy as honestly as test rows do, if models of other folds scored them, and only then."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.tree import DecisionTreeRegressor

from ml.bootstrap import Bootstrap
from ml.config import PolicySettings, load_config
from ml.experiment.arms import Arms
from ml.policy.estimates import Scored
from ml.policy.projection import Projection
from ml.policy.values import value_policies
from ml.uplift.ranks import percentile_ranks
from uplift_worlds import World, make_world

Floats = npt.NDArray[np.float64]
# So many worlds that the share covered has a standard error of one point. Fewer show what rows that the models learnt
# from would say: that is far off.
WORLDS, NULL_WORLDS, FLATTERED, FOLDS = 600, 200, 60, 5
TRAIN, CALIBRATION, TEST = 900, 600, 700
SETTINGS = PolicySettings.model_validate(
    load_config(environment={}).policy.model_dump()
    | {"bootstrap_resamples": 200, "sensitivity": [1.0], "share_step": 1, "cost": 1.0, "cost_per": "contact"}
)
pytestmark = pytest.mark.statistics


@dataclass(frozen=True)
class Model:
    """A T-learner of two small trees."""

    control: DecisionTreeRegressor
    treated: DecisionTreeRegressor

    @classmethod
    def fit(cls, world: World, rows: npt.NDArray[np.bool_]) -> "Model":
        arms = [rows & (world.treatment == arm) for arm in (0, 1)]
        trees = [DecisionTreeRegressor(min_samples_leaf=25, random_state=0) for _ in arms]
        return cls(*(tree.fit(world.x[own], world.outcome[own]) for tree, own in zip(trees, arms, strict=True)))

    def predict(self, x: Floats) -> tuple[Floats, Floats]:
        return self.control.predict(x), self.treated.predict(x)


@dataclass(frozen=True)
class Found:
    """What a world's chosen plan is said to earn: by cross-fitted training rows, and by rows that the models learnt."""

    truth: float
    honest: Projection | None
    flattered: Projection | None


def predictions(world: World, models: list[Model], fold: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    found = np.zeros((2, len(world.visitor)))
    for at, model in enumerate(models):
        found[:, fold == at] = model.predict(world.x[fold == at])
    return found[0], found[1]


def scored(worlds: list[World], predicted: list[tuple[Floats, Floats]], reference: tuple[Floats, Floats]) -> Scored:
    p0, p1 = (np.concatenate([each[arm] for each in predicted]) for arm in (0, 1))
    first = np.cumsum([0, *(int(world.visitor.max()) + 1 for world in worlds)])
    visitor = np.concatenate([world.visitor + start for world, start in zip(worlds, first[:-1], strict=True)])
    treatment, outcome = (
        np.concatenate([getattr(world, name) for world in worlds]) for name in ("treatment", "outcome")
    )
    ties = np.random.default_rng(0).random(len(p0))
    ranks = {
        "uplift": percentile_ranks(reference[1] - reference[0], p1 - p0, ties),
        "response": percentile_ranks(reference[0], p0, ties),
    }
    return Scored(Arms(treatment, outcome, visitor.astype(np.int32)), p0, p1, ranks, np.full(len(p0), 50.0))


def chosen_plan(calibration: Scored, valued: Scored) -> tuple[int, Projection | None]:
    bootstrap = Bootstrap(SETTINGS.bootstrap_resamples, 0.95, seed=3)
    found = value_policies(calibration, valued, SETTINGS, 1.0, bootstrap)
    share = found.chosen["uplift"]
    own = (each for each in found.projections if (each.strategy, each.share_percent) == ("uplift", share))
    return share, next(own, None)


def run(seed: int, effect: float, population: World) -> Found:
    """Learn, choose the share, value the plan both ways, and say what its rule truly earns."""
    train, calibration, test = (
        make_world(visitors, 3 * seed + at, effect) for at, visitors in enumerate((TRAIN, CALIBRATION, TEST))
    )
    fold = train.visitor.astype(np.int64) % FOLDS
    model = Model.fit(train, np.ones(len(fold), dtype=bool))
    crossed = predictions(train, [Model.fit(train, fold != at) for at in range(FOLDS)], fold)
    reference, unseen = model.predict(calibration.x), model.predict(test.x)
    planned = scored([calibration], [reference], reference)
    share, honest = chosen_plan(planned, scored([train, test], [crossed, unseen], reference))
    flattered = None
    if seed < FLATTERED:
        _, flattered = chosen_plan(planned, scored([train, test], [model.predict(train.x), unseen], reference))
    p0, p1 = model.predict(population.x)
    rank = percentile_ranks(reference[1] - reference[0], p1 - p0, np.random.default_rng(1).random(len(p0)))
    gain = 50.0 * population.tau - SETTINGS.cost
    return Found(float((gain * (rank >= 1 - share / 100)).mean()), honest, flattered)


@pytest.fixture(scope="module", autouse=True)
def same_resamples() -> Iterator[None]:
    # The weights of the visitors know nothing of the data: drawn once they serve all worlds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bootstrap, "weights", cache(Bootstrap.weights))
        yield


def worlds(effect: float, count: int) -> list[Found]:
    population = make_world(20_000, 987_654_321, effect)
    return [run(seed, effect, population) for seed in range(count)]


def test_intervals_on_training_and_test_rows_cover_the_truth() -> None:
    found = [each for each in worlds(1.0, WORLDS) if each.honest is not None]
    assert len(found) > 0.95 * WORLDS

    def covered(plans: list[Projection | None]) -> float:
        pairs = [(plan, each.truth) for plan, each in zip(plans, found, strict=True) if plan is not None]
        return float(np.mean([plan.profit_ci_lower <= truth <= plan.profit_ci_upper for plan, truth in pairs]))

    assert 0.92 <= covered([each.honest for each in found]) <= 0.98
    # Rows that the models learnt from show what was learnt, luck included.
    assert covered([each.flattered for each in found]) < 0.6


def test_without_any_effect_hardly_ever_is_the_plan_said_to_earn() -> None:
    found = worlds(0.0, NULL_WORLDS)

    def said(plans: list[Projection | None]) -> float:
        return float(np.mean([plan is not None and plan.profit_ci_lower > 0 for plan in plans]))

    assert said([each.honest for each in found]) <= 0.05
    assert said([each.flattered for each in found[:FLATTERED]]) > 0.3

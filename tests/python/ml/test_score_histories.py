"""Predictions are those of the mart after any order of arrivals, builds, trainings and scorings."""

import os
import shutil
from functools import cache
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from compiled import CATALOG, parsed_project, run_dbt
from history import FIRST_LOAD, History
from ml import score, train
from ml.cli import Progress
from reference import Event
from training import QUICK, Place, copy_of, quick_settings
from worlds import MINUTE_MS, shop_events

PREDICTED, SCORES = "conversion_predictions", "uplift_scores"
# Several times as many with FUNNELIFT_EXAMPLES=20, say.
EXAMPLES = int(os.environ.get("FUNNELIFT_EXAMPLES", "2"))


def build(place: Place, *arguments: str) -> None:
    """A whole build without what only shows tables."""
    # The parsed project names the warehouse so; in a copy of the folder the two names are two files.
    database = place.folder / f"{CATALOG}.duckdb"
    database.unlink(missing_ok=True)
    database.hardlink_to(place.folder / "warehouse.duckdb")
    outcome = run_dbt(
        *("run", "--exclude", "config.materialized:view", *arguments),
        database=database,
        manifest=parsed_project().deepcopy(),
        full_build_share=1,
    )
    assert outcome.success, outcome.errors


@cache
def trained_shop() -> tuple[Place, History, list[Event]]:
    """A shop that was built and trained on, and what has not arrived yet."""
    place = Place(Path(mkdtemp(prefix="histories-")))
    quick_settings(place.folder)
    parsed_project().writable_manifest().write(str(place.folder / "manifest.json"))
    history = History(place.folder / "warehouse.duckdb")
    random = Random(3)
    events = shop_events(random)
    late = set(random.sample(events, len(events) // 20))
    start = [event for event in events[: len(events) * 4 // 5] if event not in late]
    history.load("raw_events", Event._fields, start, FIRST_LOAD)
    build(place)
    train.train(place.config(), Progress())
    return place, history, [event for event in events if event not in set(start)]


class Scorings(RuleBasedStateMachine):
    """Events arrive late, go again, are built, trained on and scored, in any order."""

    def __init__(self) -> None:
        super().__init__()
        shop, history, left = trained_shop()
        self.place = copy_of(shop, Path(mkdtemp(prefix="scorings-")) / "shop")
        self.history = History(self.place.folder / "warehouse.duckdb", history.loads, list(history.standing))
        self.left = list(left)

    @initialize(seed=st.integers(0, 1000))
    def open_shop(self, seed: int) -> None:
        self.random = Random(seed)
        self.random.shuffle(self.left)
        self.arrive(0.3)
        self.build_and_score(anew=False)

    @rule(share=st.sampled_from([0.05, 0.3]))
    def arrive(self, share: float) -> None:
        count = max(1, int(len(self.left) * share))
        taken, self.left = self.left[:count], self.left[count:]
        # One more event of old sessions, which moves their start and with it their names.
        taken += [event._replace(timestamp=event.timestamp - MINUTE_MS, event="view") for event in taken[:5]]
        if taken:
            self.history.load("raw_events", Event._fields, taken, FIRST_LOAD)

    @rule()
    def withdraw(self) -> None:
        if len(self.history.standing) > 1:
            self.history.withdraw(self.random.choice(self.history.standing[1:]))

    @rule(anew=st.sampled_from([False, False, True]))
    def build_and_score(self, anew: bool) -> None:
        build(self.place, *(["--full-refresh"] if anew else []))
        score.score(self.place.config(), Progress())
        self.assert_predictions_are_the_marts()

    @rule()
    def build_alone(self) -> None:
        build(self.place)

    @rule(only=st.sampled_from([None, "conversion"]))
    def train(self, only: str | None) -> None:
        train.train(self.place.config(), Progress(), only=only, force=True)
        score.score(self.place.config(), Progress())
        self.assert_predictions_are_the_marts()

    def teardown(self) -> None:
        if hasattr(self, "random"):
            self.build_and_score(anew=False)
            self.assert_a_scoring_from_nothing_gives_the_same()
        shutil.rmtree(self.place.folder.parent)

    def assert_predictions_are_the_marts(self) -> None:
        mart = self._rows("session_features")
        predictions, scores = self._rows(PREDICTED), self._rows(SCORES)
        assert predictions.keys() == mart.keys()
        assert scores.keys() == {key for key in mart if key[1] == QUICK["experiment"]["decision_point"]}
        for key, row in predictions.items():
            label = mart[key]["has_transaction"] if mart[key]["is_mature"] else None
            assert (row["is_mature"], row["has_transaction"]) == (mart[key]["is_mature"], label)
            assert row["visitor_id"] == mart[key]["visitor_id"]
        assert len({row["run_id"] for row in predictions.values()}) == 1
        assert "Nothing to score" in score.score(self.place.config(), Progress())[0]
        assert (self._rows(PREDICTED), self._rows(SCORES)) == (predictions, scores)

    def assert_a_scoring_from_nothing_gives_the_same(self) -> None:
        anew = copy_of(self.place, self.place.folder.parent / "anew")
        for table in (PREDICTED, SCORES):
            # A table without a row would not say by which model it is.
            anew.execute(f"delete from funnelift.{table} where rowid > (select min(rowid) from funnelift.{table})")
        anew.execute("update funnelift.score_runs set build_number = -1")
        score.score(anew.config(), Progress())
        for table, columns in ((PREDICTED, ("probability", "is_mature")), (SCORES, ("score",))):
            before, after = self._rows(table), self._rows(table, anew)
            assert before.keys() == after.keys()
            for key, row in before.items():
                # Models of other folds have scored the rows of the training.
                if row["dataset_split"] != "train":
                    assert [row[name] for name in columns] == [after[key][name] for name in columns]

    def _rows(self, table: str, place: Place | None = None) -> dict[tuple[str, str], dict[str, Any]]:
        rows = (place or self.place).rows(f"select * from funnelift.{table}")
        return {(row["session_id"], row["decision_point"]): row for row in rows}


@pytest.mark.end_to_end
def test_predictions_are_those_of_the_mart_after_any_history() -> None:
    run_state_machine_as_test(
        Scorings,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=3, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

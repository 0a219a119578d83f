"""The uplift and policy parts of `ml.train` on a real warehouse: tables that can be checked by hand, parts, gates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from assignments import give_assignments, table
from contracts import PUBLISHED
from ml import train
from ml.cli import Progress
from training import QUICK, UPLIFT, Place, copy_of, train_shop
from warehouse.errors import FunneliftError

pytestmark = pytest.mark.end_to_end

MONEY = ("roi_projection", "roi_sensitivity", "roi_gains", "experiment_plan", "ab_test_simulation")
DEAR = "shoppers of dear items"
SEGMENTS = [
    {"name": DEAR, "when": {"item_price": [22_000, None]}, "adds": 0.3, "removes": 0.0},
    {"name": "weekend shoppers who react badly", "when": {"is_weekend": [1, 1]}, "adds": 0.0, "removes": 0.5},
]
SETTINGS = QUICK | {"experiment": QUICK["experiment"] | {"simulation": {"segments": SEGMENTS}}}
STAMP = ["run_id", "model_version", "scored_at"]


def unstamped(place: Place, name: str) -> pd.DataFrame:
    rows = table(place, name).drop(columns=STAMP)
    return rows.sort_values(list(PUBLISHED[name].grain)).reset_index(drop=True)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return train_shop(tmp_path_factory.mktemp("uplift"), 6000, 47, 0.05, SETTINGS)


@pytest.fixture
def copy(simulated: Place, tmp_path: Path) -> Place:
    return copy_of(simulated, tmp_path / "copy")


def test_one_score_for_every_session_at_the_decision_point(simulated: Place) -> None:
    scores, features = table(simulated, "uplift_scores"), table(simulated, "session_features")
    landing = features[features["decision_point"] == "landing"]
    assert set(scores["session_id"]) == set(landing["session_id"])
    assert len(scores) == len(landing)
    assert (scores["uplift"] == scores["p_treatment"] - scores["p_control"]).all()
    assert scores[["p_control", "p_treatment", "response_probability"]].min().min() >= 0
    assert scores[["p_control", "p_treatment", "response_probability"]].max().max() <= 1
    assert (scores["decile"] == np.minimum(np.ceil((1 - scores["uplift_percentile"]) * 10), 10).clip(1)).mean() > 0.999
    assert scores["is_simulated"].all()
    assert (scores.groupby("visitor_id")["treatment"].nunique() == 1).all()
    mature = scores["dataset_split"] != "open"
    assert (scores.loc[mature, "outcome"].notna()).all()
    assert (scores.loc[~mature, "outcome"].isna()).all()
    # Ranks are against the calibration split, so there they are spread evenly.
    calibration = scores.loc[scores["dataset_split"] == "calibration", "uplift_percentile"]
    assert np.sort(calibration) == pytest.approx((np.arange(len(calibration)) + 0.5) / len(calibration), abs=0.01)


def test_the_simulation_changes_outcomes_as_the_settings_say_and_only_of_the_treated(simulated: Place) -> None:
    scores = table(simulated, "uplift_scores").merge(
        table(simulated, "session_features"), on=["session_id", "decision_point"], suffixes=("", "_of_mart")
    )
    scores = scores[scores["dataset_split"] != "open"]
    untouched = scores[(scores["treatment"] == 0) | scores["segment"].isna()]
    assert (untouched["outcome"] == untouched["has_transaction"]).all()
    dear = scores[scores["segment"] == DEAR]
    left = dear[(dear["treatment"] == 1) & (dear["has_transaction"] == 0)]
    assert left["outcome"].mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / len(left)))
    assert (dear.loc[dear["has_transaction"] == 1, "outcome"] == 1).all()


def test_the_decile_table_is_what_anyone_gets_from_the_scores(simulated: Place) -> None:
    scores = table(simulated, "uplift_scores")
    test = scores[scores["dataset_split"] == "test"]
    for row in table(simulated, "uplift_deciles").itertuples():
        part = test[test["decile"] == row.decile]
        treated, control = part[part["treatment"] == 1], part[part["treatment"] == 0]
        assert (row.n_treatment, row.n_control) == (len(treated), len(control))
        assert (row.conversions_treatment, row.conversions_control) == (treated.outcome.sum(), control.outcome.sum())
        assert row.predicted_uplift == pytest.approx(part["uplift"].mean())
        assert row.observed_uplift == pytest.approx(treated["outcome"].mean() - control["outcome"].mean())
        assert row.ci_lower <= row.observed_uplift <= row.ci_upper
        assert row.true_uplift == pytest.approx(part["true_effect"].mean())


def test_the_money_is_what_anyone_gets_from_the_scores(simulated: Place) -> None:
    settings = simulated.config().policy
    scores, runs = table(simulated, "uplift_scores"), table(simulated, "uplift_runs").iloc[-1]
    # All rows but those that chose the share; training rows are scored by models of other folds.
    valued = scores[scores["dataset_split"].isin(["train", "test"])]
    assert valued["dataset_split"].nunique() == 2
    per_row = runs["sessions_per_day"] * settings.horizon_days / len(valued)
    arm, y = valued["treatment"], valued["outcome"]
    share = arm.mean()
    treated = valued["p_treatment"] + np.where(arm == 1, (y - valued["p_treatment"]) / share, 0)
    control = valued["p_control"] + np.where(arm == 0, (y - valued["p_control"]) / (1 - share), 0)
    projections = table(simulated, "roi_projection").set_index(["strategy", "share_percent"])
    assert len(projections) == 300
    for strategy in ("uplift", "response"):
        for percent in (1, 10, 37, 100):
            row = projections.loc[(strategy, percent)]
            targeted = valued[f"{strategy}_percentile"] >= 1 - percent / 100
            gained = (treated - control)[targeted].sum() * per_row
            cost = settings.cost * treated[targeted].sum() * per_row
            assert (row["n_rows"], row["n_targeted"]) == (len(valued), targeted.sum())
            assert row["incremental_conversions"] == pytest.approx(gained)
            assert row["cost"] == pytest.approx(cost)
            assert row["profit"] == pytest.approx(settings.revenue_per_conversion * gained - cost)
            if cost > 0:
                assert row["roi"] == pytest.approx(settings.revenue_per_conversion * gained / cost - 1)
            else:
                assert np.isnan(row["roi"])
            assert row["profit_ci_lower"] <= row["profit"] <= row["profit_ci_upper"]
    everybody = projections.xs(100, level="share_percent")["profit"]
    assert everybody.nunique() == 1
    chosen = projections[projections["is_chosen"] == 1].reset_index()
    in_run = runs["chosen_share_percent"]
    assert_treats_the_chosen_share(simulated)
    assert in_run == 0 or in_run == chosen.loc[chosen["strategy"] == "uplift", "share_percent"].item()


def assert_treats_the_chosen_share(place: Place) -> None:
    scores = table(place, "uplift_scores")
    share = table(place, "uplift_runs").sort_values("finished_at")["chosen_share_percent"].iloc[-1]
    assert (scores["treat"] == (scores["uplift_percentile"] >= (100 - share) / 100)).all()


def test_the_policy_part_alone_gives_the_same_money_and_other_costs_other_money(copy: Place) -> None:
    before = {name: unstamped(copy, name) for name in ("uplift_scores", *MONEY)}
    scored_by = table(copy, "uplift_scores")["model_version"].unique()
    train.train(copy.config(), Progress(), only="policy")
    for name, rows in before.items():
        pd.testing.assert_frame_equal(unstamped(copy, name), rows)
    assert (table(copy, "uplift_scores")["model_version"].unique() == scored_by).all()

    train.train(copy.config(**{"policy.cost": 10, "policy.cost_per": "contact"}), Progress(), only="policy")
    after = unstamped(copy, "uplift_scores")
    of_costs = ["quadrant", "treat"]
    pd.testing.assert_frame_equal(after.drop(columns=of_costs), before["uplift_scores"].drop(columns=of_costs))
    assert_treats_the_chosen_share(copy)
    assert (after["quadrant"] != before["uplift_scores"]["quadrant"]).mean() > 0.02
    earns = 50 * after["uplift"] > 10
    assert ((after["quadrant"] == "persuadable") == earns).all()
    assert ((after["quadrant"] == "sleeping dog") == (~earns & (after["uplift"] < 0))).all()
    runs = table(copy, "uplift_runs").sort_values("finished_at")
    assert list(runs["part"]) == ["uplift", "policy", "policy"]
    assert runs["row_count"].nunique() == 1


def test_the_uplift_part_alone_leaves_no_money_of_other_scores(copy: Place) -> None:
    full = {name: unstamped(copy, name) for name in UPLIFT if name != "uplift_runs"}
    train.train(copy.config(), Progress(), only="uplift")
    assert table(copy, "uplift_scores")["treat"].isna().all()
    for name in MONEY:
        assert table(copy, name).empty
        assert list(table(copy, name).columns) == [*full[name].columns, *STAMP]
    for name in ("uplift_scores", "uplift_metrics", "uplift_deciles"):
        rows = unstamped(copy, name).drop(columns="treat", errors="ignore")
        pd.testing.assert_frame_equal(rows, full[name].drop(columns="treat", errors="ignore"))
    train.train(copy.config(), Progress(), only="policy")
    for name, rows in full.items():
        pd.testing.assert_frame_equal(unstamped(copy, name), rows)


def test_the_conversion_part_alone_leaves_uplift_as_it_is(copy: Place) -> None:
    before = {name: table(copy, name) for name in UPLIFT}
    predicted = unstamped(copy, "conversion_predictions")
    train.train(copy.config(), Progress(), only="conversion")
    for name, rows in before.items():
        pd.testing.assert_frame_equal(table(copy, name), rows)
    pd.testing.assert_frame_equal(unstamped(copy, "conversion_predictions"), predicted)
    assert table(copy, "conversion_predictions")["run_id"].iloc[0] != before["uplift_scores"]["run_id"].iloc[0]


def test_groups_and_profile_say_in_words_whom_the_offer_changes(simulated: Place) -> None:
    groups = table(simulated, "uplift_groups")
    scores = table(simulated, "uplift_scores")
    test = scores[scores["dataset_split"] == "test"]
    assert groups["n_rows"].sum() == len(test)
    assert groups["learnt_rows"].sum() == scores["dataset_split"].isin(["train", "calibration"]).sum()
    assert groups["row_share"].sum() == pytest.approx(1)
    assert list(groups["group_number"]) == list(range(1, len(groups) + 1))
    best = groups.iloc[0]
    # The segment of the simulation is "item_price: 22,000 or more".
    assert best["rule"].startswith("item_price: above 2")
    assert best["treat"] == 1
    prices = table(simulated, "session_features")[["session_id", "decision_point", "item_price"]]
    inside = test.merge(prices, on=["session_id", "decision_point"])
    assert best["n_rows"] <= (inside["item_price"] > 20_000).sum()
    profile = table(simulated, "uplift_profile")
    assert set(profile["difference_rank"]) == set(range(1, len(profile) + 1))
    assert profile["n_top"].iloc[0] == (test["uplift_percentile"] >= 0.9).sum()
    text = (simulated.folder / "results" / "recommendations.md").read_text()
    for row in groups.itertuples():
        start = (
            f"{'Treat' if row.treat else 'Do not treat'}: sessions with **{row.rule}**. {row.n_rows:,} of {len(test):,}"
        )
        assert start in text
    first = profile.sort_values("difference_rank").iloc[0]
    assert first["words"] in text


def test_other_costs_keep_the_groups_and_say_anew_which_pay(copy: Place) -> None:
    before = unstamped(copy, "uplift_groups")
    train.train(copy.config(**{"policy.cost": 1000}), Progress(), only="policy")
    after = unstamped(copy, "uplift_groups")
    assert before["treat"].any()
    assert not after["treat"].any()
    pd.testing.assert_frame_equal(after.drop(columns="treat"), before.drop(columns="treat"))
    text = (copy.folder / "results" / "recommendations.md").read_text()
    assert "- Do not treat: sessions with" in text
    assert "Treating these groups" not in text


def test_the_policy_part_needs_scores_made_the_same_way(copy: Place) -> None:
    with pytest.raises(FunneliftError, match=r"value_column is 'carted_value_so_far' and was None"):
        train.train(copy.config(**{"policy.value_column": "carted_value_so_far"}), Progress(), only="policy")
    copy.execute("delete from funnelift.uplift_scores")
    with pytest.raises(FunneliftError, match=r"uplift_scores is empty: .*--only uplift"):
        train.train(copy.config(), Progress(), only="policy")
    copy.execute("drop table funnelift.uplift_deciles")
    with pytest.raises(FunneliftError, match=r"no table funnelift.uplift_deciles .*--only uplift"):
        train.train(copy.config(), Progress(), only="policy")


def test_a_value_column_is_what_a_conversion_brings(copy: Place) -> None:
    with pytest.raises(FunneliftError, match=r"value_column 'item_category' is no numeric feature"):
        train.train(copy.config(**{"policy.value_column": "item_category"}), Progress(), only="uplift")
    train.train(copy.config(**{"policy.value_column": "item_price"}), Progress(), only="uplift")
    scores = table(copy, "uplift_scores").merge(table(copy, "session_features"), on=["session_id", "decision_point"])
    assert scores["own_value"].isna().equals(scores["item_price"].isna())
    known = scores["own_value"].notna()
    assert scores.loc[known, "own_value"].to_numpy() == pytest.approx(scores.loc[known, "item_price"], rel=1e-6)


def test_simulated_effects_are_called_so_everywhere(simulated: Place) -> None:
    results = simulated.folder / "results"
    for name in UPLIFT:
        rows = table(simulated, name)
        if "is_simulated" in rows:
            assert rows["is_simulated"].all()
    assert {name for name in UPLIFT if "is_simulated" not in table(simulated, name)} == {"roi_sensitivity", "roi_gains"}
    assert (pd.read_csv(results / "predictions/uplift_scores.csv")["is_simulated"]).all()
    assert json.loads((results / "metrics/uplift_metrics.json").read_text())["is_simulated"]
    text = (results / "recommendations.md").read_text()
    assert "SIMULATED EFFECTS" in text.splitlines()[0]


def test_a_real_experiment_comes_first(copy: Place) -> None:
    give_assignments(copy)
    train.train(copy.config(), Progress(), only="uplift")
    scores, run = table(copy, "uplift_scores"), table(copy, "uplift_runs").sort_values("finished_at").iloc[-1]
    assert not scores["is_simulated"].any()
    assert "stg_treatment_assignments" in run["source"]
    assert scores[["segment", "true_effect"]].isna().all().all()
    arms = table(copy, "stg_treatment_assignments").set_index("visitor_id")["treatment"]
    has_part = scores["dataset_split"].isin(["train", "calibration", "test"])
    assert (scores.loc[has_part, "treatment"] == scores.loc[has_part, "visitor_id"].map(arms)).all()
    assert scores.loc[has_part, "visitor_id"].is_unique
    assert set(scores.loc[~scores["visitor_id"].isin(arms.index), "dataset_split"]) <= {"outside", "open"}
    train.train(copy.config(), Progress(), only="policy")
    assert "SIMULATED" not in (copy.folder / "results/recommendations.md").read_text()


def test_a_real_experiment_has_its_average_effect_by_design(copy: Place) -> None:
    by_half = "case when right(visitor_id, 1) < '5' then 'low' else 'high' end"
    give_assignments(copy, design=f"{by_half} | 0.5")
    train.train(copy.config(), Progress(), only="uplift")
    metrics = table(copy, "uplift_metrics").set_index(["learner", "metric"])
    scores = table(copy, "uplift_scores").dropna(subset=["treatment", "outcome"])
    scores = scores[scores["dataset_split"].isin(["train", "calibration", "test"])]
    scores = scores.astype({"treatment": int, "outcome": float})
    low = scores["visitor_id"].str[-1] < "5"
    effect = sum(
        part.mean()
        * np.subtract(*(scores.loc[part & (scores["treatment"] == arm), "outcome"].mean() for arm in (1, 0)))
        for part in (low, ~low)
    )
    found = metrics.loc[("all", "average_effect_all_slices")]
    assert found["value"] == pytest.approx(effect, abs=1e-12)
    assert found["ci_lower"] < 0 < found["ci_upper"]
    assert found["n_rows"] == len(scores)
    assert {"average_effect_adjusted", "average_effect_sequence", "relative_lift"} <= set(metrics.loc["all"].index)


@pytest.mark.parametrize(
    ("design", "message"),
    [
        (
            "case when treatment = 1 or right(visitor_id, 1) < '3' then 'a' else 'b' end | null",
            "chance of treatment differs",
        ),
        ("case when right(visitor_id, 1) < '5' then 'a' end | null", "gate nulls failed: .*stratum"),
        ("null | case when right(visitor_id, 1) < '5' then 0.5 end", "gate nulls failed: .*propensity"),
        ("null | case when right(visitor_id, 1) < '5' then 0.5 else 1 end", "gate values failed: .*propensity"),
    ],
)
def test_designs_that_the_mart_cannot_use_are_refused(copy: Place, design: str, message: str) -> None:
    give_assignments(copy, design=design)
    with pytest.raises(FunneliftError, match=message):
        train.train(copy.config(), Progress(), only="uplift")


def test_a_sample_ratio_mismatch_stops_the_run_unless_told(copy: Place) -> None:
    give_assignments(copy, treated_share=0.6)
    before = {name: table(copy, name) for name in UPLIFT}
    with pytest.raises(FunneliftError, match=r"gate sample ratio failed"):
        train.train(copy.config(), Progress())
    for name, rows in before.items():
        pd.testing.assert_frame_equal(table(copy, name), rows)
    train.train(copy.config(**{"experiment.allow_mismatch": True}), Progress(), only="uplift")
    warned = table(copy, "uplift_runs").sort_values("finished_at").iloc[-1]["warnings_json"]
    assert "sample ratio" in warned


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--cost", "-1"], 1, "policy.cost: Input should be greater than or equal to 0"),
        (["--cost", "five"], 1, "policy.cost: Input should be a valid number"),
        (["--cost", "nan"], 1, "policy.cost"),
        (["--revenue", "0"], 1, "policy.revenue_per_conversion: Input should be greater than 0"),
        (["--margin", "1.5"], 1, "policy.margin: Input should be less than or equal to 1"),
        (["--budget", "-3"], 1, "policy.budget: Input should be greater than 0"),
        (["--cost-per", "click"], 2, "invalid choice: 'click'"),
        (["--only", "money"], 2, "invalid choice: 'money'"),
    ],
)
def test_bad_money_on_the_command_line_is_refused_by_name(
    arguments: list[str], code: int, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found: Any
    try:
        found = train.main(arguments)
    except SystemExit as stopped:
        found = stopped.code
    assert found == code
    assert message in capfd.readouterr().err

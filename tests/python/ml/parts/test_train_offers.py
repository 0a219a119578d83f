"""`ml.train` with money as the outcome, on a real warehouse: what anyone can work out again from the tables."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import ml_mart_mysql
from assignments import give_assignments, give_offers, table
from contracts import PUBLISHED
from live.models import load_models
from ml import rollback, score, train
from ml.cli import Progress
from servers import DatabaseServer
from training import QUICK, UPLIFT, Place, copy_of, quick_settings, train_shop
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

pytestmark = pytest.mark.end_to_end

EMPTY = (
    "roi_projection", "roi_sensitivity", "roi_gains", "experiment_plan", "ab_test_simulation", "uplift_candidates",
    "uplift_groups", "uplift_profile",
)  # fmt: skip
WORTH, COST, MARGIN = 900.0, 40.0, 0.5
SETTINGS: dict[str, Any] = QUICK | {
    "experiment": QUICK["experiment"]
    | {
        "outcome": "revenue",
        "simulation": {
            "segments": [
                {"name": "dear items", "when": {"item_price": [22_000, None]}, "adds": 0.3, "removes": 0.0},
                {"name": "weekend", "when": {"is_weekend": [1, 1]}, "adds": 0.0, "removes": 0.5},
            ]
        },
    },
    "policy": QUICK["policy"]
    | {"cost": COST, "cost_per": "contact", "margin": MARGIN, "revenue_per_conversion": WORTH, "horizon_days": 10},
}
MODEL_SPLITS = ("train", "calibration", "test")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return train_shop(tmp_path_factory.mktemp("money"), 6000, 47, 0.05, SETTINGS)


@pytest.fixture
def copy(shop: Place, tmp_path: Path) -> Place:
    return copy_of(shop, tmp_path / "copy")


def outcomes(place: Place) -> pd.DataFrame:
    """Scores of the rows that have an arm and an outcome, with what their sessions paid and did."""
    scores = table(place, "uplift_scores")
    sessions = table(place, "session_funnels")[["session_id", "revenue"]].rename(columns={"revenue": "paid"})
    label = table(place, "session_features")[["session_id", "decision_point", "has_transaction"]]
    rows = scores.merge(sessions, on="session_id").merge(label, on=["session_id", "decision_point"])
    return rows.dropna(subset=["treatment", "outcome"]).astype({"treatment": int, "outcome": float})


def test_a_simulation_moves_money_as_its_conversions_say(shop: Place) -> None:
    rows, every = outcomes(shop), table(shop, "uplift_scores")
    stayed = (rows["treatment"] == 0) | (rows["outcome"] == rows["has_transaction"])
    assert (rows.loc[stayed, "revenue"] == rows.loc[stayed, "paid"]).all()
    won = ~stayed & (rows["outcome"] == 1)
    assert won.any()
    assert (rows.loc[won, "revenue"] == WORTH).all()
    lost = ~stayed & (rows["outcome"] == 0)
    assert lost.any()
    assert (rows.loc[lost, "revenue"] == 0).all()
    assert every.loc[every["dataset_split"] == "open", "revenue"].isna().all()
    assert every["is_simulated"].all()


def test_scores_say_one_thing(shop: Place) -> None:
    scores = table(shop, "uplift_scores")
    landing = table(shop, "session_features").query("decision_point == 'landing'")
    assert set(scores["session_id"]) == set(landing["session_id"])
    assert (scores["uplift"] == scores["p_treatment"] - scores["p_control"]).all()
    assert (scores["score"] == scores["gain"]).all()
    assert set(scores["offer"]) == {"treated"}
    assert set(scores["arm"].dropna()) == {"treated", "control"}
    assert (scores["arm"].dropna() == scores["treatment"].dropna().map({1: "treated", 0: "control"})).all()
    assert (scores["offer_cost"] == COST).all()
    assert ((scores["quadrant"] == "persuadable") == (scores["gain"] > 0)).all()
    # Without a budget whoever is expected to bring more than the cost is treated, unless all or nobody is.
    assert (scores["treat"] == (scores["gain"] > 0)).all()
    calibration = scores.loc[scores["dataset_split"] == "calibration", "uplift_percentile"]
    assert np.sort(calibration) == pytest.approx((np.arange(len(calibration)) + 0.5) / len(calibration), abs=0.01)


def test_policies_stand_beside_each_other_in_money(shop: Place) -> None:
    policies = table(shop, "policy_values").set_index("policy")
    run = table(shop, "uplift_runs").iloc[-1]
    assert list(policies.sort_values("policy_number").index) == [
        "nobody", "everybody", "whom it earns with", "the chosen offers, dealt by lot",
    ]  # fmt: skip
    eligible = run["sessions_per_day"] * 10
    assert policies["eligible_sessions"].to_numpy() == pytest.approx(eligible)
    assert policies.loc["everybody", "treated_sessions"] == pytest.approx(eligible)
    assert policies.loc["nobody", ["profit", "cost", "treated_sessions"]].tolist() == [0, 0, 0]
    assert policies["is_chosen"].sum() == 1
    assert policies["cost"].to_numpy() == pytest.approx(COST * policies["treated_sessions"])
    profit = MARGIN * policies["incremental_revenue"] - policies["cost"]
    assert policies["profit"].to_numpy() == pytest.approx(profit)
    assert (policies["profit_ci_lower"] <= policies["profit"]).all()
    assert (policies["profit"] <= policies["profit_ci_upper"]).all()
    given = table(shop, "policy_offers").set_index("policy")
    assert set(given["offer"]) == {"treated"}
    assert given["treated_sessions"].to_dict() == pytest.approx(policies["treated_sessions"].to_dict())
    for name in EMPTY:
        assert not len(table(shop, name))
    # Doubly robust and plain: both say what treating everybody brings on the test split.
    test = outcomes(shop).query("dataset_split == 'test'")
    treated, control = (test.loc[test["treatment"] == arm, "revenue"] for arm in (1, 0))
    plain = (treated.mean() - control.mean()) * eligible
    error = np.sqrt(treated.var() / len(treated) + control.var() / len(control)) * eligible
    assert abs(policies.loc["everybody", "incremental_revenue"] - plain) < error


def test_a_simulation_is_called_so_everywhere(shop: Place) -> None:
    for name in UPLIFT:
        rows = table(shop, name)
        if "is_simulated" in rows:
            assert rows["is_simulated"].all()
    page = (shop.folder / "results/recommendations.md").read_text()
    assert "SIMULATED EFFECTS, SYNTHETIC DATA" in page.splitlines()[0]
    assert "sessions in 10 days, treating costs 40 per session treated; `revenue` is money, of which 50 % is" in page
    assert json.loads((shop.folder / "results/metrics/uplift_metrics.json").read_text())["is_simulated"]


def test_a_real_experiment_has_its_effect_on_money_by_design(copy: Place) -> None:
    give_assignments(copy)
    train.train(copy.config(), Progress(), only="uplift")
    rows = outcomes(copy)
    rows = rows[rows["dataset_split"].isin(MODEL_SPLITS)]
    assert rows["visitor_id"].is_unique
    assert (rows["revenue"] == rows["paid"]).all()
    treated, control = (rows.loc[rows["treatment"] == arm] for arm in (1, 0))
    metrics = table(copy, "uplift_metrics").set_index(["learner", "metric"])
    for column, metric in (("outcome", "average_effect_all_slices"), ("revenue", "value_effect_all_slices")):
        found = metrics.loc[("all", metric)]
        assert found["value"] == pytest.approx(treated[column].mean() - control[column].mean(), abs=1e-9)
        assert found["n_rows"] == len(rows)
    low, high = stats.ttest_ind(treated["revenue"], control["revenue"], equal_var=False).confidence_interval(0.95)
    found = metrics.loc[("all", "value_effect_all_slices")]
    assert (found["ci_lower"], found["ci_upper"]) == pytest.approx((low, high))
    assert "SIMULATED" not in (copy.folder / "results/recommendations.md").read_text()


def test_a_coupon_that_sells_more_and_earns_less_is_given_to_nobody(copy: Place) -> None:
    give_assignments(copy)
    copy.execute(
        "update funnelift.session_funnels set revenue = revenue * 0.3 from funnelift.stg_treatment_assignments as arms "
        "where arms.visitor_id = session_funnels.visitor_id and arms.treatment = 1"
    )
    train.train(copy.config(**{"policy.cost": 0}), Progress(), only="uplift")
    page = (copy.folder / "results/recommendations.md").read_text()
    assert "**Do not spend: treat nobody." in page
    assert "The treatment lowers revenue" in page
    scores = table(copy, "uplift_scores")
    assert not scores["treat"].any()
    chosen = table(copy, "policy_values").query("is_chosen == 1")
    assert chosen["policy"].tolist() == ["nobody"]


def test_scoring_again_says_the_same_and_follows_the_mart(copy: Place) -> None:
    before = table(copy, "uplift_scores")
    copy.build()
    score.score(copy.config(), Progress())
    pd.testing.assert_frame_equal(table(copy, "uplift_scores"), before)
    row = before[(before["treatment"] == 0) & (before["revenue"] > 0) & (before["dataset_split"] == "test")].iloc[0]
    who = f"session_id = '{row['session_id']}'"
    copy.build(
        f"update funnelift.session_funnels set revenue = 77 where {who}",
        f"update funnelift.session_features set item_price = item_price + 1 where {who}",
    )
    score.score(copy.config(), Progress())
    after = table(copy, "uplift_scores")
    now = after[after["session_id"] == row["session_id"]].iloc[0]
    assert now["revenue"] == 77
    assert now["run_id"] == row["run_id"]
    others = after["session_id"] != row["session_id"]
    pd.testing.assert_frame_equal(after[others], before[others])


def test_a_rollback_after_a_run_of_money_leaves_the_money(copy: Place) -> None:
    before = {name: table(copy, name) for name in UPLIFT}
    (first,) = table(copy, "ml_runs")["run_id"]
    train.train(copy.config(), Progress(), only="conversion", force=True)
    (second,) = table(copy, "ml_runs").query("status == 'published'")["run_id"]
    assert second != first
    rollback.rollback(copy.config(), Progress(), first)
    assert set(table(copy, "conversion_predictions")["run_id"]) == {first}
    copy.build()
    score.score(copy.config(), Progress())
    for name, rows in before.items():
        pd.testing.assert_frame_equal(table(copy, name), rows)


def test_another_budget_needs_another_learning(copy: Place) -> None:
    with pytest.raises(FunneliftError, match="what an offer earns is learnt with its costs"):
        train.train(copy.config(), Progress(), only="policy")
    quick_settings(copy.folder, QUICK)
    with pytest.raises(FunneliftError, match="of a run that learnt gains in money"):
        train.train(copy.config(), Progress(), only="policy")
    train.train(copy.config(), Progress(), only="uplift")
    assert table(copy, "uplift_scores")[["arm", "revenue", "offer", "gain", "offer_cost"]].isna().all().all()
    assert not len(table(copy, "policy_values"))


def test_a_budget_is_kept_and_used(copy: Place) -> None:
    free = table(copy, "policy_values").query("is_chosen == 1").iloc[0]
    budget = free["cost"] / 3
    train.train(copy.config(**{"policy.budget": budget}), Progress(), only="uplift")
    policies = table(copy, "policy_values")
    chosen = policies.query("is_chosen == 1").iloc[0]
    assert chosen["cost"] == pytest.approx(budget, rel=0.15)
    assert chosen["profit"] > free["profit"] / 3
    assert (policies["cost"] <= budget * (1 + 1e-9)).all()
    assert (np.isclose(policies["cost"], budget) | (policies["budget_reach"] == 1)).all()


def test_costs_of_four_kinds_count_conversions_too(copy: Place) -> None:
    changed = {"experiment.outcome": "conversion", "policy.fixed_cost": 10.0, "policy.cost_share": 0.1}
    train.train(copy.config(**changed), Progress(), only="uplift")
    policies = table(copy, "policy_values").set_index("policy")
    everybody = policies.loc["everybody"]
    assert everybody["incremental_revenue"] == pytest.approx(WORTH * everybody["incremental_conversions"])
    assert everybody["cost"] > COST * everybody["treated_sessions"] + 10
    assert table(copy, "uplift_scores")["revenue"].isna().all()


def test_money_that_nobody_spent_is_told(copy: Place) -> None:
    give_assignments(copy)
    copy.execute("update funnelift.session_funnels set revenue = 0")
    with pytest.raises(FunneliftError, match=r"no session of the experiment has any revenue.*Load prices"):
        train.train(copy.config(), Progress(), only="uplift")


def test_revenue_without_a_conversion_stops_the_run(copy: Place) -> None:
    copy.execute(
        "update funnelift.session_funnels set revenue = 5 where session_id = (select min(session_id) from "
        "funnelift.session_features where decision_point = 'landing' and has_transaction = 0)"
    )
    with pytest.raises(FunneliftError, match="gate revenue failed"):
        train.train(copy.config(), Progress(), only="uplift")


def test_an_arm_that_hardly_buys_is_refused_with_its_average_effect(copy: Place) -> None:
    give_assignments(copy)
    copy.execute(
        "delete from funnelift.stg_treatment_assignments where visitor_id in (select visitor_id from "
        "funnelift.session_features where has_transaction = 1) and treatment = 1"
    )
    with pytest.raises(FunneliftError) as refused:
        train.train(copy.config(**{"experiment.allow_mismatch": True}), Progress(), only="uplift")
    assert "Whom to make an offer cannot be learnt (treated: no treated row converts" in str(refused.value)
    assert "The treatment lowers revenue" in str(refused.value)


# Which visitors each offer brings more money of; the third brings less of all.
SUITS = {"coupon": "in", "call": "not in"}
OFFERS = {
    "experiment.treated": ["coupon", "call", "nagging"],
    "experiment.control": "nothing",
    "policy.cost": 0,
    "policy.costs": {"coupon": 2, "call": {"cost": 1, "contact_cost": 1}, "nagging": 0},
}


def offer_shop(place: Place) -> None:
    """Three offers and a control: a buyer with the offer that suits pays 400 more, and nagging halves what is paid."""
    give_offers(place, ["coupon", "call", "nagging"])
    arms = "funnelift.stg_treatment_assignments as arms where arms.visitor_id = session_funnels.visitor_id"
    for offer, who in SUITS.items():
        place.execute(
            f"update funnelift.session_funnels set revenue = round(revenue + 400, 2) from {arms} "
            f"and arms.offer = '{offer}' and revenue > 0 "
            f"and session_id {who} (select session_id from funnelift.sessions where is_new_visitor = 1)"
        )
    place.execute(
        f"update funnelift.session_funnels set revenue = round(revenue / 2, 2) from {arms} and arms.offer = 'nagging'"
    )


@pytest.fixture(scope="module")
def offers(shop: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = copy_of(shop, tmp_path_factory.mktemp("offers") / "copy")
    offer_shop(place)
    train.train(place.config(**OFFERS), Progress(), only="uplift")
    return place


def test_each_offer_has_its_effect_and_holm_counts_them(offers: Place) -> None:
    rows = outcomes(offers)
    rows = rows[rows["dataset_split"].isin(MODEL_SPLITS)]
    arms = table(offers, "stg_treatment_assignments").set_index("visitor_id")["offer"].fillna("nothing")
    assert (rows["arm"] == rows["visitor_id"].map(arms)).all()
    assert ((rows["treatment"] == 1) == (rows["arm"] != "nothing")).all()
    metrics = table(offers, "uplift_metrics").set_index(["learner", "versus", "metric"])
    p_values = {}
    for offer in OFFERS["experiment.treated"]:
        treated, control = (rows.loc[rows["arm"] == name, "revenue"] for name in (offer, "nothing"))
        found = metrics.loc[(offer, "nothing", "value_effect_all_slices")]
        assert found["value"] == pytest.approx(treated.mean() - control.mean(), abs=1e-9)
        p_values[offer] = stats.ttest_ind(treated, control, equal_var=False).pvalue
    first = min(p_values, key=lambda offer: p_values[offer])
    assert metrics.loc[(first, "nothing", "holm_p"), "value"] == pytest.approx(min(1, 3 * p_values[first]), rel=1e-6)


def test_each_session_gets_the_offer_that_suits(offers: Place) -> None:
    features = table(offers, "session_features")[["session_id", "decision_point", "is_new_visitor"]]
    scores = table(offers, "uplift_scores").merge(features, on=["session_id", "decision_point"])
    likely = scores[(scores["dataset_split"] == "outside") | (scores["dataset_split"] == "test")]
    suiting = np.where(likely["is_new_visitor"] == 1, "coupon", "call")
    assert (likely["offer"] == suiting).mean() > 0.6
    assert set(scores["offer"]) <= set(OFFERS["experiment.treated"])
    assert (scores["treat"] == (scores["gain"] > 0)).all()
    assert (scores.loc[scores["offer"] == "nagging", "offer_cost"] == 0).all()
    call = scores[scores["offer"] == "call"]
    assert call["offer_cost"].to_numpy() == pytest.approx(1 + call["p_treatment"])


def test_policies_of_several_offers_stand_beside_each_other(offers: Place) -> None:
    policies, given = table(offers, "policy_values").set_index("policy"), table(offers, "policy_offers")
    assert {
        "nobody", "coupon for all", "call for all", "nagging for all", "best offer for each",
        "the chosen offers, dealt by lot",
    } <= set(policies.index)  # fmt: skip
    summed = given.groupby("policy")["treated_sessions"].sum()
    assert summed.to_dict() == pytest.approx(policies["treated_sessions"].to_dict())
    assert policies.loc["nagging for all", "profit"] < 0
    singles = policies[policies.index.str.endswith(" for all")]
    assert np.isnan(singles["profit_over_single"].astype(float)).sum() == 1
    page = (offers.folder / "results/recommendations.md").read_text()
    assert "# Recommendations: which offer to whom" in page
    assert "After Holm's correction for 3 offers" in page
    assert "SIMULATED" not in page


def test_a_scoring_after_offers_says_the_same(offers: Place, tmp_path: Path) -> None:
    place = copy_of(offers, tmp_path / "again")
    before = table(place, "uplift_scores")
    place.build()
    score.score(place.config(), Progress())
    pd.testing.assert_frame_equal(table(place, "uplift_scores"), before)


def test_a_live_decision_knows_what_each_offer_costs(shop: Place, offers: Place) -> None:
    """Without a score, all who get an offer are taken to redeem it."""
    costs = {None: 40.0}, {"coupon": 2.0, "call": 2.0, "nagging": 0.0}
    for place, expected in zip((shop, offers), costs, strict=True):
        with open_warehouse(place.config()) as warehouse:
            models = load_models(place.config(), warehouse)
        assert models.uplift is not None
        assert models.missing == () or all("no model" in text for text in models.missing)
        assert models.offers == tuple(expected)
        assert models.costs(None) == expected


def test_an_offer_that_costs_more_than_it_brings_is_given_to_nobody(offers: Place, tmp_path: Path) -> None:
    place = copy_of(offers, tmp_path / "dear")
    dear = {name: {"contact_cost": 10_000} for name in OFFERS["experiment.treated"]}
    train.train(place.config(**OFFERS | {"policy.costs": dear}), Progress(), only="uplift")
    assert not table(place, "uplift_scores")["treat"].any()
    assert "**Do not spend: treat nobody." in (place.folder / "results/recommendations.md").read_text()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"experiment.treated": []}, r"holds several offers \(call, coupon, nagging\): name those"),
        ({"experiment.treated": ["coupon", "cal"]}, "nobody was assigned 'cal'; the offers of"),
        ({"policy.costs": {"cupon": 3}}, "policy.costs: no offer is called 'cupon'; there are coupon, call, nagging"),
        ({"experiment.offer_shares": {"coupon": 0.4}}, "experiment.offer_shares: say it of every offer"),
        (
            {"experiment.offer_shares": dict.fromkeys(OFFERS["experiment.treated"], 0.1)},
            r"coupon against nothing: gate sample ratio failed",
        ),
        ({"policy.value_column": "item_price"}, None),
    ],
)
def test_settings_of_offers_that_do_not_fit_are_named(
    offers: Place, tmp_path: Path, settings: dict[str, Any], said: str | None
) -> None:
    place = copy_of(offers, tmp_path / "refused")
    if said is None:
        settings, said = settings | {"experiment.outcome": "conversion"}, "policy.value_column says what a conversion"
    with pytest.raises(FunneliftError, match=said):
        train.train(place.config(**OFFERS | settings), Progress(), only="uplift")


def test_offers_without_assignments_are_told(copy: Place) -> None:
    with pytest.raises(FunneliftError, match=r"experiment\.treated names coupon, and nobody was assigned"):
        train.train(copy.config(**{"experiment.treated": ["coupon"]}), Progress(), only="uplift")


def test_a_server_says_what_duckdb_says(
    copy: Place, empty_mysql: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in empty_mysql.environment.items():
        monkeypatch.setenv(variable, value)
    offer_shop(copy)
    for name in (*UPLIFT, "conversion_predictions", "ml_runs", "score_runs"):
        copy.execute(f"drop table if exists funnelift.{name}")
    with closing(empty_mysql.session(local_infile=True)) as session:
        ml_mart_mysql.copy(session, copy.folder / "warehouse.duckdb")
    found = {}
    for target in ("duckdb", "mysql"):
        config = copy.config(target=target, **OFFERS)
        train.train(config, Progress(), only="uplift")
        with open_warehouse(config) as warehouse:
            found[target] = [
                warehouse.table(PUBLISHED[name]).to_pandas().drop(columns=["run_id", "scored_at"])
                for name in ("uplift_scores", "policy_values", "policy_offers", "uplift_metrics")
            ]
    keys = (["session_id"], ["policy"], ["policy", "offer"], ["learner", "versus", "metric"])
    for key, here, there in zip(keys, *found.values(), strict=True):
        here, there = (rows.sort_values(key, ignore_index=True) for rows in (here, there))
        pd.testing.assert_frame_equal(there, here, rtol=1e-9, check_dtype=False)

"""`python -m ml.uplift` with several offers and with money as the outcome."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.parts import file as uplift

pytestmark = pytest.mark.end_to_end

QUICK = "uplift: {challengers: [], bootstrap_resamples: 20}\npolicy: {bootstrap_resamples: 200}\n"


def shop(n: int = 9000, seed: int = 5, visitors: int | None = None) -> pd.DataFrame:
    """B lifts the young, C the others, A nobody, and D takes orders away; amounts have a heavy tail."""
    rng = np.random.default_rng(seed)
    visitor = np.arange(n) if visitors is None else rng.integers(0, visitors, n)
    offer = rng.choice(["none", "A", "B", "C", "D"], n if visitors is None else visitors)[visitor]
    young = rng.random(n) < 0.5
    lift = np.select([(offer == "B") & young, (offer == "C") & ~young, offer == "D"], [0.15, 0.12, -0.08])
    bought = (rng.random(n) < 0.15 + lift).astype(int)
    return pd.DataFrame(
        {
            "customer": visitor,
            "young": young,
            "visits": rng.integers(1, 9, n),
            "offer": offer,
            "bought": bought,
            "revenue": (bought * rng.lognormal(3, 0.7, n)).round(2),
        }
    )


def run(frame: pd.DataFrame, folder: Path, *options: str, out: str = "out") -> dict[str, Any]:
    path, settings = folder / "test.csv", folder / "quick.yml"
    frame.to_csv(path, index=False)
    settings.write_text(QUICK)
    asked = ["--experiment", str(path), "--config", str(settings), "--out", str(folder / out)]
    assert uplift.main([*asked, "--visitor-column", "customer", *options]) == 0
    return dict(json.loads((folder / out / "metrics/uplift_metrics.json").read_text()))


def refused(frame: pd.DataFrame, folder: Path, capfd: pytest.CaptureFixture[str], *options: str) -> str:
    frame.to_csv(folder / "test.csv", index=False)
    asked = ["--experiment", str(folder / "test.csv"), "--out", str(folder / "out"), "--visitor-column", "customer"]
    assert uplift.main([*asked, *options]) == 1
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())
    return " ".join(capfd.readouterr().err.split())


def arms(*treated: str) -> list[str]:
    given = [word for name in treated for word in ("--treated", name)]
    return ["--treatment-column", "offer", "--control", "none", *given]


BOUGHT = [*arms("A", "B", "C", "D"), "--outcome-column", "bought"]
FOUR = [*BOUGHT, "--ignore", "revenue"]
MONEY = [*BOUGHT, "--value-column", "revenue"]


def test_each_gets_the_offer_that_suits_and_people_of_a_list_the_same(tmp_path: Path) -> None:
    frame = shop(15000)
    found = run(frame, tmp_path, *MONEY, "--cost", "1", "--cost", "C=0.5", "--cost-per", "contact")
    scores = pd.read_csv(tmp_path / "out/predictions/uplift_scores.csv").sort_values("row_number", ignore_index=True)
    given = scores.groupby(frame["young"])["offer"].agg(lambda offers: offers.mode()[0])
    assert given.to_dict() == {True: "B", False: "C"}
    assert "D" not in set(scores["offer"])
    assert (scores["treat"] == (scores["offer"] != "none")).all()
    assert list(scores["arm"]) == list(frame["offer"])
    assert found["costs"]["contact"] == [1, 1, 0.5, 1]

    policies = {entry["name"]: entry for entry in found["policies"]}
    chosen = next(entry for entry in found["policies"] if entry["is_chosen"])
    assert chosen["name"] == "best offer for each"
    assert chosen["profit"][1] > 0
    assert chosen["against_single"][1] > 0
    assert chosen["against_random"][1] > 0
    assert policies["D for all"]["profit"][2] < 0
    # The mean amount is exp(3.245); what the rule earns in truth lies within its interval.
    lift = np.select(
        [(scores["offer"] == "B") & frame["young"], (scores["offer"] == "C") & ~frame["young"]], [0.15, 0.12]
    )
    paid = scores["offer"].map({"none": 0, "A": 1, "B": 1, "C": 0.5, "D": 1})
    assert chosen["profit"][1] < (lift * np.exp(3.245) - paid).sum() < chosen["profit"][2]
    page = (tmp_path / "out/recommendations.md").read_text()
    assert "**Make the offers: " in page
    assert "After Holm's correction for 4 offers" in page

    asked = [
        "--score",
        str(tmp_path / "test.csv"),
        "--model",
        str(tmp_path / "out/models"),
        "--out",
        str(tmp_path / "s"),
    ]
    assert uplift.main(asked) == 0
    again = pd.read_csv(tmp_path / "s/predictions/uplift_scores.csv")
    same = [name for name in again if name.startswith(("gain", "cost_"))] + [
        "offer",
        "treat",
        "model_version",
        "run_id",
    ]
    pd.testing.assert_frame_equal(again[same], scores[same], check_exact=True)
    changed = tmp_path / "out/models/offers.json"
    changed.write_text(changed.read_text().replace('"kind": "best', '"kind": "bast'))
    assert uplift.main(asked) == 1


def test_average_effects_are_the_plain_differences_and_holm_corrects_them(tmp_path: Path) -> None:
    frame = shop(4000)
    found = run(frame, tmp_path, *MONEY)
    metrics = {(entry["learner"], entry["metric"]): entry for entry in found["metrics"]}
    p_values = []
    for offer in "ABCD":
        treated, control = (frame.loc[frame["offer"] == name] for name in (offer, "none"))
        for column, metric in (("bought", "average_effect_all_slices"), ("revenue", "value_effect_all_slices")):
            test = stats.ttest_ind(treated[column], control[column], equal_var=False)
            low, high = test.confidence_interval(0.95)
            entry = metrics[offer, metric]
            assert entry["value"] == pytest.approx(treated[column].mean() - control[column].mean(), abs=1e-12)
            assert (entry["ci_lower"], entry["ci_upper"]) == pytest.approx((low, high), rel=2e-3)
        p_values.append(float(test.pvalue))
        pair = frame.loc[frame["offer"].isin([offer, "none"]), "revenue"]
        cut = pair[pair > 0].quantile(0.99)
        capped = treated["revenue"].clip(upper=cut).mean() - control["revenue"].clip(upper=cut).mean()
        assert metrics[offer, "value_effect_winsorised"]["value"] == pytest.approx(capped)
        drawn = metrics[offer, "value_effect_bootstrap"]
        assert drawn["ci_upper"] - drawn["ci_lower"] == pytest.approx(high - low, rel=0.25)
    ordered = sorted(p_values)
    assert min(metrics[offer, "holm_p"]["value"] for offer in "ABCD") == pytest.approx(min(1, 4 * ordered[0]), rel=1e-6)


def test_a_coupon_that_sells_more_and_earns_less_is_not_advised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    n = 9000
    arm = rng.integers(0, 2, n)
    bought = rng.random(n) < 0.10 + 0.04 * arm
    frame = pd.DataFrame(
        {"customer": np.arange(n), "age": rng.integers(18, 80, n), "arm": arm, "bought": bought.astype(int)}
    )
    frame["revenue"] = (bought * rng.gamma(4, np.where(arm == 1, 5, 15))).round(2)
    asked = ["--treatment-column", "arm", "--value-column", "revenue"]
    found = run(frame, tmp_path, *asked, "--outcome-column", "bought", "--cost", "0")
    said = capsys.readouterr().out
    assert "treat nobody" in said
    assert found["policy"]["kind"] == "nobody"
    metrics = {entry["metric"]: entry["value"] for entry in found["metrics"] if entry["learner"] == "all"}
    assert metrics["average_effect_all_slices"] > 0 > metrics["value_effect_all_slices"]
    # Who spends has bought: no other column need say so.
    again = run(frame.drop(columns="bought"), tmp_path, *asked, "--cost", "0", out="again")
    assert "average effect on revenue above 0" in capsys.readouterr().out
    assert [entry["value"] for entry in again["metrics"]] == [entry["value"] for entry in found["metrics"]]
    # The other way round the same treatment earns, until its costs eat that up.
    frame["arm"] = 1 - arm
    assert run(frame, tmp_path, *asked, "--ignore", "bought", "--cost", "0", out="c")["policy"]["kind"] != "nobody"
    for cost in (["--cost-share", "0.7"], ["--contact-cost", "9"], ["--fixed-cost", "1e6"], ["--cost", "60"]):
        rest = [] if "--cost" in cost else ["--cost", "0"]
        assert run(frame, tmp_path, *asked, "--ignore", "bought", *rest, *cost, out="d")["policy"]["kind"] == "nobody"


def test_a_budget_is_kept(tmp_path: Path) -> None:
    frame = shop()
    found = run(frame, tmp_path, *MONEY, "--cost", "2", "--cost-per", "contact", "--budget", "3000")
    scores = pd.read_csv(tmp_path / "out/predictions/uplift_scores.csv")
    assert scores["treat"].sum() * 2 == pytest.approx(3000, rel=0.06)
    for entry in found["policies"]:
        assert entry["cost"] <= 3000 * 1.1
    assert "within a budget of 3,000" in (tmp_path / "out/recommendations.md").read_text()


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"offer": lambda frame: frame["offer"].map({"none": 0, "A": 1, "B": 2, "C": 3, "D": 4.0})},
         ["--treatment-column", "offer", "--control", "0", *(w for c in "1234" for w in ("--treated", c)),
          "--outcome-column", "bought", "--value-column", "revenue", "--cost", "2=3", "--cost", "1"]),
        ({"city": lambda frame: np.where(frame["customer"] % 3, "Bonn", "Ulm")}, [*MONEY, "--stratum-column", "city"]),
        ({"revenue": lambda frame: frame["revenue"].where(frame["offer"] != "A", 0),
          "bought": lambda frame: frame["bought"].where(frame["offer"] != "A", 0)}, MONEY),
        ({"young": True, "visits": 1}, MONEY),
        ({"revenue": lambda frame: frame["bought"] * 10}, MONEY),
        ({"revenue": lambda frame: frame["bought"] * (frame["visits"] > 3) * 7.5}, MONEY),
        ({}, FOUR),
        ({}, [*FOUR, "--lower-is-better"]),
        ({}, [*FOUR, *(w for name in "ABCD" for w in ("--treated-share", f"{name}=0.2"))]),
        ({"offer": lambda frame: frame["offer"].where((frame["offer"] != "A") | (frame["customer"] % 40 == 0), "none")},
         MONEY),
    ],
)  # fmt: skip
def test_every_kind_of_file_gets_its_averages_and_a_policy_where_one_can_be_learnt(
    tmp_path: Path, change: dict[str, Any], options: list[str]
) -> None:
    found = run(shop(5000, visitors=2500).assign(**change), tmp_path, *options)
    assert {entry["metric"] for entry in found["metrics"]} >= {"average_effect_all_slices", "holm_p"}
    assert len({entry["learner"] for entry in found["metrics"]}) == 4
    learnt = set(found["left_out"]) != {entry["learner"] for entry in found["metrics"]}
    assert (found["policy"] is not None) == learnt
    if learnt:
        chosen = next(entry for entry in found["policies"] if entry["is_chosen"])
        assert chosen["profit"][1] <= chosen["profit"][0] <= chosen["profit"][2]
        assert not set(chosen["treated"]) & set(found["left_out"])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"revenue": lambda frame: frame["revenue"].where(frame.index != 4, -3)}, [], "1 rows .*'-3.*' in data row 5"),
        ({"revenue": lambda frame: frame["revenue"].where(frame.index != 4)}, [], "first nothing in data row 5"),
        ({"revenue": lambda frame: frame["revenue"].astype(str).where(frame.index != 2, "much")}, [], "'much' in .* 3"),
        ({"revenue": 0}, [], "revenue is 0 in all rows"),
        ({}, ["--cost", "E=3"], "no offer is called 'E'; there are a, b, c, d"),
        ({}, ["--cost", "A=-3"], "--cost A=-3: '-3' is not a number of 0 or more"),
        ({}, ["--cost-share", "1.5"], "0 to 1"),
        ({}, ["--treated-share", "A=0.2"], "say it of every offer"),
        ({}, ["--treated-share", "0.4"], "together below 1"),
        ({}, ["--treated-share", "0.1"], "A against none: gate sample ratio failed"),
        ({}, ["--treated", "E"], "has no row of 'E'"),
        ({}, ["--treated", "none"], "different values"),
        ({}, ["--lower-is-better"], "more is better"),
        ({"chance": 0.2}, ["--propensity-column", "chance"], "--stratum-column"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_by_name_and_line(
    tmp_path: Path, change: dict[str, Any], options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    import re

    said = refused(shop(1000).assign(**change), tmp_path, capfd, *MONEY, *options)
    assert re.search(message, said), said


def test_an_outcome_beside_money_says_who_bought(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = [*arms("A", "B"), "--value-column", "revenue", "--outcome-column", "visits"]
    assert "must say who bought" in refused(shop(1000), tmp_path, capfd, *asked)


def test_the_order_of_rows_has_no_part_in_any_figure(tmp_path: Path) -> None:
    frame = shop(4000, visitors=3000)
    asked = [*MONEY, "--cost-per", "contact", "--cost", "1", "--budget", "900"]
    found = [
        run(rows, tmp_path, *asked, out=name)
        for name, rows in (("a", frame), ("b", frame.sample(frac=1, random_state=2)))
    ]
    for part in ("metrics", "policies", "policy"):
        assert found[0][part] == found[1][part]


def test_an_offer_that_brings_people_back_is_counted_by_person_and_given_to_nobody(tmp_path: Path) -> None:
    frame = shop(3000)
    often = pd.concat([frame, frame[frame["offer"] == "B"].assign(bought=0, revenue=0.0)])
    found = run(often, tmp_path, *MONEY)
    assert "rows per unit" in found["left_out"]["B"]
    assert "C" not in found["left_out"]
    (value,) = (
        entry for entry in found["metrics"] if (entry["learner"], entry["metric"]) == ("B", "value_effect_all_slices")
    )
    means = frame.groupby("offer")["revenue"].mean()
    assert value["value"] == pytest.approx(means["B"] - means["none"])
    assert "B for all" not in {entry["name"] for entry in found["policies"]}

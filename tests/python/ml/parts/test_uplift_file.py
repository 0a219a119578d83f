"""`python -m ml.uplift` on the real Hillstrom e-mail test and on files it must refuse."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier
from scipy import stats
from sklift.metrics import qini_auc_score, uplift_at_k, uplift_auc_score
from sklift.models import TwoModels

from ml.config import load_config
from ml.experiment.file import Columns, from_file
from ml.parts import file as uplift
from ml.uplift.curves import rank_order

pytestmark = pytest.mark.end_to_end

ARMS = ["--treatment-column", "segment", "--treated", "Womens E-Mail", "--control", "No E-Mail"]
VISIT = [*ARMS, "--outcome-column", "visit", "--ignore", "conversion", "--ignore", "spend"]
MONEY = ["--cost", "0.1", "--cost-per", "contact", "--revenue", "1"]
DESIGN = ["--treated-share", "0.6666667"]


@pytest.fixture(scope="module")
def hillstrom(shared_data: Path) -> Path:
    return shared_data / "hillstrom" / "womens_email.csv"


@pytest.fixture(scope="module")
def visited(hillstrom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("visit")
    assert uplift.main(["--experiment", str(hillstrom), *VISIT, *MONEY, *DESIGN, "--out", str(out)]) == 0
    return out


def metrics_of(out: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    content = json.loads((out / "metrics/uplift_metrics.json").read_text())
    return {(entry["learner"], entry["versus"], entry["metric"]): entry for entry in content["metrics"]}


def test_the_average_effect_is_the_plain_difference_in_means(hillstrom: Path, visited: Path) -> None:
    rows = pd.read_csv(hillstrom)
    treated = rows.loc[rows["segment"] == "Womens E-Mail", "visit"]
    control = rows.loc[rows["segment"] == "No E-Mail", "visit"]
    effect = metrics_of(visited)["all", "", "average_effect_all_slices"]
    assert effect["value"] == treated.mean() - control.mean()
    welch = stats.ttest_ind(treated, control, equal_var=False).confidence_interval(0.95)
    assert (effect["ci_lower"], effect["ci_upper"]) == pytest.approx((welch.low, welch.high), abs=2e-6)
    assert effect["ci_lower"] > 0.03

    scores = pd.read_csv(visited / "predictions/uplift_scores.csv")
    test = scores[scores["dataset_split"] == "test"]
    on_test = metrics_of(visited)["all", "", "average_effect"]
    means = test.groupby("treatment")["outcome"].mean()
    assert on_test["value"] == pytest.approx(means[1] - means[0], abs=1e-15)


def test_scores_are_those_of_the_files_rows(hillstrom: Path, visited: Path) -> None:
    rows, scores = pd.read_csv(hillstrom), pd.read_csv(visited / "predictions/uplift_scores.csv")
    assert len(scores) == len(rows)
    joined = scores.set_index("row_number").sort_index()
    assert list(joined.index) == list(range(1, len(rows) + 1))
    assert (joined["outcome"].to_numpy() == rows["visit"]).all()
    assert (joined["treatment"].to_numpy() == (rows["segment"] == "Womens E-Mail")).all()
    assert not scores["is_simulated"].any()
    shares = scores["dataset_split"].value_counts(normalize=True)
    assert shares[["train", "calibration", "test"]].to_numpy() == pytest.approx([0.5, 0.2, 0.3], abs=0.001)


def test_metrics_are_scikit_uplifts_and_the_chosen_ranking_finds_whom_the_mail_moves(visited: Path) -> None:
    scores = pd.read_csv(visited / "predictions/uplift_scores.csv")
    test = scores[scores["dataset_split"] == "test"]
    metrics = metrics_of(visited)
    # Many customers look alike: their equal scores enter together.
    arrays = (test["outcome"].to_numpy(), test["score"].to_numpy(), test["treatment"].to_numpy())
    assert metrics["chosen", "", "qini"]["value"] == pytest.approx(qini_auc_score(*arrays), abs=1e-9)
    assert metrics["chosen", "", "auuc"]["value"] == pytest.approx(uplift_auc_score(*arrays), abs=1e-9)
    # Which of them fill a share is drawn by lot.
    rank = np.empty(len(test))
    rank[rank_order(test["score"].to_numpy(), seed=42)] = -np.arange(len(test))
    at_k = uplift_at_k(arrays[0], rank, arrays[2], strategy="overall", k=0.2)
    assert metrics["chosen", "", "uplift_at_20"]["value"] == pytest.approx(at_k, abs=1e-9)
    for learner in ("t_learner", "s_learner", "x_learner", "dr_learner", "stack", "response", "random"):
        entry = metrics[learner, "", "qini"]
        assert entry["ci_lower"] <= entry["value"] <= entry["ci_upper"]
    assert metrics["chosen", "", "qini"]["ci_lower"] > 0
    assert metrics["random", "chosen", "qini"]["ci_upper"] < 0
    placebo = metrics["placebo", "", "qini"]
    assert placebo["ci_lower"] < 0 < placebo["ci_upper"]


def test_the_command_says_which_differences_are_real(
    hillstrom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "quick.yml"
    settings.write_text("uplift: {challengers: [], bootstrap_resamples: 100}\npolicy: {bootstrap_resamples: 100}\n")
    arguments = [
        "--experiment",
        str(hillstrom),
        *VISIT,
        *MONEY,
        "--config",
        str(settings),
        "--out",
        str(tmp_path / "o"),
    ]
    assert uplift.main(arguments) == 0
    said = capsys.readouterr().out
    assert "32,008 of 32,008 rows" in said
    entry = metrics_of(tmp_path / "o")["t_learner", "response", "qini"]
    is_real = entry["ci_lower"] > 0 or entry["ci_upper"] < 0
    line = next(line for line in said.splitlines() if line.startswith("T-learner") and "Conversion prob" in line)
    assert ("a real difference" in line) == is_real
    assert ("no difference shown" in line) != is_real
    assert f"{entry['value']:+.4f}" in line
    # Nobody said what share was designed, so nobody tested it.
    assert "sample ratio" in " ".join(json.loads((tmp_path / "o/metrics/uplift_metrics.json").read_text())["warnings"])


@pytest.mark.statistics
def test_our_choice_is_at_least_scikit_uplifts_two_models(hillstrom: Path, visited: Path) -> None:
    config = load_config(None, {}, {})
    columns = Columns("segment", "visit", "Womens E-Mail", "No E-Mail", ignore=("conversion", "spend"))
    experiment = from_file(hillstrom, columns, config).experiment
    inputs = experiment.inputs.copy()
    for name in experiment.categorical:
        inputs[name] = inputs[name].astype(str)
    learn = np.concatenate([experiment.rows("train"), experiment.rows("calibration")])
    test = experiment.rows("test")
    arms = [
        CatBoostClassifier(cat_features=list(experiment.categorical), random_seed=42, silent=True, thread_count=2,
                           allow_writing_files=False)
        for _ in (0, 1)
    ]  # fmt: skip
    theirs = TwoModels(estimator_trmnt=arms[1], estimator_ctrl=arms[0], method="vanilla")
    theirs.fit(inputs.iloc[learn], experiment.outcome[learn], experiment.treatment[learn])
    their_qini = qini_auc_score(
        experiment.outcome[test], np.asarray(theirs.predict(inputs.iloc[test])), experiment.treatment[test]
    )
    metrics = metrics_of(visited)
    ours = metrics["chosen", "", "qini"]["value"]
    assert ours >= their_qini


def test_the_other_outcome_and_other_file_types_work(hillstrom: Path, tmp_path: Path) -> None:
    settings = tmp_path / "quick.yml"
    settings.write_text("uplift: {challengers: [], bootstrap_resamples: 50}\npolicy: {bootstrap_resamples: 50}\n")
    packed = tmp_path / "mail.csv.gz"
    with hillstrom.open("rb") as plain, gzip.open(packed, "wb") as file:
        shutil.copyfileobj(plain, file)
    columns = [*ARMS, "--outcome-column", "conversion", "--ignore", "visit", "--ignore", "spend"]
    found = []
    pd.read_csv(hillstrom).to_parquet(tmp_path / "mail.parquet")
    for path in (hillstrom, packed, tmp_path / "mail.parquet"):
        out = tmp_path / f"out_{path.suffix}"
        arguments = ["--experiment", str(path), *columns, *MONEY, "--config", str(settings), "--out", str(out)]
        assert uplift.main(arguments) == 0
        found.append(metrics_of(out))
    assert found[0] == found[1] == found[2]
    rows = pd.read_csv(hillstrom)
    means = rows.groupby("segment")["conversion"].mean()
    assert found[0]["all", "", "average_effect_all_slices"]["value"] == pytest.approx(
        means["Womens E-Mail"] - means["No E-Mail"], abs=1e-15
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "nowhere.csv", *VISIT], "nowhere.csv"),
        ([*VISIT, "--treated-share", "0.5"], "gate sample ratio failed"),
        ([*ARMS, "--outcome-column", "visit"], "gate leakage failed"),
        ([*ARMS, "--outcome-column", "visits", "--ignore", "conversion"], "has no column visits"),
        (["--treatment-column", "segment", "--outcome-column", "visit"], "--treated"),
        ([*VISIT, "--cost", "-2"], "policy.cost: Input should be greater than or equal to 0"),
        ([*VISIT, "--cost", "two"], "policy.cost: Input should be a valid number"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    hillstrom: Path, tmp_path: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--experiment" in arguments else ["--experiment", str(hillstrom), *arguments]
    assert uplift.main([*given, "--out", str(tmp_path / "out")]) == 1
    assert message in capfd.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("share", ["0", "1", "-0.2", "half"])
def test_a_share_of_treated_is_between_0_and_1(
    hillstrom: Path, share: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--experiment", str(hillstrom), *VISIT, "--treated-share", share, "--out", str(tmp_path / "out")]
    try:
        code: object = uplift.main(arguments)
    except SystemExit as stopped:
        code = stopped.code
    assert code in (1, 2)
    assert "treated-share" in capfd.readouterr().err

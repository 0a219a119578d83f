"""People who were in no experiment are scored by the model and the rule that one taught."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.experiment.file_rows import tie_breakers
from ml.experiment.people import read_people
from ml.parts import file as uplift
from ml.publish.file_model import read_sealed
from warehouse.errors import FunneliftError

SAME = ["p_control", "p_treatment", "uplift", "score", "response_probability"]
RULE = ["uplift_percentile", "decile", "response_percentile", "treat", "quadrant"]
FEATURES = ["tier", "city", "member", "joined", "visits"]
COLUMNS = ["--treatment-column", "arm", "--outcome-column", "bought", "--visitor-column", "customer"]


def experiment(n: int = 5000) -> pd.DataFrame:
    """Numbers with gaps, texts, flags, dates; few of them, so that many customers look alike."""
    rng = np.random.default_rng(3)
    old = rng.integers(0, 4, n)
    arm = rng.integers(0, 2, n)
    return pd.DataFrame(
        {
            "customer": [f"c{number}" for number in range(n)],
            "tier": np.where(rng.random(n) < 0.05, np.nan, old),
            "city": np.where(rng.random(n) < 0.1, None, rng.choice(["Bonn", "Köln"], n)),
            "member": rng.random(n) < 0.3,
            "joined": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 3, n), unit="D"),
            "visits": rng.integers(1, 4, n),
            "arm": arm,
            "bought": (rng.random(n) < 0.15 + 0.08 * arm * old / 3).astype(int),
        }
    )


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt")
    (folder / "quick.yml").write_text(
        "uplift: {challengers: [], bootstrap_resamples: 20}\npolicy: {bootstrap_resamples: 20}"
    )
    experiment().to_csv(folder / "test.csv", index=False)
    asked = ["--experiment", str(folder / "test.csv"), *COLUMNS, "--config", str(folder / "quick.yml"), "--cost", "2"]
    assert uplift.main([*asked, "--out", str(folder / "out")]) == 0
    return folder


def score(people: pd.DataFrame, folder: Path, models: Path, name: str = "people.csv") -> pd.DataFrame:
    path = folder / name
    if name.endswith("parquet"):
        people.to_parquet(path)
    else:
        people.to_csv(path, index=False, sep=";" if name.startswith("semicolon") else ",")
    assert uplift.main(["--score", str(path), "--model", str(models), "--out", str(folder / name[:3])]) == 0
    return pd.read_csv(folder / name[:3] / "predictions/uplift_scores.csv")


@pytest.mark.end_to_end
def test_the_experiments_own_rows_get_what_the_first_run_said(learnt: Path, tmp_path: Path) -> None:
    first = pd.read_csv(learnt / "out/predictions/uplift_scores.csv").sort_values("row_number", ignore_index=True)
    again = score(experiment(), tmp_path, learnt / "out/models")
    whole = (first["dataset_split"] != "train").to_numpy()
    assert whole.sum() > 2000
    pd.testing.assert_frame_equal(again.loc[whole, SAME], first.loc[whole, SAME], check_exact=True)
    # Customers who look alike are told apart by lot.
    alike = experiment().groupby(FEATURES, dropna=False).ngroup()
    alone = (alike.map(alike.value_counts()) == 1).to_numpy() & whole
    assert alone.any()
    pd.testing.assert_frame_equal(again.loc[alone, RULE], first.loc[alone, RULE], check_exact=True)
    assert list(again["visitor_id"]) == list(experiment()["customer"])
    assert again["model_version"].unique() == first["model_version"].unique()


@pytest.mark.end_to_end
def test_rows_are_scored_alike_in_any_order_company_and_format(learnt: Path, tmp_path: Path) -> None:
    people = experiment().drop(columns=["arm", "bought"]).drop_duplicates(FEATURES)
    people = people.set_index("customer", drop=False)
    models = learnt / "out"  # the folder above will do
    whole = score(people, tmp_path, models).set_index("visitor_id")
    some = people[people["city"] == "Bonn"][::-1][[*people.columns[::-1]]].assign(extra=1)
    for name in ("few.csv", "semicolon.csv", "rows.parquet"):
        few = score(some, tmp_path, models, name).set_index("visitor_id")
        assert len(few) == len(some)
        values = [*SAME, *RULE]
        pd.testing.assert_frame_equal(few[values], whole.loc[few.index, values], check_exact=True)


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda people: people.drop(columns="city"), "has no column city"),
        (lambda people: people.assign(city="Ulm"), "city holds what no row .*'Ulm' .5,000 rows., first in data row 1"),
        (lambda people: people.assign(city=people["visits"]), "column city holds what no row"),
        (lambda people: people.assign(member="so"), "column member must hold true and false.*row 1 holds 'so'"),
        (lambda people: people.assign(member=None), "column member holds what no row of the experiment held: nothing"),
        (lambda people: people.assign(visits=people["visits"].where(people.index != 6)), "visits holds nothing.*row 7"),
        (lambda people: people.assign(visits=np.where(people.index == 4, "no", "2")), "visits must .*row 5 holds 'no'"),
        (lambda people: people.assign(visits=people["joined"]), "visits must hold numbers"),
        (lambda people: people.assign(joined=people["visits"]), "joined must hold dates"),
        (lambda people: people.assign(visits=np.inf), "visits is infinite"),
        (lambda people: people[:0], "has no rows"),
    ],
)  # fmt: skip
def test_what_the_experiment_cannot_tell_is_refused(
    learnt: Path, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    path = tmp_path / "people.csv"
    change(experiment()).to_csv(path, index=False)
    sealed = json.loads((learnt / "out/models/uplift_file.json").read_text())
    model, _ = read_sealed(learnt / "out/models")
    with pytest.raises(FunneliftError, match=f"people.csv.*{message}"):
        read_people(path, model.features, sealed["words"], sealed["visitor"])


@pytest.mark.end_to_end
def test_a_model_that_was_changed_mixed_or_lost_is_refused(
    learnt: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(change: Callable[[Path], object]) -> str:
        shutil.rmtree(tmp_path / "models", ignore_errors=True)
        shutil.copytree(learnt / "out/models", tmp_path / "models")
        change(tmp_path / "models")
        asked = ["--score", str(learnt / "test.csv"), "--model", str(tmp_path / "models"), "--out", str(tmp_path / "o")]
        assert uplift.main(asked) == 1
        assert not (tmp_path / "o").exists()
        return capfd.readouterr().err.replace("\n", " ")

    def more_generous(models: Path) -> None:
        sealed = models / "uplift_file.json"
        sealed.write_text(sealed.read_text().replace('"share_percent": ', '"share_percent": 1'))

    for name in sorted(path.name for path in (learnt / "out/models").iterdir()):
        assert name in refused(lambda models, name=name: (models / name).unlink())  # type: ignore[misc]
        assert name in refused(lambda models, name=name: (models / name).write_bytes(b"{}"))  # type: ignore[misc]
    foreign = lambda models: shutil.copy(models / "uplift_control.cbm", models / "uplift_treatment.cbm")  # noqa: E731
    assert "uplift_treatment.cbm: expected sha256" in refused(foreign)
    assert "uplift_file.json is not as its run wrote it" in refused(more_generous)


@pytest.mark.end_to_end
def test_a_run_that_can_rank_nobody_leaves_no_earlier_model_behind(
    learnt: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(learnt / "out", tmp_path / "out")
    experiment(150).to_csv(tmp_path / "few.csv", index=False)
    asked = ["--experiment", str(tmp_path / "few.csv"), *COLUMNS, "--out", str(tmp_path / "out")]
    scored = ["--score", str(learnt / "test.csv"), "--model", str(tmp_path / "out"), "--out", str(tmp_path / "s")]
    for more in ([], ["--contact-cost", "1"]):
        assert uplift.main([*asked, *more]) == 0
        assert uplift.main(scored) == 1
        assert "has no model to score by: " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--score", "a.csv"], "--model"),
        (["--score", "a.csv", "--model", "m", "--out", "o", "--cost", "3", "--treated", "1"], "cost, treated"),
        (["--score", "a.csv", "--model", "o/models", "--out", "o"], "holds the scores"),
        (["--score", "a.csv", "--experiment", "b.csv"], "not allowed with"),
        (["--experiment", "b.csv"], "--treatment-column, --outcome-column"),
        (["--experiment", "b.csv", "--treatment-column", "a", "--outcome-column", "b", "--model", "m"], "--model goes"),
        ([], "--experiment"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        uplift.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_who_look_alike_share_the_same_numbers_in_any_order() -> None:
    inputs = pd.DataFrame({"tier": np.float32([1, 2, 1, 1]), "city": pd.Categorical(["a", "b", "a", "b"])})
    ties = tie_breakers(inputs, 1)
    assert len(set(ties)) == 4
    assert np.array_equal(tie_breakers(inputs[::-1], 1)[::-1][[1, 3]], ties[[1, 3]])
    assert sorted(tie_breakers(inputs.iloc[[2, 1, 3, 0]], 1)) == sorted(ties)
    assert not np.isin(tie_breakers(inputs, 2), ties).any()

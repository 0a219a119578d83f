"""Experiments from files: the real Hillstrom e-mail test, and every way in which a file can be no experiment."""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.config import Config, load_config
from ml.data.gates import GateError
from ml.experiment.experiment import SPLITS
from ml.experiment.file import Columns, FileExperiment, from_file, read_rows
from ml.experiment.randomisation import is_first
from warehouse.errors import FunneliftError

CONFIG = load_config(environment={})
EMAIL = {"treatment": "segment", "treated": "Womens E-Mail", "control": "No E-Mail"}


def world(n: int = 6000, seed: int = 1) -> pd.DataFrame:
    """A fair experiment with an effect: two rows a visitor, numbers, texts, flags, dates, nulls."""
    rng = np.random.default_rng(seed)
    visitor = np.arange(n) // 2
    arm = rng.integers(0, 2, n // 2)[visitor]
    age = rng.normal(40, 10, n).round(1)
    return pd.DataFrame(
        {
            "customer": np.char.add("c", visitor.astype(str)).astype(object),
            "arm": arm,
            "bought": (rng.random(n) < 0.2 + 0.05 * arm + 0.002 * (age - 40)).astype(int),
            "age": np.where(rng.random(n) < 0.1, np.nan, age),
            "city": np.where(rng.random(n) < 0.1, None, rng.choice(["Bonn", "Köln", "Ulm"], n)),
            "member": rng.random(n) < 0.3,
            "joined": pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, n), unit="D"),
        }
    )


def save(frame: pd.DataFrame, folder: Path, name: str = "test.csv", separator: str = ",") -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep=separator, date_format="%Y-%m-%d")
    return path


def read(
    path: Path, config: Config = CONFIG, treated_share: float | None = None, ignore: Sequence[str] = (), **changes: Any
) -> FileExperiment:
    asked = {"treatment": "arm", "outcome": "bought", "visitor": "customer"}
    columns = Columns(**(asked | changes), ignore=tuple(ignore))
    return from_file(path, columns, config, treated_share=treated_share)


def test_the_first_row_of_a_unit_is_of_no_special_kind(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    customer = rng.integers(0, 1500, 4000)
    frame = pd.DataFrame({"customer": customer, "arm": rng.integers(0, 2, 1500)[customer]})
    frame = frame.assign(young=rng.random(4000) < 0.5, bought=(rng.random(4000) < 0.2).astype(int))
    made = read(save(frame, tmp_path))
    first = made.experiment.inputs["young"][is_first(made.experiment.visitor)].astype(str) == "true"
    for arm in (0, 1):
        assert first[made.experiment.treatment[first.index] == arm].mean() == pytest.approx(0.5, abs=0.08)


def in_file_order(made: FileExperiment, values: Any) -> np.ndarray[Any, Any]:
    return np.asarray(values)[np.argsort(made.identity.column("row_number").to_numpy())]


def email(shared_data: Path, **changes: Any) -> FileExperiment:
    asked: dict[str, Any] = {**EMAIL, "outcome": "visit", "ignore": ["conversion", "spend"], "visitor": None}
    return read(shared_data / "hillstrom" / "womens_email.csv", **{**asked, **changes})


# The real experiment


def test_hillstrom_is_read_as_it_is(shared_data: Path) -> None:
    made = email(shared_data, treated_share=2 / 3)
    plain = pd.read_csv(shared_data / "hillstrom" / "womens_email.csv")
    experiment = made.experiment
    assert made.rows_read == len(experiment) == len(plain)
    assert made.mart.numeric == ["recency", "history", "mens", "womens", "newbie"]
    assert made.mart.categorical == list(experiment.categorical) == ["history_segment", "zip_code", "channel"]
    assert list(experiment.inputs) == made.mart.names
    assert made.dropped == {"conversion": "ignored, as told", "spend": "ignored, as told"}
    assert np.array_equal(in_file_order(made, experiment.treatment), plain["segment"] == "Womens E-Mail")
    assert np.array_equal(in_file_order(made, experiment.outcome), plain["visit"])
    assert np.array_equal(in_file_order(made, experiment.inputs["history"]), plain["history"].astype(np.float32))
    assert in_file_order(made, experiment.inputs["channel"].astype(str)).tolist() == plain["channel"].tolist()
    assert sorted(made.identity.column("row_number").to_pylist()) == list(range(1, len(plain) + 1))
    assert made.randomisation.ratio_p is not None
    assert made.randomisation.ratio_p > 0.1
    assert made.randomisation.worst_p == 1
    assert made.randomisation.warnings == ()
    assert made.source == "experiment of 32,008 visitors (womens_email.csv)"
    shares = [len(experiment.rows(name)) / len(plain) for name in ("train", "calibration", "test")]
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=1e-3)
    treated = experiment.treatment == 1
    for name in ("train", "calibration", "test"):
        inside = experiment.split == SPLITS.index(name)
        rate = experiment.outcome[treated].mean()
        assert experiment.outcome[inside & treated].mean() == pytest.approx(rate, abs=1e-3)


def test_hillstroms_arms_are_not_of_equal_size(shared_data: Path) -> None:
    with pytest.raises(GateError, match="found 21,387 and 10,621"):
        email(shared_data, treated_share=0.5)
    untold = email(shared_data)
    assert untold.experiment.treated_share == pytest.approx(21_387 / 32_008)
    assert "66.82% treated) was not tested" in untold.randomisation.warnings[0]


@pytest.mark.parametrize(
    ("ignore", "feature"), [(["conversion"], "spend is 29.99 or more"), (["spend"], "conversion is 1 or more")]
)
def test_outcomes_left_in_as_features_are_leaks(shared_data: Path, ignore: list[str], feature: str) -> None:
    # Only 247 of 4,355 visits end in a purchase, so the AUC of either is 0.53.
    with pytest.raises(GateError, match=rf"{feature} .*13.61% convert.* found 100.0% \(247 of 247 rows\)") as failure:
        email(shared_data, ignore=ignore)
    assert failure.value.gate == "leakage"


def test_a_purchase_as_outcome_is_given_away_by_money_and_moved_with_visits(shared_data: Path) -> None:
    with pytest.raises(GateError, match=r"AUC of spend alone .* found 1\.0000"):
        email(shared_data, outcome="conversion", ignore=["visit"])
    with pytest.raises(GateError, match=r"visit, mean among treated .*measured after the treatment"):
        email(shared_data, outcome="conversion", ignore=["spend"])
    made = email(shared_data, outcome="conversion", ignore=["visit", "spend"])
    assert made.experiment.outcome.sum() == 247


# Reading


@pytest.mark.parametrize(
    ("name", "separator"),
    [("a.csv", ","), ("a.csv", ";"), ("a.tsv", "\t"), ("a.csv.gz", ","), ("a.parquet", "")],
)
def test_every_kind_of_file_gives_the_same(tmp_path: Path, name: str, separator: str) -> None:
    frame = world()
    expected = read(save(frame, tmp_path, "plain.csv"))
    made = read(save(frame, tmp_path, name, separator))
    assert made.mart.features == expected.mart.features
    pd.testing.assert_frame_equal(made.experiment.inputs, expected.experiment.inputs)
    for column in ("treatment", "outcome", "visitor", "split"):
        assert np.array_equal(getattr(made.experiment, column), getattr(expected.experiment, column))


def test_values_become_features(tmp_path: Path) -> None:
    frame = world()
    made = read(save(frame, tmp_path))
    assert made.mart.numeric == ["age", "joined"]
    assert made.mart.categorical == ["city", "member"]
    inputs = made.experiment.inputs
    np.testing.assert_array_equal(in_file_order(made, inputs["age"]), frame["age"].astype(np.float32))
    assert in_file_order(made, inputs["joined"])[0] == (frame["joined"].iloc[0] - pd.Timestamp(0)).days
    assert in_file_order(made, inputs["city"].astype(str)).tolist() == frame["city"].fillna("(none)").tolist()
    assert set(inputs["member"]) == {"true", "false"}
    assert all(inputs[name].dtype == np.float32 for name in made.mart.numeric)


def test_visitors_stay_in_one_split_whatever_the_row_order(tmp_path: Path) -> None:
    frame = world()
    made = read(save(frame, tmp_path))
    split = pd.Series(in_file_order(made, made.experiment.split), index=frame["customer"])
    assert (split.groupby(level=0).nunique() == 1).all()
    assert set(split) == {0, 1, 2}
    shuffled = frame.sample(frac=1, random_state=3)
    turned = read(save(shuffled, tmp_path, "b.csv"))
    again = pd.Series(in_file_order(turned, turned.experiment.split), index=shuffled["customer"])
    assert (split.groupby(level=0).first() == again.groupby(level=0).first()).all()
    other = read(save(frame, tmp_path), CONFIG.model_copy(update={"seed": 7})).experiment.split
    assert 0.3 < (other == made.experiment.split).mean() < 0.5


def test_a_file_with_a_byte_order_mark_and_quoted_names(tmp_path: Path) -> None:
    frame = world()
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf" + frame.to_csv(index=False, sep=";", quoting=1).encode())
    assert read(path).rows_read == len(frame)


def test_other_arms_are_left_out_and_counted(tmp_path: Path) -> None:
    frame = world()
    frame["arm"] = frame["arm"].map({0: "none", 1: "mail"})
    frame.loc[frame["customer"].isin(["c0", "c5", "c7"]), "arm"] = "NA"
    frame.loc[frame["customer"] == "c9", "arm"] = "sms"
    path = save(frame.assign(arm=frame["arm"].replace("NA", "post")), tmp_path)
    made = read(path, treated="mail", control="none")
    assert made.other_arms == {"post": 6, "sms": 2}
    assert made.rows_read == 6000
    assert len(made.experiment) == 5992
    assert 1 not in made.identity.column("row_number").to_pylist()
    known = frame[frame["arm"].isin(["mail", "none"])]["arm"] == "mail"
    assert np.array_equal(in_file_order(made, made.experiment.treatment), known)
    # A value that elsewhere means null may name an arm.
    named = read(save(frame.replace({"arm": {"none": "NA", "NA": "post"}}), tmp_path), treated="mail", control="NA")
    assert named.other_arms == {"post": 6, "sms": 2}


@pytest.mark.parametrize(("treated", "control"), [("1.0", "0"), ("1", "0.0"), (None, None)])
def test_whole_numbers_may_have_decimals(tmp_path: Path, treated: str | None, control: str | None) -> None:
    frame = world().astype({"arm": float, "bought": float})
    for name in ("a.csv", "a.parquet"):
        made = read(save(frame, tmp_path, name), treated=treated, control=control)
        assert np.array_equal(in_file_order(made, made.experiment.treatment), frame["arm"])
        assert np.array_equal(in_file_order(made, made.experiment.outcome), frame["bought"])


def test_true_and_false_are_outcomes(tmp_path: Path) -> None:
    frame = world().astype({"bought": bool})
    for name in ("a.csv", "a.parquet"):
        assert read(save(frame, tmp_path, name)).experiment.outcome.sum() == frame["bought"].sum()


def test_columns_that_say_nothing_are_dropped_and_named(tmp_path: Path) -> None:
    frame = world().assign(country="DE", one=1.0, empty=np.nan, letter=[f"l{i}" for i in range(6000)])
    frame["list"] = [[1]] * 6000
    made = read(save(frame, tmp_path, "a.parquet"), ignore=["member"])
    assert made.mart.names == ["age", "joined", "city"]
    assert made.dropped["member"] == "ignored, as told"
    assert made.dropped["country"] == made.dropped["one"] == "the same in all rows"
    assert made.dropped["empty"] == "empty"
    assert made.dropped["letter"] == "an id: 6,000 different texts in 6,000 rows"
    assert made.dropped["list"].startswith("neither number, text nor date: list")


# What is no experiment


def bad(change: Callable[[pd.DataFrame], pd.DataFrame], **asked: Any) -> Callable[[Path], object]:
    return lambda folder: read(save(change(world()), folder), **asked)


def with_value(column: str, row: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[row, column] = value
        return frame

    return change


def same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


@pytest.mark.parametrize(
    ("attempt", "complaint"),
    [
        (lambda folder: read(folder / "missing.csv"), "no experiment file at .*missing.csv"),
        (lambda folder: read(folder), "no experiment file at"),
        (bad(same, outcome="purchase"), "has no column purchase: its columns are customer, arm, bought"),
        (bad(same, ignore=["agee", "sex"]), "has no column agee, sex"),
        (bad(same, visitor="person"), "has no column person"),
        (bad(same, outcome="arm"), "column arm cannot be two of treatment, outcome"),
        (bad(same, ignore=["bought"]), "column bought cannot be two of"),
        (bad(same, treated="1"), "treated '1' and control None: give two different values, or neither"),
        (bad(same, treated="1", control="1"), "give two different values"),
        (bad(lambda f: f.assign(arm=1)), r"one arm only, no control row: it holds '1' \(6,000 rows\)"),
        (bad(same, treated="2", control="0"), "one arm only, no treated row: it holds '[01]'"),
        (
            bad(with_value("arm", 0, "2")),
            r"holds 3 values, not only 0 and 1: .*'2' \(1 rows\)\. Say which .*--treated VALUE --control VALUE",
        ),
        (bad(lambda f: f.assign(arm=f["arm"].map({0: "a", 1: "b"}))), "holds 2 values, not only 0 and 1"),
        (bad(with_value("arm", 3, None)), "1 of 6000 rows have no arm; the first is data row 4"),
        (bad(with_value("customer", 5, " ")), "1 of 6000 rows have no customer; the first is data row 6"),
        (
            bad(with_value("bought", 7, "maybe")),
            "outcome column bought must hold 0 and 1 .* but 1 rows hold something else: 'maybe', first in data row 8",
        ),
        (bad(lambda f: f.assign(bought=0)), "outcome column bought is 0 in all rows"),
        (bad(lambda f: f.assign(bought=f["bought"] + 1)), "holds only 1 and 2: a yes or no is written as 0 and 1"),
        (bad(lambda f: f.assign(bought=2 * f["bought"] - 1)), "bought holds only -1 and 1"),
        (
            bad(lambda f: f.rename(columns={"arm": "is_holdout"}), treatment="is_holdout"),
            r"is_holdout sounds as if 1 were the control: .*--treated VALUE --control VALUE",
        ),
        (bad(lambda f: f.groupby("arm").head(1).assign(bought=[0, 1])), "units in the treated arm that can"),
        (bad(lambda f: f.assign(bought=np.where(f["arm"] == 1, None, f["bought"]))), "no treated row .* known outcome"),
        (bad(same, stratum="region"), "has no column region"),
        (bad(same, stratum="city"), "rows have no city"),
        (bad(lambda f: f.assign(area=np.arange(6000) % 7), stratum="area"), "units have several values of area"),
        (bad(lambda f: f.assign(chance=1.5), propensity="chance"), "must hold chances between 0 and 1, but 6000 rows"),
        (bad(lambda f: pd.concat([f] * 2), visitor=None, ignore=["customer"]), "6,000 of 12,000 rows are copies"),
        (bad(same, treated="Mail", control="mail "), "give two different values.* capitals and blanks"),
        *[
            (bad(lambda f, name=name: f.rename(columns={"arm": name}), treatment=name), f"{name} sounds as if 1 were")
            for name in ("isControl", "inHoldout", "no_offer", "suppressed", "NOT_TREATED")
        ],
        (
            bad(lambda f: f.assign(bought=np.where(f["bought"] == 1, 1, None))),
            "is 1 in all rows but [0-9,]+ that have none: .* Write 0 where a blank says no",
        ),
        (bad(lambda f: f.iloc[:0]), "has no rows"),
        (bad(lambda f: f.assign(age=np.where(f["age"] > 50, np.inf, f["age"]))), "column age has .* infinite values"),
    ],
)  # fmt: skip
def test_what_is_no_experiment_is_refused(tmp_path: Path, attempt: Callable[[Path], object], complaint: str) -> None:
    with pytest.raises(FunneliftError, match=complaint):
        attempt(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("empty.csv", b"", "cannot read"),
        ("binary.parquet", b"PAR1 no more", "cannot read"),
        ("broken.csv", b"customer,arm,bought\n1,2\n", "cannot read .*Expected 3 columns"),
        ("cut.csv.gz", gzip.compress(b"customer,arm,bought,age\n1,0,1,3\n", mtime=0)[:-12], "cannot read"),
        ("twice.csv", b"customer,arm,arm,bought\n1,1,1,0\n", "several columns called arm"),
        ("latin.csv", "arm,bought,customer,city\n1,0,1,K\xf6ln\n0,0,2,Ulm\n0,1,3,Ulm\n".encode("latin-1"), "not UTF-8"),
        ("blank.csv", b"\n\n\n", "cannot read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FunneliftError, match=complaint):
        read(path)


def test_a_few_visitors_in_both_arms_are_left_out_and_many_are_refused(tmp_path: Path) -> None:
    frame = world()
    frame.loc[[0, 2, 4], "arm"] = 1 - frame.loc[[0, 2, 4], "arm"]
    made = read(save(frame, tmp_path))
    assert "3 values of customer are in both arms and were left out, with 6 rows." in made.notes
    assert not set(made.identity.column("visitor_id").to_pylist()) & {"c0", "c1", "c2"}
    assert len(made.experiment) == 5994
    frame["arm"] = np.arange(6000) % 2
    with pytest.raises(FunneliftError, match=r"3,000 of 3,000 values of customer are in both arms.*--stratum-column"):
        read(save(frame, tmp_path))


def test_arms_that_were_not_assigned_at_random_are_refused(tmp_path: Path) -> None:
    frame = world().drop(columns="customer")
    rng = np.random.default_rng(5)
    frame["arm"] = (rng.random(6000) < np.where(frame["age"] > 40, 0.6, 0.4)).astype(int)
    with pytest.raises(GateError, match="age, mean among treated"):
        read(save(frame, tmp_path), visitor=None)
    allowed = CONFIG.model_copy(update={"experiment": CONFIG.experiment.model_copy(update={"allow_mismatch": True})})
    made = read(save(frame, tmp_path), allowed, visitor=None)
    assert any("age, mean among treated" in text for text in made.randomisation.warnings)


def test_a_sample_ratio_that_was_not_designed_is_refused(tmp_path: Path) -> None:
    frame = world()
    frame = frame[(frame["arm"] == 1) | (np.arange(6000) % 20 > 5)]
    read(save(frame, tmp_path))
    with pytest.raises(GateError, match="sample ratio failed"):
        read(save(frame, tmp_path), treated_share=0.5)


def test_a_text_that_gives_the_outcome_away_is_a_leak(tmp_path: Path) -> None:
    frame = world()
    frame["status"] = np.where((frame["bought"] == 1) & (np.arange(6000) % 5 == 0), "shipped", "open")
    with pytest.raises(GateError, match=r"where status is shipped at test.csv .*found 100.0%"):
        read(save(frame, tmp_path))
    accepted = CONFIG.leakage.model_copy(update={"accepted": {"status": "on purpose"}})
    made = read(save(frame, tmp_path), CONFIG.model_copy(update={"leakage": accepted}))
    assert "status" in made.mart.categorical


# Files as people have them


def test_results_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    frame = world().drop(columns="customer")
    made = read(save(frame, tmp_path), visitor=None)
    turned = read(save(frame.sort_values(["arm", "bought", "age"]), tmp_path, "b.csv"), visitor=None)
    pd.testing.assert_frame_equal(made.experiment.inputs, turned.experiment.inputs)
    for column in ("treatment", "outcome", "visitor", "split"):
        assert np.array_equal(getattr(made.experiment, column), getattr(turned.experiment, column))
    assert made.average.entries == turned.average.entries


def test_rows_that_hold_the_same_are_dealt_to_all_splits_and_folds(tmp_path: Path) -> None:
    """A file of few features without ids: else the splits would hold other people."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"arm": rng.integers(0, 2, 6000), "age": rng.integers(0, 2, 6000)})
    frame["bought"] = (rng.random(6000) < 0.2 + 0.05 * frame["arm"] * frame["age"]).astype(int)
    experiment = read(save(frame, tmp_path), visitor=None).experiment
    age, groups = experiment.inputs["age"].to_numpy(), [experiment.split, experiment.visitor % 3]
    for group in groups:
        for part in np.unique(group):
            for arm in (0, 1):
                for outcome in (0, 1):
                    own = (group == part) & (experiment.treatment == arm) & (experiment.outcome == outcome)
                    assert age[own].mean() == pytest.approx(0.5, abs=0.2)
    turned = read(save(frame.iloc[::-1], tmp_path, "b.csv"), visitor=None).experiment
    assert np.array_equal(experiment.split, turned.split)
    assert np.array_equal(experiment.outcome, turned.outcome)


def test_an_arm_in_every_third_row_is_in_every_fold(tmp_path: Path) -> None:
    frame = world().drop(columns="customer").assign(arm=(np.arange(6000) % 3 != 2).astype(int))
    experiment = read(save(frame, tmp_path), visitor=None).experiment
    for fold in range(3):
        assert experiment.treatment[experiment.visitor % 3 == fold].mean() == pytest.approx(2 / 3, abs=0.05)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda f: f.iloc[:450].assign(bought=f["bought"] * (f["age"] > 45)),
            "each split needs 10 conversions in each arm",
        ),
        (lambda f: f.assign(bought=f["bought"] * f["arm"]), "no control row converts"),
        (lambda f: f[["customer", "arm", "bought"]], "no column is left"),
        (lambda f: f[["customer", "arm", "bought"]].assign(x=1), "no column is left"),
        (lambda f: f.assign(bought=3.5 * f["bought"]), "the outcome is an amount"),
        (lambda f: f[(f["arm"] == 0) | (np.arange(6000) % 2 == 0)], "the arms differ in rows per unit"),
        (lambda f: f[f["customer"].isin([f"c{i}" for i in range(90)])], "units in an arm, fewer than 100"),
    ],
)
def test_what_says_nothing_of_whom_gets_its_average_effect(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], why: str
) -> None:
    made = read(save(change(world()), tmp_path))
    assert made.unrankable is not None
    assert why in made.unrankable
    assert np.isfinite(made.average.effect).all()
    assert made.average.effect[1] < made.average.effect[2]


def test_strata_of_other_shares_are_compared_within(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frame = world(20_000).drop(columns="customer")
    is_large = rng.random(20_000) < 0.5
    frame["part"] = np.where(is_large, "A", "B")
    frame["chance"] = np.where(is_large, 0.5, 0.1)
    frame["arm"] = (rng.random(20_000) < frame["chance"]).astype(int)
    frame["bought"] = (rng.random(20_000) < np.where(is_large, 0.3, 0.1) + 0.02 * frame["arm"]).astype(int)
    path = save(frame, tmp_path)
    with pytest.raises(GateError, match=r"balance failed: (chance|part)"):
        read(path, visitor=None)
    for told in ({"stratum": "part"}, {"propensity": "chance"}):
        made = read(path, visitor=None, ignore=["chance"] if "stratum" in told else [], **told)
        assert made.average.effect[1] < 0.02 < made.average.effect[2]
        assert made.average.effect[2] < 0.05
        assert "the chance of treatment differs" in str(made.unrankable)
    assert made.randomisation.ratio_p is not None
    shifted = frame.assign(chance=frame["chance"] + 0.05)
    with pytest.raises(GateError, match="sample ratio failed"):
        read(save(shifted, tmp_path), visitor=None, propensity="chance", ignore=["part"])
    biased = frame.assign(age=frame["age"].fillna(40) + 3 * frame["arm"])
    with pytest.raises(GateError, match="balance failed: age"):
        read(save(biased, tmp_path), visitor=None, stratum="part", ignore=["chance"])


def test_numbers_of_rows_and_ids_are_no_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    frame = world()
    frame["account_id"] = rng.permutation(10**6)[:6000]
    frame["person"] = rng.permutation(6000) + 10_000.0
    frame.to_csv(tmp_path / "index.csv", date_format="%Y-%m-%d")
    frame[frame.index % 2 < 1].set_index("person").rename_axis(None).to_parquet(tmp_path / "index.parquet")
    assert read(tmp_path / "index.parquet").dropped["__index_level_0__"] == "it numbers rows"
    made = read(tmp_path / "index.csv")
    assert made.mart.names == ["age", "joined", "city", "member"]
    assert made.dropped["1 (without a name)"] == "it numbers rows"
    assert made.dropped["account_id"] == "an id: 6,000 different numbers in 6,000 rows"
    assert made.dropped["person"] == "numbers without a gap, 10,000 to 15,999, each as often: they name rows"


@pytest.mark.parametrize(("separator", "text"), [(";", "1.234,5"), ("\t", "1234,5"), (",", "1234,5"), (",", "1,234.5")])
def test_decimal_commas_and_thousands_are_numbers(tmp_path: Path, separator: str, text: str) -> None:
    frame = world()
    thousands, decimal = ("." if "." in text[:2] else "," if text[1] == "," else ""), text[-2]
    spelt = [f"{value:,.1f}".translate({44: thousands or None, 46: decimal}) for value in 1000 + frame["age"].fillna(0)]
    made = read(save(frame.assign(spent=spelt), tmp_path, separator=separator))
    assert "spent" in made.mart.numeric
    expected = (1000 + frame["age"].fillna(0)).round(1).astype(np.float32)
    np.testing.assert_allclose(in_file_order(made, made.experiment.inputs["spent"]), expected, rtol=1e-6)


def test_arms_are_one_whatever_their_capitals(tmp_path: Path) -> None:
    frame = world()
    names = np.where(frame["arm"] == 0, "Control", np.where(np.arange(6000) % 4 < 2, "MAIL", " mail"))
    made = read(save(frame.assign(arm=names), tmp_path), treated="Mail", control="control")
    assert np.array_equal(in_file_order(made, made.experiment.treatment), frame["arm"])
    assert any("The treated arm is written in several ways, taken as one: 'MAIL'" in text for text in made.notes)
    words = read(
        save(
            frame.assign(
                arm=frame["arm"].map({0: "control", 1: "Treatment"}), bought=frame["bought"].map({0: "No", 1: "Yes"})
            ),
            tmp_path,
        )
    )
    assert np.array_equal(in_file_order(words, words.experiment.outcome), frame["bought"])


def test_a_column_that_marks_the_control_is_read_as_told(tmp_path: Path) -> None:
    frame = world()
    told = read(
        save(frame.assign(holdout=1 - frame["arm"]).drop(columns="arm"), tmp_path),
        treatment="holdout",
        treated="0",
        control="1",
    )
    assert np.array_equal(in_file_order(told, told.experiment.treatment), frame["arm"])
    words = frame.assign(arm=frame["arm"].map({0: "control", 1: "treatment"})).rename(columns={"arm": "control_group"})
    made = read(save(words, tmp_path), treatment="control_group")
    assert np.array_equal(in_file_order(made, made.experiment.treatment), frame["arm"])


def test_less_is_better_turns_the_ranking_and_not_the_effect(tmp_path: Path) -> None:
    frame = world().rename(columns={"bought": "churned"})
    path = save(frame, tmp_path)
    asked, told = read(path, outcome="churned"), read(path, outcome="churned", lower_is_better=True)
    assert "--lower-is-better" in asked.notes[0]
    assert "Less of churned is better, as told" in told.notes[0]
    assert np.array_equal(in_file_order(told, told.experiment.outcome), 1 - frame["churned"])
    assert told.average.effect == asked.average.effect
    lowered = frame.assign(churned=1 - frame["churned"]).rename(columns={"churned": "used"})
    assert "the treatment lowers it" in read(save(lowered, tmp_path), outcome="used").notes[0]


def test_copies_of_a_unit_are_told(tmp_path: Path) -> None:
    frame = pd.concat([world(), world().iloc[:600]])
    told = read(save(frame, tmp_path)).notes
    assert told[0].startswith("600 of 6,600 rows are copies: the same as another row in every column")
    # Few values in few columns repeat by chance.
    few = world()[["arm", "bought", "member"]]
    assert not read(save(few, tmp_path), visitor=None).notes


@pytest.mark.parametrize("kind", ["text", "number", "day", "shop of customers"])
def test_what_was_drawn_but_not_named_is_told(tmp_path: Path, kind: str) -> None:
    frame = world().drop(columns="joined")
    number = frame["customer"].str[1:].astype(int)
    unit, visitor = "basket_of", None
    if kind == "shop of customers":
        rng = np.random.default_rng(2)
        shop = rng.integers(0, 40, 3000)
        frame["arm"], number, visitor = (
            np.isin(shop[number] % 4, (0, 3)).astype(int),
            pd.Series(shop[number]),
            "customer",
        )
    else:
        frame = frame.drop(columns="customer")
    frame[unit] = {
        "text": "b" + number.astype(str),
        "day": pd.Timestamp("2000-01-01") + pd.to_timedelta(number, "D"),
    }.get(kind, number)
    for ignore in ([], [unit]):
        notes = read(save(frame, tmp_path), visitor=visitor, ignore=ignore).notes
        assert any(f"it looks as if {unit} was drawn. Name it (--visitor-column {unit})" in note for note in notes)
    if visitor is None:
        assert not read(save(frame, tmp_path), visitor=unit).notes


def test_columns_that_only_repeat_are_not_what_was_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    frame = world().drop_duplicates("customer").drop(columns=["customer", "joined"])
    frame["pair"] = np.arange(len(frame)) // 2
    # Copies of a row are in one arm, whatever was drawn.
    copies = frame.sample(frac=0.2, random_state=1).assign(age=45.5, pair=lambda f: 5000 + np.arange(len(f)))
    frame = pd.concat([frame, copies, copies])
    frame["code"] = np.where(frame["arm"] == 1, rng.choice(["X1", "X2", "X3", "X4"], len(frame)), None)
    assert not any("was drawn" in note for note in read(save(frame, tmp_path), visitor=None, ignore=["code"]).notes)


def test_columns_that_make_one_ask(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = world().assign(sample_weight=rng.choice([1.5, 2.5], 6000))
    assert any("weights of rows have no part" in note for note in read(save(frame, tmp_path)).notes)
    notes = read(save(frame.assign(bought=frame["arm"]), tmp_path)).notes
    assert any("bought is 1 for each of the treated and 0 for all others" in note for note in notes)
    money = frame.assign(spent=np.where(rng.random(6000) < 0.2, rng.integers(900, 9000, 6000), 0))
    columns = Columns(treatment="arm", outcome="bought", visitor="customer", value="spent")
    notes = read_rows(save(money, tmp_path), columns, CONFIG).notes
    assert any("spent and bought disagree" in note for note in notes)
    assert any("if they are cents, give the costs in cents too" in note for note in notes)
    fair = money.assign(spent=frame["bought"] * (rng.gamma(2, 20, 6000) + 0.01).round(2)).drop(columns="sample_weight")
    assert not read_rows(save(fair, tmp_path), columns, CONFIG).notes

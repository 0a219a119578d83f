"""Experiments on the mart: the arms of a real one, the simulation with its known effects, and what is refused."""

from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import ml_mart
import ml_mart_mysql
from ml.config import Config, ExperimentSettings, Segment, Simulation, load_config
from ml.data.features import MART, Feature, Mart, read_mart
from ml.data.gates import GateError
from ml.data.rows import Dataset, build_dataset, take
from ml.experiment.assignments import ASSIGNMENTS
from ml.experiment.experiment import SPLITS, check_arms, check_size
from ml.experiment.mart import MartExperiment, from_mart
from ml.experiment.simulated import NO_SEGMENT, hash_shares, simulate
from servers import DatabaseServer
from warehouse.contract import read_contracts
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

TABLES = ml_mart.marts(6000, seed=21, buy_rate=0.08)
LAST_MS = int(TABLES[MART]["decided_ms"].max())


def settings(**changes: object) -> ExperimentSettings:
    return load_config(environment={}).experiment.model_copy(update={"decision_point": "landing", **changes})


def assignments(seed: int = 1, share: float = 0.5) -> pd.DataFrame:
    """Two thirds of the visitors, assigned at random times; some of them got both arms."""
    rng = np.random.default_rng(seed)
    visitors = rng.permutation(TABLES[MART]["visitor_id"].unique())[:4000]
    assigned = ml_mart.START_MS + (rng.random(4000) * 60 * ml_mart.DAY_MS).astype(np.int64)
    # Some are assigned in the very millisecond of a decision, which counts, and some just after it, which does not.
    landed = TABLES[MART].query("decision_point == 'landing'").groupby("visitor_id")["decided_ms"].min()
    assigned[:300] = landed.loc[visitors[:300]]
    assigned[300:600] = landed.loc[visitors[300:600]] + 1
    return pd.DataFrame(
        {
            "visitor_id": visitors.astype(object),
            "assignment_count": 1,
            "treatment": (rng.random(4000) < share).astype(np.int32),
            "has_conflict": (rng.random(4000) < 0.03).astype(np.int32),
            "assigned_ms": assigned,
            "stratum": None,
            "propensity": None,
            "offer": None,
        }
    )


def configure(folder: Path) -> Config:
    return load_config(
        None, {"duckdb_path": folder / "warehouse.duckdb", "manifest": folder / "manifest.json"}, environment={}
    )


def load(folder: Path, assigned: pd.DataFrame | None = None) -> tuple[Config, Dataset, Mart]:
    """Write the marts, and the assignments if any, and read them."""
    ml_mart.write(folder, TABLES if assigned is None else {**TABLES, ASSIGNMENTS: assigned})
    config = configure(folder)
    mart = read_mart(read_contracts(config.manifest))
    with open_warehouse(config) as warehouse:
        rows, batches = warehouse.read(MART, mart.columns)
        return config, build_dataset(batches, rows, mart), mart


def run(
    folder: Path, asked: ExperimentSettings, assigned: pd.DataFrame | None = None, change: str = "select 1"
) -> tuple[Dataset, MartExperiment]:
    """Make the experiment, after someone has changed the warehouse by SQL."""
    config, data, mart = load(folder, assigned)
    with duckdb.connect(config.duckdb_path) as connection:
        connection.execute(change)
    with open_warehouse(config) as warehouse:
        return data, from_mart(data, mart, warehouse, asked)


def as_frame(data: Dataset, made: MartExperiment) -> pd.DataFrame:
    """The experiment's rows with their ids, by session."""
    experiment = made.experiment
    return pd.DataFrame(
        {
            "session_id": data.identity.column("session_id").take(pa.array(made.rows)).to_pylist(),
            "visitor_id": data.identity.column("visitor_id").take(pa.array(made.rows)).to_pylist(),
            "decided_ms": data.decided_ms[made.rows],
            "is_mature": data.is_mature[made.rows],
            "label": data.label[made.rows],
            "treatment": experiment.treatment,
            "outcome": experiment.outcome,
            "split": [SPLITS[code] for code in experiment.split],
        }
    ).set_index("session_id")


def small(n: int, rng: np.random.Generator) -> tuple[Dataset, Mart]:
    """Rows that a simulation looks at: two numeric features with nulls, ids, a label."""
    inputs = pd.DataFrame({"a": rng.integers(0, 4, n).astype(np.float32), "b": rng.normal(size=n).astype(np.float32)})
    inputs.loc[rng.random(n) < 0.2, "b"] = np.nan
    kinds = {"a": "numeric", "b": "numeric", "c": "categorical"}
    features = tuple(Feature(name, "session", kind, name) for name, kind in kinds.items())
    data = Dataset(
        identity=pa.table(
            {
                "session_id": pa.chunked_array([[f"s{i}" for i in range(n)]]),
                "visitor_id": pa.chunked_array([[f"v{i // 2}" for i in range(n)]]),
            }
        ),
        inputs=inputs,
        label=(rng.random(n) < 0.05 + 0.1 * inputs["a"]).to_numpy(np.int8),
        decided_ms=np.arange(n, dtype=np.int64),
        is_mature=(rng.random(n) < 0.95).astype(np.int8),
        is_new_visitor=np.ones(n, np.int8),
        visitor=(np.arange(n) // 2).astype(np.int32),
    )
    return data, Mart(features, "has_transaction", ())


def simulation(*segments: Segment, salt: str = "funnelift") -> Simulation:
    return Simulation(salt=salt, segments=list(segments))


# The simulation


def test_arms_are_the_published_hash() -> None:
    # printf 'funnelift:visitor:v0' | sha256sum, first 16 hex digits over 2^64
    ids = pa.chunked_array([["v0", "v1"], ["257597", "v0"]])
    assert hash_shares("funnelift:visitor:", ids).tolist() == [
        0.865829725147751,
        0.4189258270427365,
        0.4490989733363101,
        0.865829725147751,
    ]
    assert hash_shares("spring:visitor:", ids)[0] == 0.23650969899439614
    assert hash_shares("funnelift:session:", pa.chunked_array([["v0-1430611200000"]]))[0] == 0.27794660067789206


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_the_treated_share_is_as_designed(share: float) -> None:
    shares = hash_shares("x:visitor:", pa.chunked_array([[str(i) for i in range(50_000)]]))
    assert abs((shares < share).mean() - share) < 4 * np.sqrt(share * (1 - share) / 50_000)


def test_a_simulation_stands_where_no_one_was_assigned(tmp_path: Path) -> None:
    data, made = run(tmp_path / "none", settings())
    frame, truth = as_frame(data, made), made.experiment.truth
    assert truth is not None
    assert made.experiment.is_simulated
    assert made.source == "simulation (salt funnelift)"
    assert len(frame) == (TABLES[MART]["decision_point"] == "landing").sum()
    assert (frame.groupby("visitor_id")["treatment"].nunique() == 1).all()
    assert set(frame["treatment"]) == {0, 1}
    mature = frame["is_mature"].to_numpy() == 1
    assert (~mature).any()
    for values in (truth.control, truth.treated, made.experiment.outcome):
        assert set(values[mature]) == {0, 1}
        assert set(values[~mature]) == {-1}
    assert np.array_equal(truth.control[mature], frame["label"][mature])
    assert np.array_equal(made.experiment.outcome, np.where(frame["treatment"] == 1, truth.treated, truth.control))
    assert set(frame["split"]) == {"train", "calibration", "test", "embargo", "open"}
    assert ((frame["split"] == "open").to_numpy() == ~mature).all()

    empty = assignments().iloc[:0].astype({"visitor_id": "str"})
    data_again, again = run(tmp_path / "empty", settings(), empty)
    assert again.source == made.source
    pd.testing.assert_frame_equal(as_frame(data_again, again), frame)


def test_row_order_changes_nothing(tmp_path: Path) -> None:
    made = []
    for seed in (1, 2):
        shuffled = {**TABLES, MART: TABLES[MART].sample(frac=1, random_state=seed)}
        ml_mart.write(tmp_path / str(seed), shuffled)
        config = configure(tmp_path / str(seed))
        mart = read_mart(read_contracts(config.manifest))
        with open_warehouse(config) as warehouse:
            rows, batches = warehouse.read(MART, mart.columns)
            data = build_dataset(batches, rows, mart)
            made.append(as_frame(data, from_mart(data, mart, warehouse, settings())))
    pd.testing.assert_frame_equal(*made)


def test_segments_are_the_first_that_match() -> None:
    rng = np.random.default_rng(3)
    data, mart = small(4000, rng)
    segments = (
        Segment(name="low", when={"a": (None, 1)}, adds=0.3, removes=0.1),
        Segment(name="known", when={"b": (None, None), "a": (2, 2)}, adds=0.0, removes=0.5),
        Segment(name="high", when={"b": (0.1, None)}, adds=0.2, removes=0.0),
    )
    _, truth = simulate(data, mart, settings(simulation=simulation(*segments)))
    assert truth.segments == ("low", "known", "high", NO_SEGMENT)
    found = []
    for a, b in zip(data.inputs["a"], data.inputs["b"], strict=True):
        if a <= 1:
            found.append("low")
        elif a == 2 and not np.isnan(b):
            found.append("known")
        elif not np.isnan(b) and b >= np.float32(0.1):
            found.append("high")
        else:
            found.append(NO_SEGMENT)
    assert [truth.segments[code] for code in truth.segment] == found
    assert len(set(found)) == 4
    effects = {"low": (0.3, 0.1), "known": (0.0, 0.5), "high": (0.2, 0.0), NO_SEGMENT: (0.0, 0.0)}
    for name, (adds, removes) in effects.items():
        rows = np.array(found) == name
        rate = data.label[rows & (data.is_mature == 1)].mean()
        assert truth.effect[rows] == pytest.approx((1 - rate) * adds - rate * removes, abs=1e-12)


def test_outcomes_move_as_the_settings_say() -> None:
    rng = np.random.default_rng(4)
    data, mart = small(60_000, rng)
    segments = (
        Segment(name="persuadable", when={"a": (0, 0)}, adds=0.2, removes=0.0),
        Segment(name="harmed", when={"a": (1, 2)}, adds=0.0, removes=0.4),
    )
    treatment, truth = simulate(data, mart, settings(simulation=simulation(*segments)))
    for code, (adds, removes) in enumerate([(0.2, 0.0), (0.0, 0.4), (0.0, 0.0)]):
        rows = (truth.segment == code) & (data.is_mature == 1)
        left, bought = rows & (truth.control == 0), rows & (truth.control == 1)
        for group, rate in ((left, adds), (bought, removes)):
            changed = truth.treated[group] != truth.control[group]
            assert abs(changed.mean() - rate) <= 4 * np.sqrt(rate * (1 - rate) / group.sum())
        outcome = np.where(treatment == 1, truth.treated, truth.control)
        treated, control = outcome[rows & (treatment == 1)], outcome[rows & (treatment == 0)]
        error = np.sqrt(treated.var() / len(treated) + control.var() / len(control))
        assert abs(treated.mean() - control.mean() - truth.effect[rows][0]) < 4 * error
    # Who would react is no matter of the arm.
    reacts = (truth.treated != truth.control)[truth.segment == 0]
    assert np.corrcoef(reacts, treatment[truth.segment == 0])[0, 1] == pytest.approx(0, abs=0.03)


def test_another_salt_deals_other_arms() -> None:
    data, mart = small(4000, np.random.default_rng(5))
    first, _ = simulate(data, mart, settings(simulation=simulation(salt="a")))
    second, _ = simulate(data, mart, settings(simulation=simulation(salt="b")))
    assert 0.4 < (first == second).mean() < 0.6


@pytest.mark.parametrize(
    ("when", "complaint"),
    [({"pricee": (1, None)}, "pricee, which does not exist"), ({"c": (1, None)}, "feature c, which is a category")],
)
def test_a_segment_needs_a_numeric_feature(when: dict[str, tuple[float | None, float | None]], complaint: str) -> None:
    data, mart = small(100, np.random.default_rng(6))
    segment = Segment(name="typing error", when=when, adds=0.1, removes=0)
    with pytest.raises(FunneliftError, match=rf"'typing error'.*{complaint}.*a, b"):
        simulate(data, mart, settings(simulation=simulation(segment)))


def test_bounds_out_of_order_are_a_setting_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text("experiment: {simulation: {segments: [{name: x, when: {a: [2, 1]}, adds: 0, removes: 0}]}}")
    with pytest.raises(FunneliftError, match="the lower bound 2 is above the upper bound 1"):
        load_config(file, environment={})


# A real experiment


def test_only_the_first_row_after_assignment_takes_part(tmp_path: Path) -> None:
    assigned = assignments()
    data, made = run(tmp_path, settings(), assigned)
    frame = as_frame(data, made)
    by_visitor = assigned.set_index("visitor_id")
    expected: dict[str, int] = {}
    later = before = 0
    seen: set[str] = set()
    for session, row in frame.sort_values(["decided_ms", "session_id"]).iterrows():
        visitor = row["visitor_id"]
        known = visitor in by_visitor.index and not by_visitor.at[visitor, "has_conflict"]
        if not known or row["decided_ms"] < by_visitor.at[visitor, "assigned_ms"]:
            before += 1
        elif visitor in seen:
            later += 1
        else:
            seen.add(visitor)
            expected[str(session)] = int(by_visitor.at[visitor, "treatment"])
    found = frame[frame["treatment"] >= 0]["treatment"]
    assert found.to_dict() == expected
    assert later > 20
    assert made.left_out == {
        "visitors given both arms": int(assigned["has_conflict"].sum()),
        "rows without an arm, or decided before it was assigned": before,
        "later rows of the same visitor": later,
    }
    assert made.source == f"experiment of {len(expected):,} visitors ({ASSIGNMENTS})"
    assert not made.experiment.is_simulated

    # In the very millisecond counts, a millisecond before does not.
    on_time = assigned[:300].query("has_conflict == 0")["visitor_id"]
    too_early = frame["visitor_id"].isin(assigned[300:600]["visitor_id"])
    assert len(on_time) > 250
    assert set(on_time) <= set(frame[frame["treatment"] >= 0]["visitor_id"])
    first = frame[too_early].groupby("visitor_id")["decided_ms"].transform("min") == frame[too_early]["decided_ms"]
    assert (frame[too_early][first]["treatment"] == -1).all()


def test_rows_that_take_no_part_are_scored_only(tmp_path: Path) -> None:
    assigned = assignments()
    # One whose only session is still open was assigned too.
    still_open = TABLES[MART].query("decision_point == 'landing' and is_mature == 0").iloc[0]
    assigned = assigned[assigned["visitor_id"] != still_open["visitor_id"]]
    row = [still_open["visitor_id"], 1, 1, 0, int(still_open["decided_ms"]), None, None, None]
    assigned = pd.concat([assigned, pd.DataFrame([row], columns=assigned.columns)], ignore_index=True)
    data, made = run(tmp_path, settings(), assigned.astype({"treatment": np.int32, "has_conflict": np.int32}))
    frame = as_frame(data, made)
    assert frame.loc[still_open["session_id"], ["treatment", "outcome", "split"]].tolist() == [1, -1, "open"]
    outside = frame["split"] == "outside"
    assert outside.any()
    assert (frame[outside][["treatment", "outcome"]] == -1).all(axis=None)
    inside = frame[frame["split"].isin(["train", "calibration", "test", "embargo"])]
    assert (inside["outcome"] == inside["label"]).all()
    assert (inside["treatment"] >= 0).all()
    assert len(inside) + outside.sum() + (frame["split"] == "open").sum() == len(frame)


def test_splits_are_of_the_experiments_own_time(tmp_path: Path) -> None:
    assigned = assignments()
    start = ml_mart.START_MS + 90 * ml_mart.DAY_MS
    assigned["assigned_ms"] = start
    # Each visitor has one row, so no embargo is needed, and a test of a weekend has none to spare.
    longer = settings().split.model_copy(update={"embargo_seconds": 100 * 86_400})
    data, made = run(tmp_path, settings(min_conversions_per_arm=5, split=longer), assigned)
    frame = as_frame(data, made)
    assert not (frame["split"] == "embargo").any()
    times = {name: frame.loc[frame["split"] == name, "decided_ms"] for name in ("train", "calibration", "test")}
    assert start <= times["train"].min()
    assert times["train"].max() < times["calibration"].min()
    assert times["calibration"].max() < times["test"].min()
    span = frame.query("treatment >= 0 and is_mature == 1")["decided_ms"]
    assert times["train"].max() < span.min() + (span.max() - span.min()) * 0.5
    assert (frame[frame["decided_ms"] < start]["split"] == "outside").all()


def test_a_server_deals_and_assigns_the_same_arms(
    tmp_path: Path, empty_mysql: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in empty_mysql.environment.items():
        monkeypatch.setenv(variable, value)
    expected = [run(tmp_path / "none", settings()), run(tmp_path / "assigned", settings(), assignments())]
    for (data, made), folder in zip(expected, ("none", "assigned"), strict=True):
        empty_mysql.drop_databases()
        with closing(empty_mysql.session(local_infile=True)) as session:
            ml_mart_mysql.copy(session, tmp_path / folder / "warehouse.duckdb")
        config = configure(tmp_path / folder).model_copy(update={"target": "mysql"})
        mart = read_mart(read_contracts(config.manifest))
        with open_warehouse(config) as warehouse:
            rows, batches = warehouse.read(MART, mart.columns)
            data_there = build_dataset(batches, rows, mart)
            there = from_mart(data_there, mart, warehouse, settings())
        pd.testing.assert_frame_equal(as_frame(data_there, there), as_frame(data, made))
        assert (there.source, there.left_out) == (made.source, made.left_out)


def test_visitors_are_numbered_without_gaps(tmp_path: Path) -> None:
    # Most visitors never get as far as this decision point.
    data, made = run(tmp_path, settings(decision_point="engaged", min_conversions_per_arm=1), assignments())
    frame = as_frame(data, made).assign(visitor=made.experiment.visitor)
    assert frame["visitor_id"].nunique() < 1000
    assert set(frame["visitor"]) == set(range(frame["visitor_id"].nunique()))
    assert (frame.groupby("visitor_id")["visitor"].nunique() == 1).all()


@pytest.mark.parametrize(
    "change",
    [
        f"update funnelift.{MART} set has_transaction = 1 - has_transaction where decision_point = 'landing'",
        f"delete from funnelift.{MART} where decision_point = 'landing' and rowid % 7 = 0",
    ],
)
def test_python_and_sql_must_count_the_same_arms(tmp_path: Path, change: str) -> None:
    with pytest.raises(GateError, match=r"treated .*rows at landing, SQL against Python: expected") as failure:
        run(tmp_path, settings(), assignments(), change)
    assert failure.value.gate == "experiment counts"


@pytest.mark.parametrize(
    ("change", "gate", "part"),
    [
        ("set treatment = 2 where rowid < 3", "values", "treatment"),
        ("set has_conflict = -1 where rowid < 3", "values", "has_conflict"),
        ("set assigned_ms = null where rowid < 3", "nulls", "expected 0, found 3"),
        ("set treatment = null where rowid < 2", "nulls", "expected 0, found 2"),
        ("set visitor_id = 'twice' where rowid < 4", "key", "expected 0, found 3"),
    ],
)
def test_broken_assignments_stop_the_run(tmp_path: Path, change: str, gate: str, part: str) -> None:
    with pytest.raises(GateError, match=part) as failure:
        run(tmp_path, settings(), assignments(), f"update funnelift.{ASSIGNMENTS} {change}")
    assert failure.value.gate == gate


def test_a_table_of_assignments_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FunneliftError, match="lacks the columns has_conflict, treatment"):
        run(tmp_path, settings(), assignments().drop(columns=["treatment", "has_conflict"]))


def test_an_unknown_decision_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FunneliftError, match="'checkout' is unknown: the mart has cart, engaged, landing"):
        run(tmp_path, settings(decision_point="checkout"))


def test_assignments_that_meet_no_session_are_refused(tmp_path: Path) -> None:
    late = assignments().assign(assigned_ms=LAST_MS + 1)
    with pytest.raises(FunneliftError, match=r"no session at landing .* \(4,000 visitors; \d+ with both arms\)"):
        run(tmp_path, settings(), late)


def test_one_arm_is_no_experiment(tmp_path: Path) -> None:
    with pytest.raises(FunneliftError, match=r"one arm only: no control row .*train: treated \d+ of \d+ rows"):
        run(tmp_path, settings(), assignments().assign(treatment=np.int32(1)))


def test_an_arm_without_conversions_is_refused(tmp_path: Path) -> None:
    assigned = assignments()
    buyers = set(TABLES[MART].query("has_transaction == 1")["visitor_id"])
    assigned = assigned[~(assigned["visitor_id"].isin(buyers) & (assigned["treatment"] == 1))]
    with pytest.raises(FunneliftError, match="no treated row converts"):
        run(tmp_path, settings(), assigned)


def test_too_few_conversions_are_counted_by_split_and_arm(tmp_path: Path) -> None:
    with pytest.raises(
        FunneliftError, match=r"60 conversions in each arm .*calibration: treated \d+ of .*control"
    ) as e:
        run(tmp_path, settings(min_conversions_per_arm=60), assignments())
    assert str(e.value).count("treated ") == str(e.value).count("control ") == 3


def test_splits_that_are_too_thin_name_the_experiments_settings(tmp_path: Path) -> None:
    thin = settings().split.model_copy(update={"min_positives": 5000})
    with pytest.raises(FunneliftError, match=r"experiment at landing \(experiment.split\).*each split needs 5000"):
        run(tmp_path, settings(split=thin))


def test_arms_of_another_size_than_designed_are_caught(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="sample ratio"):
        run(tmp_path, settings(), assignments(share=0.42))
    _, made = run(tmp_path / "known", settings(treated_share=0.42), assignments(share=0.42))
    assert made.experiment.treated_share == 0.42


def test_fewer_visitors_than_folds_are_refused(tmp_path: Path) -> None:
    _, made = run(tmp_path, settings(), assignments())
    check_size(made.experiment, 5)
    check_arms(made.experiment, settings())
    with pytest.raises(FunneliftError, match=r"has \d+ treated visitors, fewer than the 90000 folds"):
        check_size(made.experiment, 90_000)


def test_taking_rows_keeps_them_together(tmp_path: Path) -> None:
    _, data, _ = load(tmp_path)
    rows = np.array([3, 10, 500])
    taken = take(data, rows)
    assert taken.identity.column("session_id").to_pylist() == [
        data.identity.column("session_id")[int(row)].as_py() for row in rows
    ]
    assert np.array_equal(taken.visitor, data.visitor[rows])
    assert np.array_equal(taken.decided_ms, data.decided_ms[rows])
    pd.testing.assert_frame_equal(taken.inputs, data.inputs.iloc[rows].reset_index(drop=True))

"""Splits in time, the embargo between them, and the sample that trains."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.config import Sampling, Split
from ml.data.draw import at_random
from ml.data.rows import Dataset, take
from ml.data.split import SPLITS, sample_bounded, sample_negatives, split_by_time
from warehouse.errors import FunneliftError

DAY = 86_400_000
SAMPLING = Sampling(min_negatives=1500, negatives_per_positive=2, max_rows=100_000)
SETTINGS = Split(train_share=0.7, calibration_share=0.1, embargo_seconds=86_400, min_positives=1)


def dataset(
    times: list[int], sessions: list[str] | None = None, mature: list[int] | None = None, label: list[int] | None = None
) -> Dataset:
    """Rows in order of time, with nothing in them but what splitting looks at."""
    n = len(times)
    _, codes = np.unique(sessions or np.arange(n), return_inverse=True)
    return Dataset(
        identity=pa.table({"session_id": pa.array([str(code) for code in codes])}),
        inputs=pd.DataFrame(index=range(n)),
        label=np.array(label or [1] * n, np.int8),
        decided_ms=np.array(times, np.int64),
        is_mature=np.array(mature or [1] * n, np.int8),
        is_new_visitor=np.ones(n, np.int8),
        visitor=codes.astype(np.int32) // 2,
    )


def names(data: Dataset, settings: Split = SETTINGS) -> list[str]:
    return [SPLITS[code] for code in split_by_time(data, settings).codes]


def test_boundaries_are_exact_to_the_millisecond() -> None:
    # A span of 100 days: boundaries at days 70 and 80, embargoes to days 71 and 81.
    times = [
        0,
        70 * DAY - 1,
        70 * DAY,
        71 * DAY - 1,
        71 * DAY,
        80 * DAY - 1,
        80 * DAY,
        81 * DAY - 1,
        81 * DAY,
        100 * DAY,
    ]
    assert names(dataset(times)) == [
        "train", "train", "embargo", "embargo", "calibration", "calibration", "embargo", "embargo", "test", "test",
    ]  # fmt: skip


def test_open_sessions_neither_train_nor_move_the_boundaries() -> None:
    times = [0, 69 * DAY, 75 * DAY, 90 * DAY, 100 * DAY, 500 * DAY]
    data = dataset(times, mature=[1, 0, 1, 1, 1, 0])
    assert names(data) == ["train", "open", "calibration", "test", "test", "open"]


def test_rows_of_an_implausible_time_neither_train_nor_move_the_boundaries() -> None:
    times = [0, DAY, 5000 * DAY, 5069 * DAY, 5075 * DAY, 5090 * DAY, 5100 * DAY]
    data = replace(dataset(times, mature=[1, 0, 1, 1, 1, 1, 1]), plausible_from_ms=5000 * DAY)
    expected = ["implausible", "open", "train", "train", "calibration", "test", "test"]
    assert names(data) == expected
    assert names(take(data, np.array([0, 2, 3, 4, 5, 6]))) == [expected[0], *expected[2:]]
    assert split_by_time(data, SETTINGS).starts_ms == 5000 * DAY


def test_a_session_is_never_in_two_splits() -> None:
    times = [0, 69 * DAY, 72 * DAY, 75 * DAY, 90 * DAY, 95 * DAY, 100 * DAY]
    sessions = ["a", "poller", "poller", "b", "poller", "c", "c"]
    expected = ["train", "train", "embargo", "calibration", "embargo", "test", "test"]
    assert names(dataset(times, sessions)) == expected


@given(
    times=st.lists(st.integers(0, 200 * DAY), min_size=30, max_size=60, unique=True),
    embargo_hours=st.integers(0, 48),
)
def test_splits_are_apart_by_the_embargo(times: list[int], embargo_hours: int) -> None:
    data = dataset(sorted(times))
    settings = SETTINGS.model_copy(update={"embargo_seconds": embargo_hours * 3600, "min_positives": 0})
    splits = split_by_time(data, settings)
    train, calibration, test = (data.decided_ms[splits.rows(name)] for name in ("train", "calibration", "test"))
    gap = embargo_hours * 3_600_000
    assert max(train) + gap < min([*calibration, *test], default=np.inf)
    assert max(calibration, default=-np.inf) + gap < min(test, default=np.inf)
    assert len(data) == sum(len(splits.rows(name)) for name in SPLITS)


def test_too_few_conversions_are_counted_by_split() -> None:
    times = [0, 10 * DAY, 20 * DAY, 75 * DAY, 90 * DAY, 100 * DAY]
    data = dataset(times, label=[1, 1, 1, 1, 0, 0])
    with pytest.raises(FunneliftError, match=r"each split needs 2 .* train 3, calibration 1, test 0 in 100\.0 days"):
        split_by_time(data, SETTINGS.model_copy(update={"min_positives": 2}))


def test_sampling_keeps_every_conversion_and_weights_back() -> None:
    label = np.zeros(10_000, np.int8)
    label[::50] = 1
    rows = np.arange(1000, 9000)
    chosen, weights = sample_negatives(rows, label, SAMPLING, at_random(3))
    assert np.array_equal(chosen[label[chosen] == 1], rows[label[rows] == 1])
    assert (label[chosen] == 0).sum() == 1500
    assert weights[label[chosen] == 1].tolist() == [1.0] * int(label[rows].sum())
    assert weights.sum() == pytest.approx(len(rows))
    assert np.array_equal(chosen, np.unique(chosen))
    again, _ = sample_negatives(rows, label, SAMPLING, at_random(3))
    other, _ = sample_negatives(rows, label, SAMPLING, at_random(4))
    assert np.array_equal(chosen, again)
    assert not np.array_equal(chosen, other)


def test_many_conversions_keep_more_of_the_others() -> None:
    label = np.zeros(9000, np.int8)
    label[:1000] = 1
    chosen, weights = sample_negatives(np.arange(9000), label, SAMPLING, at_random(1))
    assert (label[chosen] == 0).sum() == 2000
    assert set(weights[label[chosen] == 0]) == {4.0}


def test_few_rows_are_all_kept() -> None:
    label = np.array([0, 1, 0, 0], np.int8)
    chosen, weights = sample_negatives(np.arange(4), label, SAMPLING, at_random(1))
    assert chosen.tolist() == [0, 1, 2, 3]
    assert weights.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("max_rows", "bought", "left"),
    [(3000, 1000, 2000), (2500, 1000, 1500), (1000, 500, 500), (9000, 1000, 2000)],
)
def test_a_bound_keeps_conversions_first_and_weights_undo_it(max_rows: int, bought: int, left: int) -> None:
    label = np.zeros(9000, np.int8)
    label[::9] = 1
    rows = np.arange(9000)
    chosen, weights = sample_negatives(rows, label, SAMPLING.model_copy(update={"max_rows": max_rows}), at_random(1))
    assert ((label[chosen] == 1).sum(), (label[chosen] == 0).sum()) == (bought, left)
    assert weights[label[chosen] == 1].sum() == pytest.approx(1000)
    assert weights.sum() == pytest.approx(9000)
    # A bound that nothing reaches changes nothing.
    free, _ = sample_negatives(rows, label, SAMPLING, at_random(1))
    assert np.array_equal(chosen, free) == (max_rows >= 3000)


def test_few_others_leave_their_room_to_conversions() -> None:
    label = np.ones(1000, np.int8)
    label[:100] = 0
    chosen, weights = sample_bounded(np.arange(1000), label, 500, at_random(1))
    assert ((label[chosen] == 1).sum(), (label[chosen] == 0).sum()) == (400, 100)
    assert weights is not None
    assert set(weights[label[chosen] == 0]) == {1.0}
    assert weights.sum() == pytest.approx(1000)
    assert sample_bounded(np.arange(1000), label, 1000, at_random(1))[1] is None

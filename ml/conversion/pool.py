"""Rows as CatBoost takes them. A few rows go as plain arrays, which spares what pandas costs for each column."""

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

FEW_ROWS = 1000


class _Plain:
    """A data frame's columns as arrays, and the pools that were made of them."""

    def __init__(self, inputs: "pd.DataFrame") -> None:
        numbers = inputs.select_dtypes(exclude="category")
        self.place = {name: place for place, name in enumerate(numbers.columns.tolist())}
        self.numbers = numbers.to_numpy(dtype=np.float32)
        self.texts = {name: _bytes(inputs[name].array) for name in inputs.columns.tolist() if name not in self.place}
        self.pools: dict[tuple[Any, ...], Any] = {}


def _bytes(values: Any) -> npt.NDArray[np.object_]:
    levels = np.array([str(level).encode() for level in values.categories], dtype=object)
    return np.asarray(levels[values.codes])


# Several models score the same rows one after another.
_LATEST: list[tuple["weakref.ref[pd.DataFrame]", _Plain]] = []


def pool_of(inputs: "pd.DataFrame", names: Sequence[str], more: Mapping[str, float] | None = None) -> Any:
    """Make a pool to predict or explain.

    Parameters
    ----------
    inputs : DataFrame
        Features, which nobody changes: float32, and categories without nulls.
    names : sequence of str
        The columns that the model knows, in its order.
    more : mapping of str to float, optional
        Further columns of one value each.

    Returns
    -------
    Pool
        CatBoost's; of the same rows and names the same one.
    """
    more = more or {}
    if len(inputs) > FEW_ROWS:
        from catboost import Pool

        asked = inputs.assign(**{name: np.float32(value) for name, value in more.items()})[list(names)]
        return Pool(
            asked, cat_features=[name for name in names if name not in more and inputs[name].dtype == "category"]
        )
    plain = _plain(inputs)
    key = (*names, *more.items())
    if key not in plain.pools:
        plain.pools[key] = _made(plain, list(names), more)
    return plain.pools[key]


def _plain(inputs: "pd.DataFrame") -> _Plain:
    for known, plain in _LATEST:
        if known() is inputs:
            return plain
    plain = _Plain(inputs)
    _LATEST[:] = [(weakref.ref(inputs), plain)]
    return plain


def _made(plain: _Plain, names: list[str], more: Mapping[str, float]) -> Any:
    from catboost import FeaturesData, Pool

    texts = [name for name in names if name in plain.texts]
    others = [name for name in names if name not in plain.texts]
    numbers = np.empty((len(plain.numbers), len(others)), dtype=np.float32)
    for place, name in enumerate(others):
        numbers[:, place] = more[name] if name in more else plain.numbers[:, plain.place[name]]
    if texts and names == others + texts:
        columns = np.stack([plain.texts[name] for name in texts], axis=1)
        return Pool(FeaturesData(numbers, columns, num_feature_names=others, cat_feature_names=texts))
    rows = np.empty((len(numbers), len(names)), dtype=object)
    rows[:, [names.index(name) for name in others]] = numbers
    for name in texts:
        rows[:, names.index(name)] = [value.decode() for value in plain.texts[name]]
    return Pool(rows, cat_features=[names.index(name) for name in texts], feature_names=names)

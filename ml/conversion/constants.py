"""Features that have one value at a decision point: they cannot say there who leaves."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Rows
from ml.data.features import Mart

if TYPE_CHECKING:
    import pandas as pd

LOOKED_AT_FIRST = 1000


@dataclass(frozen=True)
class Constants:
    """Names of the features that have one value, by decision point."""

    names: dict[str, tuple[str, ...]]

    @classmethod
    def from_rows(cls, inputs: "pd.DataFrame") -> "Constants":
        """Look for them in rows.

        Parameters
        ----------
        inputs : DataFrame
            Features of the rows that the models learn from: where one has one value, nothing can be learnt of it.

        Returns
        -------
        Constants
            For each decision point that has rows.
        """
        points: pd.Categorical = inputs["decision_point"].array
        own = {str(point): np.flatnonzero(points.codes == code) for code, point in enumerate(points.categories)}
        return cls(
            {
                point: tuple(str(name) for name, column in inputs.items() if _is_constant(column, at))
                for point, at in own.items()
                if len(at)
            }
        )

    def of(self, points: "pd.Categorical", mart: Mart) -> npt.NDArray[np.bool_]:
        """Say which features are constant at each of some rows.

        Parameters
        ----------
        points : Categorical of shape (n_rows,)
            Decision points.
        mart : Mart
            Features.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            In the order of the features.
        """
        table = [[name in self.names.get(str(point), ()) for name in mart.names] for point in points.categories]
        return np.asarray(np.array(table, dtype=bool).reshape(-1, len(mart.names))[points.codes], dtype=bool)


def _is_constant(column: "pd.Series[Any]", rows: Rows) -> bool:
    values: npt.NDArray[Any] = column.cat.codes.to_numpy() if column.dtype == "category" else column.to_numpy()
    # Most features differ among the first rows, and the others need not be looked at then.
    return all(_is_one(values[part]) for part in (rows[:LOOKED_AT_FIRST], rows))


def _is_one(values: npt.NDArray[Any]) -> bool:
    missing = values != values
    return bool(missing.all() or (not missing.any() and (values == values[0]).all()))

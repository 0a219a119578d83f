"""What the rows that are learnt from say of effects."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Rows
from ml.experiment.arms import Arms
from ml.uplift.cross_fitting import CrossFitter, Fit
from ml.uplift.doubly_robust import doubly_robust_effects, precision_weights
from ml.uplift.effect_model import effect_features

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "calibration")


@dataclass(frozen=True)
class Evidence:
    """The rows of the training and the calibration split, with predictions by models that did not see them.

    `rows` are their positions in the experiment, `chosen` says which of them candidates learn from (a sample where
    there are very many), `fold` is the part of cross-fitting that each belongs to, by visitor. `propensity` is each
    row's own chance of treatment, None where all had the same.
    """

    inputs: "pd.DataFrame"
    rows: Rows
    chosen: npt.NDArray[np.bool_]
    fold: Labels
    arms: Arms
    p_control: Floats
    p_treatment: Floats
    response: Floats
    propensity: Floats | None

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def gather(cls, fitter: CrossFitter, control: Fit, treatment: Fit, response: Fit) -> "Evidence":
        """Ask the two arms' models: those of other folds about training rows, the whole ones about calibration rows.

        Parameters
        ----------
        fitter : CrossFitter
            Fitted them.
        control, treatment : Fit
            Models of the two arms.
        response : Fit
            The response baseline.

        Returns
        -------
        Evidence
            Training and calibration rows, in order.
        """
        experiment = fitter.experiment
        rows = experiment.rows(*SPLITS)
        is_train = np.isin(rows, fitter.train)
        asked = experiment.inputs.iloc[rows[~is_train]]
        predicted = []
        for fit in (control, treatment):
            values = np.empty(len(rows))
            values[is_train], values[~is_train] = fit.crossed, fit.probability(asked)
            predicted.append(values)
        arms = experiment.arms(*SPLITS)
        # No response model left a training row out; the two arms' models of other folds say together what it would.
        either = (1 - arms.treated_share) * predicted[0] + arms.treated_share * predicted[1]
        either[~is_train] = response.crossed
        chosen = np.ones(len(rows), dtype=bool)
        if len(rows) > fitter.settings.challenger_rows:
            kept = np.random.default_rng(fitter.config.seed).choice(
                len(rows), fitter.settings.challenger_rows, replace=False
            )
            chosen[:] = False
            chosen[kept] = True
        return cls(
            inputs=experiment.inputs[effect_features(experiment.inputs)].iloc[rows],
            rows=rows,
            chosen=chosen,
            fold=fitter.fold[rows].astype(np.int8),
            arms=arms,
            p_control=predicted[0],
            p_treatment=predicted[1],
            response=either,
            propensity=None if experiment.propensity is None else experiment.propensity[rows],
        )

    @property
    def treated_share(self) -> Floats | float:
        """Chance of treatment: one for all, or each row's own."""
        return self.arms.treated_share if self.propensity is None else self.propensity

    @cached_property
    def effects(self) -> Floats:
        """Doubly robust scores of the effect."""
        return doubly_robust_effects(self.p_control, self.p_treatment, self.arms, self.propensity)

    @cached_property
    def weights(self) -> Floats:
        """How good a witness of the effect each row is."""
        return precision_weights(self.p_control, self.p_treatment, self.treated_share)

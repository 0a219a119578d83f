"""What the rows that are learnt from say of effects."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats, Labels, Rows
from ml.experiment.arms import Arms
from ml.experiment.experiment import Experiment
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
    row's own chance of treatment, None where all had the same. `other_arm` has, for each fold, what the other arm's
    model that did not see this fold says of the rows that candidates learn from; it has not seen them either.
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
    other_arm: Floats | None = None

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
            other_arm=_other_arm(experiment, rows, chosen, (control, treatment)),
        )

    def without(self, fold: int) -> "Evidence":
        """Return the rows with the other arm's predictions by models that know nothing of a fold.

        What a model learns from is made with predictions. Those of cross-fitting come from models of other folds than
        the row's own, and so from the fold that the model will be asked about too: it would know its outcomes.

        Parameters
        ----------
        fold : int
            The fold that the model will be asked about.

        Returns
        -------
        Evidence
            The same rows; only those that candidates learn from, and are not of this fold, may be used.
        """
        if self.other_arm is None:
            return self
        other, is_treated = self.other_arm[fold], self.arms.treatment == 1
        return replace(
            self,
            p_control=np.where(is_treated, other, self.p_control),
            p_treatment=np.where(is_treated, self.p_treatment, other),
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


def _other_arm(
    experiment: Experiment, rows: Rows, chosen: npt.NDArray[np.bool_], fits: tuple[Fit, Fit]
) -> Floats | None:
    """Ask each fold's models about the rows of the other arm; None where they were not kept."""
    folds = len(fits[0].without)
    if not folds:
        return None
    found = np.full((folds, len(rows)), np.nan)
    for arm, fit in enumerate(fits):
        asked = np.flatnonzero(chosen & (experiment.treatment[rows] == 1 - arm))
        inputs = experiment.inputs.iloc[rows[asked]]
        for fold, model in enumerate(fit.without):
            found[fold, asked] = fit.calibrator.probability(model.log_odds(inputs))
    return found

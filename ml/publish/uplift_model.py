"""A saved T-learner: what scoring rows that it never saw needs, from a mart or from a file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml.arrays import Floats
from ml.conversion.calibration import Calibrator
from ml.conversion.catboost import CatBoostModel
from ml.data.features import Mart, features_signature
from ml.experiment.experiment import Experiment
from ml.files import sha256_of, write_json
from ml.publish.artifacts import model_version
from ml.uplift.cross_fitting import Fit
from ml.uplift.effect_scale import EffectScale, Prediction
from ml.uplift.learners import CONTROL, SCALE_NAMES, TREATMENT, UPLIFT_FILE, Fits
from ml.uplift.names import RESPONSE, T_LEARNER
from ml.uplift.ranks import percentile_ranks
from ml.uplift.scores import Scores
from ml.uplift.t_learner import TLearner

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

UPLIFT_FEATURES_FILE, RANKS_FILE, CROSSED_FILE = "uplift_features.json", "uplift_ranks.npy", "uplift_crossed.npy"
CROSSED = np.dtype([("row", "u8"), ("features", "u8"), ("p_control", "f8"), ("p_treatment", "f8")])
RANKED = (T_LEARNER, RESPONSE)


@dataclass(frozen=True)
class SavedUplift:
    """The T-learner and the response baseline as a run saved them.

    `calibration_scores` maps each to the scores of the calibration rows, against which every other row is ranked.
    `crossed` holds what models of other folds said of each training row, under hashes of its name and its features.
    `effects` maps each segment of a simulation to its true effect; empty after a real experiment.
    """

    t_learner: TLearner
    response: Fit
    calibration_scores: Mapping[str, Floats]
    crossed: npt.NDArray[np.void]
    effects: Mapping[str, float]

    def predict(self, inputs: "pd.DataFrame", names: "pa.ChunkedArray") -> tuple[Prediction, Floats]:
        """Score rows as the training did: its own training rows by models of other folds, while their features stay.

        Parameters
        ----------
        inputs : DataFrame
            Features.
        names : pyarrow.ChunkedArray
            What tells the rows apart: their session ids.

        Returns
        -------
        Prediction
            What the T-learner says.
        ndarray of shape (n_rows,)
            Probability of a conversion, by the response baseline.
        """
        whole, response = self.t_learner.predict(inputs), self.response.probability(inputs)
        if len(self.crossed):
            row = _hashed(names)
            found = self.crossed[np.minimum(np.searchsorted(self.crossed["row"], row), len(self.crossed) - 1)]
            own = np.flatnonzero((found["row"] == row) & (found["features"] == _hashed_features(inputs)))
            crossed = self.t_learner.scale.apply(found["p_control"][own], found["p_treatment"][own])
            for name, values in vars(crossed).items():
                getattr(whole, name)[own] = values
        return whole, response

    def percentiles(self, learner: str, score: Floats, tie_breaker: Floats) -> Floats:
        """Rank scores against those of the calibration rows, as the training did.

        Parameters
        ----------
        learner : str
            The T-learner or the response baseline.
        score : ndarray of shape (n_rows,)
            Scores.
        tie_breaker : ndarray of shape (n_rows,)
            One number per row, in [0, 1).

        Returns
        -------
        ndarray of shape (n_rows,)
            Ranks in [0, 1).
        """
        return percentile_ranks(self.calibration_scores[learner], score, tie_breaker)


def save_uplift(
    folder: Path, fits: Fits, mart: Mart, experiment: Experiment, scores: Scores, *,
    names: "pa.ChunkedArray | None" = None,
) -> dict[str, str]:  # fmt: skip
    """Save all that scoring needs.

    Parameters
    ----------
    folder : Path
        Where the files go.
    fits : Fits
        What was fitted.
    mart : Mart
        Features.
    experiment : Experiment
        The rows that were learnt from.
    scores : Scores
        What the learners say of them.
    names : pyarrow.ChunkedArray, optional
        What tells the rows apart, where they will be scored again: their session ids.

    Returns
    -------
    dict of str to str
        File name to SHA-256.
    """
    fits.save(folder)
    effects: dict[str, float] = {}
    if (truth := experiment.truth) is not None:
        codes, rows = np.unique(truth.segment, return_index=True)
        effects = {truth.segments[code]: float(truth.effect[row]) for code, row in zip(codes, rows, strict=True)}
    write_json(folder / UPLIFT_FEATURES_FILE, {"features": features_signature(mart), "effects": effects})
    calibration = experiment.rows("calibration")
    np.save(folder / RANKS_FILE, np.stack([np.sort(scores.by_learner[name][calibration]) for name in RANKED]))
    np.save(folder / CROSSED_FILE, _crossed(fits.t_learner, experiment, names))
    return {name: sha256_of(folder / name) for name in (*model_files(), UPLIFT_FEATURES_FILE, RANKS_FILE, CROSSED_FILE)}


def _crossed(learner: TLearner, experiment: Experiment, names: "pa.ChunkedArray | None") -> npt.NDArray[np.void]:
    """What models of other folds said of each training row, before the scale, ordered by the hash of its name."""
    import pyarrow as pa

    rows = experiment.rows("train") if names is not None else np.empty(0, np.intp)
    found = np.empty(len(rows), CROSSED)
    if names is not None:
        found["row"] = _hashed(names.take(pa.array(rows)))
        found["features"] = _hashed_features(experiment.inputs.iloc[rows])
        found["p_control"], found["p_treatment"] = learner.control.crossed, learner.treatment.crossed
    return found[np.argsort(found["row"], kind="stable")]


def _hashed(names: "pa.ChunkedArray") -> npt.NDArray[np.uint64]:
    import pandas as pd

    return np.asarray(pd.util.hash_array(np.array(names.to_pylist(), dtype=object)))


def _hashed_features(inputs: "pd.DataFrame") -> npt.NDArray[np.uint64]:
    """Equal features give equal numbers, whichever other rows are hashed with them."""
    import pandas as pd

    return np.asarray(pd.util.hash_pandas_object(inputs, index=False))


def model_files() -> list[str]:
    """Return the names of the files that hold the models, in order."""
    return sorted([UPLIFT_FILE, *(f"uplift_{name}.cbm" for name in (CONTROL, TREATMENT, RESPONSE))])


def uplift_version(hashes: Mapping[str, str]) -> str:
    """Return the model version, which follows from the models alone.

    Parameters
    ----------
    hashes : mapping
        What `save_uplift` returned.

    Returns
    -------
    str
        The learner's name and twelve hexadecimal digits.
    """
    return model_version(T_LEARNER, {name: hashes[name] for name in model_files()})


def load_uplift(folder: Path, mart: Mart, threads: int) -> SavedUplift:
    """Load what `save_uplift` saved; the caller has checked the files' hashes.

    Parameters
    ----------
    folder : Path
        Where the files are.
    mart : Mart
        Features.
    threads : int
        Threads to use.

    Returns
    -------
    SavedUplift
        Ready to score.
    """
    saved = json.loads((folder / UPLIFT_FILE).read_text(encoding="utf-8"))
    fits = {
        name: Fit(
            CatBoostModel.load(folder / f"uplift_{name}.cbm", mart, threads),
            Calibrator(entry["method"], tuple(entry["knots"]), tuple(entry["values"])),
            np.empty(0),
        )
        for name, entry in saved["calibrators"].items()
    }
    names = {in_file: name for name, in_file in SCALE_NAMES.items()}
    scale = {names.get(name, name): value for name, value in saved["scale"].items()}
    scale |= {name: tuple(scale[name]) for name in ("knots", "effects")}
    learner = TLearner(fits[CONTROL], fits[TREATMENT], EffectScale(**scale), saved["usual_rate"])
    effects = json.loads((folder / UPLIFT_FEATURES_FILE).read_text(encoding="utf-8"))["effects"]
    ranks = np.load(folder / RANKS_FILE, allow_pickle=False)
    crossed = np.load(folder / CROSSED_FILE, allow_pickle=False)
    return SavedUplift(learner, fits[RESPONSE], dict(zip(RANKED, ranks, strict=True)), crossed, effects)

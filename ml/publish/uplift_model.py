"""A saved uplift model: what scoring rows that it never saw needs, from a mart or from a file."""

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
from ml.uplift.candidates import Ranking
from ml.uplift.cross_fitting import Fit
from ml.uplift.effect_model import EffectModel
from ml.uplift.effect_scale import EffectScale, Prediction
from ml.uplift.learners import Fits
from ml.uplift.names import CHOSEN, RESPONSE, T_LEARNER
from ml.uplift.ranks import percentile_ranks
from ml.uplift.scores import Scores
from ml.uplift.t_learner import TLearner
from ml.uplift.uplift_model import CONTROL, SCALE_NAMES, TREATMENT, UPLIFT_FILE, UpliftModel, file_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

UPLIFT_FEATURES_FILE, RANKS_FILE, CROSSED_FILE = "uplift_features.json", "uplift_ranks.npy", "uplift_crossed.npy"
SAID = ("p_control", "p_treatment", "score")
CROSSED = np.dtype([("row", "u8"), ("features", "u8"), *((name, "f8") for name in SAID)])
RANKED = (CHOSEN, RESPONSE)


@dataclass(frozen=True)
class SavedUplift:
    """The uplift model as a run saved it.

    `calibration_scores` maps CHOSEN and the response baseline to the scores of the calibration rows, against which
    every other row is ranked. `crossed` holds what models of other folds said of each training and calibration row,
    under hashes of its name and its features.
    `effects` maps each segment of a simulation to its true effect; empty after a real experiment.
    """

    model: UpliftModel
    calibration_scores: Mapping[str, Floats]
    crossed: npt.NDArray[np.void]
    effects: Mapping[str, float]

    def predict(self, inputs: "pd.DataFrame", names: "pa.ChunkedArray") -> tuple[Prediction, Floats]:
        """Score rows as the training did: rows it learnt from by models of other folds, while their features stay.

        Parameters
        ----------
        inputs : DataFrame
            Features.
        names : pyarrow.ChunkedArray
            What tells the rows apart: their session ids.

        Returns
        -------
        Prediction
            What the chosen candidate says.
        ndarray of shape (n_rows,)
            Probability of a conversion, by the response baseline.
        """
        whole, response = self.model.predict(inputs)
        if len(self.crossed):
            row = _hashed(names)
            found = self.crossed[np.minimum(np.searchsorted(self.crossed["row"], row), len(self.crossed) - 1)]
            own = np.flatnonzero(found["row"] == row)
            if not len(own):
                return whole, response
            own = own[found["features"][own] == _hashed_features(inputs)[own]]
            crossed = self.model.scale.apply(*(found[name][own] for name in SAID))
            for name, values in vars(crossed).items():
                getattr(whole, name)[own] = values
        return whole, response

    def percentiles(self, learner: str, score: Floats, tie_breaker: Floats) -> Floats:
        """Rank scores against those of the calibration rows, as the training did.

        Parameters
        ----------
        learner : str
            CHOSEN or the response baseline.
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
    files = fits.model.save(folder)
    effects = {} if experiment.truth is None else experiment.truth.effects
    write_json(folder / UPLIFT_FEATURES_FILE, {"features": features_signature(mart), "effects": effects})
    calibration = experiment.rows("calibration")
    np.save(folder / RANKS_FILE, np.stack([np.sort(scores.by_learner[name][calibration]) for name in RANKED]))
    np.save(folder / CROSSED_FILE, _crossed(fits, experiment, names))
    return {name: sha256_of(folder / name) for name in (*files, UPLIFT_FEATURES_FILE, RANKS_FILE, CROSSED_FILE)}


def _crossed(fits: Fits, experiment: Experiment, names: "pa.ChunkedArray | None") -> npt.NDArray[np.void]:
    """What models of other folds said of each row learnt from, before the scale, ordered by the hash of its name."""
    import pyarrow as pa

    rows = fits.evidence.rows if names is not None else np.empty(0, np.intp)
    found = np.empty(len(rows), CROSSED)
    if names is not None:
        found["row"] = _hashed(names.take(pa.array(rows)))
        found["features"] = _hashed_features(experiment.inputs.iloc[rows])
        said = (fits.evidence.p_control, fits.evidence.p_treatment, fits.candidates[fits.chosen].crossed)
        for name, values in zip(SAID, said, strict=True):
            found[name] = values
    return found[np.argsort(found["row"], kind="stable")]


def _hashed(names: "pa.ChunkedArray") -> npt.NDArray[np.uint64]:
    import pandas as pd

    # Names differ: to look for equal ones first would only cost.
    return np.asarray(pd.util.hash_array(np.array(names.to_pylist(), dtype=object), categorize=False))


def _hashed_features(inputs: "pd.DataFrame") -> npt.NDArray[np.uint64]:
    """Equal features give equal numbers, whichever other rows are hashed with them."""
    import pandas as pd

    return np.asarray(pd.util.hash_pandas_object(inputs, index=False))


def uplift_version(learner: str, hashes: Mapping[str, str]) -> str:
    """Return the model version, which follows from the models alone.

    Parameters
    ----------
    learner : str
        The chosen candidate.
    hashes : mapping
        What `save_uplift` returned.

    Returns
    -------
    str
        The learner's name and twelve hexadecimal digits.
    """
    models = sorted(name for name in hashes if name == UPLIFT_FILE or name.endswith(".cbm"))
    return model_version(learner, {name: hashes[name] for name in models})


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
            CatBoostModel.load(folder / file_of(name), mart, threads),
            Calibrator(entry["method"], tuple(entry["knots"]), tuple(entry["values"])),
            np.empty(0),
        )
        for name, entry in saved["calibrators"].items()
    }
    names = {in_file: name for name, in_file in SCALE_NAMES.items()}
    scale = {names.get(name, name): value for name, value in saved["scale"].items()}
    scale |= {name: tuple(scale[name]) for name in ("knots", "effects")}
    # Before candidates were compared, the T-learner always ranked.
    entry = saved.get("ranking", {"name": T_LEARNER, "weights": {T_LEARNER: 1.0}})
    models = {
        name: EffectModel.load(folder / file_of(name), threads)
        for name in entry["weights"]
        if name not in (T_LEARNER, RESPONSE)
    }
    learner = TLearner(fits[CONTROL], fits[TREATMENT], saved["usual_rate"])
    ranking = Ranking(entry["name"], entry["weights"], models)
    effects = json.loads((folder / UPLIFT_FEATURES_FILE).read_text(encoding="utf-8"))["effects"]
    ranks = np.load(folder / RANKS_FILE, allow_pickle=False)
    crossed = np.load(folder / CROSSED_FILE, allow_pickle=False)
    model = UpliftModel(learner, fits[RESPONSE], ranking, EffectScale(**scale))
    return SavedUplift(model, dict(zip(RANKED, ranks, strict=True)), crossed, effects)

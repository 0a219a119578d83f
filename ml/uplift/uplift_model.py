"""All that a prediction needs: the two arms' models, the response baseline, the chosen ranking and its scale."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml.arrays import Floats
from ml.files import write_json
from ml.uplift.candidates import Ranking
from ml.uplift.cross_fitting import Fit
from ml.uplift.effect_scale import EffectScale, Prediction
from ml.uplift.names import RESPONSE, T_LEARNER
from ml.uplift.t_learner import TLearner

if TYPE_CHECKING:
    import pandas as pd

UPLIFT_FILE = "uplift.json"
CONTROL, TREATMENT = "control", "treatment"
SCALE_NAMES = {"shrinkage": "trust"}


@dataclass(frozen=True)
class UpliftModel:
    """The published model: the chosen ranking, on the scale of the effects, around the T-learner's probabilities."""

    t_learner: TLearner
    response: Fit
    ranking: Ranking
    scale: EffectScale

    def predict(self, inputs: "pd.DataFrame") -> tuple[Prediction, Floats]:
        """Predict rows that were not trained on.

        Parameters
        ----------
        inputs : DataFrame
            Features.

        Returns
        -------
        Prediction
            Both probabilities and the score.
        ndarray of shape (n_rows,)
            Probability of a conversion, by the response baseline.
        """
        (p_control, p_treatment), response = self.t_learner.probabilities(inputs), self.response.probability(inputs)
        parts = {T_LEARNER: p_treatment - p_control, RESPONSE: response}
        parts |= {name: model.effect(inputs) for name, model in self.ranking.models.items()}
        return self.scale.apply(p_control, p_treatment, self.ranking.score(parts)), response

    def save(self, folder: Path) -> list[str]:
        """Write the model.

        Parameters
        ----------
        folder : Path
            Where the files go: one CatBoost file per model and `uplift.json`.

        Returns
        -------
        list of str
            Names of the files, in order.
        """
        folder.mkdir(parents=True, exist_ok=True)
        fits = {CONTROL: self.t_learner.control, TREATMENT: self.t_learner.treatment, RESPONSE: self.response}
        boosters = {name: fit.model for name, fit in fits.items()} | self.ranking.models
        for name, booster in boosters.items():
            booster.save(folder / file_of(name))
        content = {
            "calibrators": {name: vars(fit.calibrator) for name, fit in fits.items()},
            # The names in the file are older than those in the code: a model's version follows from its files.
            "scale": {SCALE_NAMES.get(name, name): value for name, value in vars(self.scale).items()},
            "usual_rate": self.t_learner.baseline_rate,
            "ranking": {"name": self.ranking.name, "weights": self.ranking.weights},
        }
        write_json(folder / UPLIFT_FILE, content)
        return sorted([UPLIFT_FILE, *map(file_of, boosters)])


def file_of(name: str) -> str:
    """Return the name of the file that holds one CatBoost model."""
    return f"uplift_{name}.cbm"

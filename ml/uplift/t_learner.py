"""The T-learner: one model an arm."""

from pathlib import Path
from typing import TYPE_CHECKING

from ml.arrays import Floats
from ml.conversion.calibration import Calibrator
from ml.conversion.catboost import CatBoostModel
from ml.files import write_json
from ml.uplift.effect_scale import EffectScale, Prediction
from ml.uplift.names import RESPONSE

if TYPE_CHECKING:
    import pandas as pd

ARMS = ("control", "treatment")
UPLIFT_FILE = "uplift.json"


class TLearner:
    """Two CatBoost models, one an arm, each calibrated; uplift is their difference on the scale of the effects.

    Also the response model, which knows no arms: the baseline that a T-learner must beat.

    References
    ----------
    Künzel, Sekhon, Bickel & Yu (2019), Metalearners for estimating heterogeneous treatment effects, PNAS 116(10).
    """

    def __init__(
        self,
        models: dict[str, CatBoostModel],
        calibrators: dict[str, Calibrator],
        scale: EffectScale,
        usual_rate: float,
    ) -> None:
        self.models, self.calibrators, self.scale, self.usual_rate = models, calibrators, scale, usual_rate

    def predict(self, inputs: "pd.DataFrame") -> Prediction:
        """Predict rows that were not trained on.

        Parameters
        ----------
        inputs : DataFrame
            Features.

        Returns
        -------
        Prediction
            One value a row.
        """
        return self.scale.apply(*(self._probability(arm, inputs) for arm in ARMS))

    def response(self, inputs: "pd.DataFrame") -> Floats:
        """Predict the probability of a conversion whatever the arm.

        Parameters
        ----------
        inputs : DataFrame
            Features.

        Returns
        -------
        array of float
            One probability a row.
        """
        return self._probability(RESPONSE, inputs)

    def save(self, folder: Path) -> None:
        """Write all that prediction needs.

        Parameters
        ----------
        folder : Path
            Where the files go: one CatBoost file a model and `uplift.json`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in self.models.items():
            model.save(folder / f"uplift_{name}.cbm")
        calibrators = {name: vars(calibrator) for name, calibrator in self.calibrators.items()}
        content = {"calibrators": calibrators, "scale": vars(self.scale), "usual_rate": self.usual_rate}
        write_json(folder / UPLIFT_FILE, content)

    def _probability(self, name: str, inputs: "pd.DataFrame") -> Floats:
        return self.calibrators[name].probability(self.models[name].log_odds(inputs))

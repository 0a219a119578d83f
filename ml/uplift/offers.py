"""Whom does each of some offers change, in conversions and in money? Doubly robust scores, and what predicts them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml.arrays import Codes, Floats, Rows
from ml.config import Config
from ml.conversion.fitting import fit_alone

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 5
ARM = "\0arm"
# Amounts above this quantile of all amounts count as it in what is learnt; what is valued counts them whole.
HIGHEST_AMOUNT = 0.995
FEWEST_BUYERS = 200  # fewer, and every buyer is expected to spend the mean
RESPONSE_TREES = {"iterations": 150, "depth": 4, "learning_rate": 0.05, "l2_leaf_reg": 10}
STAGES = (10, 20, 40, 70, 100)  # numbers of trees to choose from
GAIN_TREES = {"iterations": STAGES[-1], "depth": 2, "learning_rate": 0.05, "l2_leaf_reg": 10}


@dataclass(frozen=True)
class Costs:
    """What offers cost, one number per offer, and the share of revenue that is kept.

    `contact` is paid for each row treated, `redemption` for each that buys, `basket` is a share of what it spends, and
    `fixed` is paid once if the offer is made at all.
    """

    contact: tuple[float, ...]
    redemption: tuple[float, ...]
    basket: tuple[float, ...]
    fixed: tuple[float, ...]
    margin: float

    def of(self, offers: Sequence[int]) -> "Costs":
        """Return the costs of some offers, by their codes from 1 on."""

        def some(values: tuple[float, ...]) -> tuple[float, ...]:
            return tuple(values[offer - 1] for offer in offers)

        return Costs(some(self.contact), some(self.redemption), some(self.basket), some(self.fixed), self.margin)

    def paid(self, buys: Floats, spends: Floats) -> Floats:
        """Return what each offer costs, fixed costs aside.

        Parameters
        ----------
        buys, spends : ndarray of shape (n_rows, n_offers)
            Chance of buying and amount spent under each offer.

        Returns
        -------
        ndarray of shape (n_rows, n_offers)
            Costs.
        """
        return np.asarray(
            np.array(self.contact) + np.array(self.redemption) * buys + np.array(self.basket) * spends, np.float64
        )

    def gained(self, buys: Floats, spends: Floats) -> Floats:
        """Return what each offer earns more than the control does, fixed costs aside.

        Parameters
        ----------
        buys, spends : ndarray of shape (n_rows, n_offers + 1)
            Chance of buying and amount spent, under the control first.

        Returns
        -------
        ndarray of shape (n_rows, n_offers)
            Gains.
        """
        more = spends[:, 1:] - spends[:, :1]
        return np.asarray(self.margin * more - self.paid(buys[:, 1:], spends[:, 1:]))


@dataclass(frozen=True)
class Constant:
    """A model where there is nothing to learn: all rows do the same."""

    value: float

    def predict(self, inputs: "pd.DataFrame") -> Floats:
        """Return the same number for each row."""
        return np.full(len(inputs), self.value)


@dataclass(frozen=True)
class OfferRows:
    """Rows of an experiment with one control and one or several offers.

    `arm` is 0 for the control and counts the offers from 1; `bought` is 0 or 1; `spent` is money; `chance` is of shape
    (n_rows, n_arms), how likely each row was to be drawn into each arm.
    """

    inputs: "pd.DataFrame"
    arm: Codes
    bought: Floats
    spent: Floats
    visitor: npt.NDArray[np.int32]
    chance: Floats

    def __len__(self) -> int:
        return len(self.arm)

    @property
    def arms(self) -> int:
        """How many arms there are."""
        return int(self.chance.shape[1])

    def take(self, rows: Rows) -> "OfferRows":
        """Return the rows at some positions."""
        return OfferRows(
            inputs=self.inputs.iloc[rows],
            arm=self.arm[rows],
            bought=self.bought[rows],
            spent=self.spent[rows],
            visitor=self.visitor[rows],
            chance=self.chance[rows],
        )


@dataclass(frozen=True)
class Responses:
    """What rows are expected to do in each arm: `buys` and `spends`, ndarrays of shape (n_rows, n_arms)."""

    buys: Floats
    spends: Floats

    def doubly_robust(self, rows: OfferRows) -> "Responses":
        """Return doubly robust scores of rows that the predictions did not see: their means estimate the arms' means.

        References
        ----------
        Robins, Rotnitzky & Zhao (1994), JASA 89:846-866.
        """
        own = np.arange(rows.arms) == rows.arm[:, None]
        with np.errstate(divide="ignore"):
            weight = np.where(own, 1 / rows.chance, 0)
        return Responses(
            self.buys + weight * (rows.bought[:, None] - self.buys),
            self.spends + weight * (rows.spent[:, None] - self.spends),
        )


@dataclass(frozen=True)
class ResponseModel:
    """An S-learner in two parts: whether a row buys, whether it spends, and how much then; the arm is a feature.

    `positive` is None where who buys spends; `amount` is None where amounts are `amounts`, a number per arm.
    """

    bought: Any
    positive: Any
    amount: Any
    amounts: tuple[float, ...]
    threads: int

    @classmethod
    def fit(cls, rows: OfferRows, config: Config) -> "ResponseModel":
        """Fit on some rows."""
        inputs = _with_arm(rows.inputs, rows.arm, rows.arms)
        spends = rows.spent > 0
        bought = _classifier(inputs, rows.bought, config)
        positive = None if np.array_equal(spends, rows.bought > 0) else _classifier(inputs, spends, config)
        amounts = _mean_amounts(rows)
        amount = None
        if spends.sum() >= FEWEST_BUYERS and np.ptp(rows.spent[spends]) > 0:
            amount = _regressor(inputs[spends], rows.spent[spends], None, RESPONSE_TREES, config)
        return cls(bought, positive, amount, amounts, config.threads)

    def predict(self, inputs: "pd.DataFrame") -> Responses:
        """Say what rows would do in each arm."""
        buys, spends = [], []
        for arm, mean in enumerate(self.amounts):
            asked = _with_arm(inputs, np.full(len(inputs), arm), len(self.amounts))
            buys.append(_chance(self.bought, asked, self.threads))
            positive = buys[-1] if self.positive is None else _chance(self.positive, asked, self.threads)
            amount = mean if self.amount is None else np.maximum(self.amount.predict(asked), 0)
            spends.append(positive * amount)
        return Responses(np.column_stack(buys), np.column_stack(spends))


@dataclass(frozen=True)
class GainModel:
    """What an offer earns with a row more than the control does: `mean` plus `slope` times the difference of `trees`.

    `trees` is regressed on doubly robust scores, rows weighted by the inverse of their variance (a DR-learner).
    `slope`, 0 to 1, is the best linear predictor of the scores of rows that the trees did not see: 0 where no
    difference between rows was found. The number of trees is the one that tells such rows apart best.

    References
    ----------
    Kennedy (2023), EJS 17(2):3008-3049; Chernozhukov, Demirer, Duflo & Fernández-Val (2018).
    """

    trees: Any
    centre: float
    mean: float
    slope: float

    def predict(self, inputs: "pd.DataFrame") -> Floats:
        """Return the gain of each row: ndarray of shape (n_rows,)."""
        return np.asarray(self.mean + self.slope * (self.trees.predict(inputs) - self.centre))


@dataclass(frozen=True)
class OfferModel:
    """All that says what offers earn: one model of the responses, and one of the gain per offer."""

    responses: ResponseModel
    gains: tuple[GainModel, ...]

    def predict(self, inputs: "pd.DataFrame", costs: Costs) -> tuple[Floats, Floats]:
        """Say what each offer earns and costs with each row.

        Parameters
        ----------
        inputs : DataFrame
            Features.
        costs : Costs
            As they were when the models were fitted.

        Returns
        -------
        ndarray of shape (n_rows, n_offers)
            What each offer earns more than the control does, its cost taken off.
        ndarray of shape (n_rows, n_offers)
            What each offer is expected to cost.
        """
        found = self.responses.predict(inputs)
        return self.expected_gains(inputs), costs.paid(found.buys[:, 1:], found.spends[:, 1:])

    def expected_gains(self, inputs: "pd.DataFrame") -> Floats:
        """Say what each offer earns with each row, its cost taken off: ndarray of shape (n_rows, n_offers)."""
        return np.column_stack([model.predict(inputs) for model in self.gains])


def fit_offers(rows: OfferRows, costs: Costs, config: Config) -> OfferModel:
    """Learn what each offer earns with whom.

    Parameters
    ----------
    rows : OfferRows
        Training rows, of every arm.
    costs : Costs
        What offers cost.
    config : Config
        Settings.

    Returns
    -------
    OfferModel
        The models.
    """
    rows = _without_outliers(rows)
    folds = [rows.visitor % FOLDS == fold for fold in range(FOLDS)]
    buys, spends = np.empty(rows.chance.shape), np.empty(rows.chance.shape)
    for held_out in folds:
        found = ResponseModel.fit(rows.take(np.flatnonzero(~held_out)), config).predict(rows.inputs[held_out])
        buys[held_out], spends[held_out] = found.buys, found.spends
    expected = Responses(buys, spends)
    scores = expected.doubly_robust(rows)
    gains = costs.gained(scores.buys, scores.spends)
    weights = 1 / _variances(rows, expected, costs)
    # Their mean is 1, so that what the trees find does not follow from the currency: they are regularised against it.
    weights /= weights.mean(axis=0)
    models = [_fit_gain(rows, gains[:, place], weights[:, place], folds, config) for place in range(gains.shape[1])]
    return OfferModel(ResponseModel.fit(rows, config), tuple(models))


def _fit_gain(
    rows: OfferRows, gains: Floats, weights: Floats, folds: list[npt.NDArray[np.bool_]], config: Config
) -> GainModel:
    crossed = np.empty((len(STAGES), len(rows)))
    for held_out in folds:
        rest = ~held_out
        trees = _regressor(rows.inputs[rest], gains[rest], weights[rest], GAIN_TREES, config)
        crossed[:, held_out] = [_at_stage(trees, rows.inputs[held_out], stage) for stage in STAGES]
    apart = crossed - np.average(crossed, axis=1, weights=weights)[:, None]
    spread, shared = (weights * apart**2).sum(axis=1), (weights * apart * gains).sum(axis=1)
    slope = np.clip(np.divide(shared, spread, out=np.zeros(len(STAGES)), where=spread > 0), 0, 1)
    # The less noise there is, the more trees tell rows apart that they have not seen.
    best = int(np.argmax(2 * slope * shared - slope**2 * spread))
    trees = _regressor(rows.inputs, gains, weights, GAIN_TREES | {"iterations": STAGES[best]}, config)
    return GainModel(trees, float(trees.predict(rows.inputs).mean()), float(gains.mean()), float(slope[best]))


def _at_stage(trees: Any, inputs: "pd.DataFrame", stage: int) -> Floats:
    return np.asarray(trees.predict(inputs) if isinstance(trees, Constant) else trees.predict(inputs, ntree_end=stage))


def _variances(rows: OfferRows, expected: Responses, costs: Costs) -> Floats:
    """How much the score of each row's gain varies, about, by offer: shape (n_rows, n_offers)."""
    buys = np.clip(expected.buys, 1e-6, 1)
    amount = expected.spends / buys
    bought = rows.spent[rows.spent > 0]
    spread = 1 + (bought.std() / bought.mean()) ** 2 if len(bought) else 1.0
    # A row's money is `amount` with chance `buys`, else nothing; a treated one's is less its costs.
    share = np.concatenate([[costs.margin], costs.margin - np.array(costs.basket)])
    paid = np.concatenate([[0.0], costs.redemption])
    size = np.abs(share * amount - paid)
    own = buys * size**2 * spread - (buys * size) ** 2
    own = own / np.maximum(rows.chance, 1e-6)
    found = own[:, 1:] + own[:, :1]
    means = found.mean(axis=0)
    return np.asarray(found + np.where(means > 0, 0.02 * means, 1))


def _without_outliers(rows: OfferRows) -> OfferRows:
    spent = rows.spent[rows.spent > 0]
    highest = np.quantile(spent, HIGHEST_AMOUNT) if len(spent) else 0.0
    own = np.minimum(rows.spent, highest)
    return OfferRows(rows.inputs, rows.arm, rows.bought, own, rows.visitor, rows.chance)


def _mean_amounts(rows: OfferRows) -> tuple[float, ...]:
    """Mean amount of those who spend, by arm; that of all where an arm has none."""
    spends = rows.spent > 0
    overall = float(rows.spent[spends].mean()) if spends.any() else 0.0
    own = [rows.spent[spends & (rows.arm == arm)] for arm in range(rows.arms)]
    return tuple(float(amounts.mean()) if len(amounts) else overall for amounts in own)


def _with_arm(inputs: "pd.DataFrame", arm: npt.NDArray[Any], arms: int) -> "pd.DataFrame":
    import pandas as pd

    levels = [str(code) for code in range(arms)]
    return inputs.assign(**{ARM: pd.Categorical([levels[code] for code in arm], categories=levels)})


def _settings(inputs: "pd.DataFrame", config: Config) -> dict[str, Any]:
    return {
        "cat_features": [name for name, column in inputs.items() if column.dtype == "category"],
        "one_hot_max_size": 32,
        "random_seed": config.seed,
        "thread_count": config.threads,
        "allow_writing_files": False,
        "logging_level": "Silent",
    }


def _classifier(inputs: "pd.DataFrame", label: npt.NDArray[Any], config: Config) -> Any:
    """Fit who does something."""
    from catboost import CatBoostClassifier

    label = label.astype(np.int8)
    if label.min() == label.max():
        return Constant(float(label[0]))
    return fit_alone(CatBoostClassifier(**RESPONSE_TREES, **_settings(inputs, config)), inputs, label)


def _chance(model: Any, inputs: "pd.DataFrame", threads: int) -> Floats:
    if isinstance(model, Constant):
        return model.predict(inputs)
    return np.asarray(model.predict_proba(inputs, thread_count=threads)[:, 1])


def _regressor(
    inputs: "pd.DataFrame", target: Floats, weights: Floats | None, trees: dict[str, Any], config: Config
) -> Any:
    """Fit a number; CatBoost cannot where it, or what it may follow from, is the same in all rows."""
    from catboost import CatBoostRegressor

    if np.ptp(target) == 0 or inputs.nunique(dropna=False).max() == 1:
        return Constant(float(np.average(target, weights=weights)))
    return fit_alone(CatBoostRegressor(**trees, **_settings(inputs, config)), inputs, target, sample_weight=weights)

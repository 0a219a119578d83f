"""All settings of the modelling commands, typed and checked before any work starts."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ml.bootstrap import Bootstrap
from warehouse import settings as warehouse_settings
from warehouse.errors import FunneliftError

DEFAULTS = Path(__file__).with_name("config.yml")
ENVIRONMENT = {**warehouse_settings.ENVIRONMENT, "results": "FUNNELIFT_RESULTS"}
RENAMED = {"uplift.rivals": "uplift.challengers", "uplift.rival_rows": "uplift.challenger_rows"}
Share = Annotated[float, Field(gt=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of every settings section: unknown names are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(Section):
    """Values that the features matching a pattern may take."""

    pattern: str
    low: float
    high: float


class Leakage(Section):
    """When a single feature is taken for a leak."""

    highest_auc: Annotated[float, Field(gt=0.5, le=1)]
    highest_purity: Annotated[float, Field(gt=0.5, le=1)]
    min_positives: PositiveInt
    accepted: dict[str, str]


class Split(Section):
    """Shares of the time span, and the rows left out between them."""

    train_share: Share
    calibration_share: Share
    embargo_seconds: Annotated[int, Field(ge=0)]
    min_positives: PositiveInt

    @model_validator(mode="after")
    def _leaves_a_test_split(self) -> "Split":
        if self.train_share + self.calibration_share >= 1:
            raise ValueError("train_share + calibration_share must be below 1: the test split is the rest")
        return self


class Sampling(Section):
    """How many rows are trained on, and how many of them without a purchase."""

    min_negatives: PositiveInt
    negatives_per_positive: PositiveFloat
    max_rows: Annotated[int, Field(ge=2)]


class CatBoostSettings(Section):
    """Settings of the CatBoost model."""

    max_trees: PositiveInt
    learning_rate: PositiveFloat
    depth: Annotated[int, Field(ge=1, le=10)]
    l2_leaf_reg: PositiveFloat
    early_stopping_rounds: PositiveInt


class XGBoostSettings(Section):
    """Settings of the XGBoost model."""

    max_trees: PositiveInt
    learning_rate: PositiveFloat
    depth: Annotated[int, Field(ge=1, le=10)]
    min_child_weight: PositiveFloat
    reg_lambda: PositiveFloat
    subsample: Annotated[float, Field(gt=0, le=1)]
    colsample_bytree: Annotated[float, Field(gt=0, le=1)]
    early_stopping_rounds: PositiveInt


class LogisticSettings(Section):
    """Settings of the logistic regression baseline."""

    inverse_regularisation: PositiveFloat
    min_category_rows: PositiveInt


class Models(Section):
    """Settings of the three models."""

    catboost: CatBoostSettings
    xgboost: XGBoostSettings
    logistic: LogisticSettings


class Calibration(Section):
    """How scores become probabilities and how that is checked."""

    methods: Annotated[list[Literal["platt", "isotonic"]], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2)]
    max_rows: PositiveInt
    bins: Annotated[int, Field(ge=2)]


class EvaluationSettings(Section):
    """How many rows are evaluated, and how intervals are made."""

    max_rows: PositiveInt
    bootstrap_resamples: Annotated[int, Field(ge=20)]
    confidence: Share


class RiskBands(Section):
    """Shares of a decision point's rows that are least and most likely to convert."""

    high_share: Share
    low_share: Share

    @model_validator(mode="after")
    def _leave_a_middle(self) -> "RiskBands":
        if self.high_share + self.low_share >= 1:
            raise ValueError("high_share and low_share must leave some rows between them: their sum is below 1")
        return self


class Explanation(Section):
    """How much the SHAP figure shows."""

    plot_rows: PositiveInt


class Segment(Section):
    """A segment of the simulation: bounds of features (null: none), and what treatment changes there."""

    name: Annotated[str, Field(min_length=1)]
    when: dict[str, tuple[float | None, float | None]]
    adds: Annotated[float, Field(ge=0, le=1)]
    removes: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "Segment":
        for feature, (low, high) in self.when.items():
            if low is not None and high is not None and low > high:
                raise ValueError(f"{feature}: the lower bound {low:g} is above the upper bound {high:g}")
        return self


class Simulation(Section):
    """How arms and effects are made up where there is no experiment."""

    salt: str
    segments: Annotated[list[Segment], Field(max_length=100)]


class ExperimentSettings(Section):
    """Where the arms come from, what is asked of them, and by which outcome they are compared."""

    decision_point: str
    outcome: Literal["conversion", "revenue"] = "conversion"
    treated: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=100)] = []
    control: Annotated[str, Field(min_length=1, max_length=64)] = "control"
    offer_shares: dict[str, Share] = {}
    treated_share: Share
    highest_mismatch_p: Share
    allow_mismatch: bool
    min_conversions_per_arm: PositiveInt
    min_units_per_arm: PositiveInt
    sequence_units: PositiveInt
    split: Split
    simulation: Simulation


class UpliftSettings(CatBoostSettings):
    """How uplift is learnt, with CatBoost models of these settings, and evaluated."""

    folds: Annotated[int, Field(ge=2)]
    sampling: Sampling
    challengers: list[Literal["response", "s_learner", "dr_learner", "x_learner", "stack", "mean"]]
    challenger_rows: PositiveInt
    placebo_runs: PositiveInt
    bootstrap_resamples: Annotated[int, Field(ge=20)]
    top_shares: Annotated[list[Share], Field(min_length=1)]


class OfferCosts(Section):
    """What one of several offers costs, where that differs from what the others do."""

    cost: Annotated[float, Field(ge=0)] | None = None
    contact_cost: Annotated[float, Field(ge=0)] | None = None
    cost_share: Annotated[float, Field(ge=0, le=1)] | None = None
    fixed_cost: Annotated[float, Field(ge=0)] | None = None


class PolicySettings(Section):
    """What an intervention costs and a conversion brings."""

    costs: dict[str, OfferCosts] = {}
    cost: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    cost_per: Literal["redemption", "contact"]
    contact_cost: Annotated[float, Field(ge=0)] = 0.0
    cost_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    fixed_cost: Annotated[float, Field(ge=0)] = 0.0
    revenue_per_conversion: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    value_column: str | None
    margin: Annotated[float, Field(gt=0, le=1)]
    budget: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    share_step: Annotated[int, Field(ge=1, le=100)]
    horizon_days: PositiveFloat
    bootstrap_resamples: Annotated[int, Field(ge=20)]
    sensitivity: Annotated[list[PositiveFloat], Field(min_length=1)]

    @field_validator("costs", mode="before")
    @classmethod
    def _plain_costs(cls, costs: Any) -> Any:
        """Take a plain number for `cost`."""
        if not isinstance(costs, Mapping):
            return costs
        return {name: {"cost": own} if isinstance(own, int | float) else own for name, own in costs.items()}

    def costs_of(self, offers: Sequence[str], name: str) -> list[float]:
        """Return one kind of cost of each offer.

        Parameters
        ----------
        offers : sequence of str
            What the offers are called.
        name : str
            cost, contact_cost, cost_share or fixed_cost.

        Returns
        -------
        list of float
            The offer's own, else that of all.
        """
        own = [getattr(self.costs.get(offer, OfferCosts()), name) for offer in offers]
        return [float(getattr(self, name) if cost is None else cost) for cost in own]

    @property
    def has_further_costs(self) -> bool:
        """Whether something is paid besides `cost`, or offers cost different amounts."""
        return bool(self.contact_cost or self.cost_share or self.fixed_cost or self.costs)


class PlannerSettings(Section):
    """The experiment to run next."""

    power: Share
    significance: Share
    shares: Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1)]
    days: tuple[PositiveInt, PositiveInt]
    simulations: PositiveInt

    @model_validator(mode="after")
    def _can_be_missed(self) -> "PlannerSettings":
        if self.power <= self.significance:
            raise ValueError("power must be above significance: a test that ignores the data would do as well")
        return self


class Monitoring(Section):
    """What counts as drift, and how much is enough to evaluate."""

    window_days: PositiveInt
    period: Literal["auto", "day", "week"]
    bins: Annotated[int, Field(ge=2, le=100)]
    categories: Annotated[int, Field(ge=1, le=100)]
    psi_watch: PositiveFloat
    psi_alarm: PositiveFloat
    not_counted: list[str]
    min_rows: Annotated[int, Field(ge=2)]
    min_positives: PositiveInt
    worse_by: dict[Literal["auc_roc", "average_precision", "normalised_log_loss", "observed_to_expected"], Share | None]

    @model_validator(mode="after")
    def _in_order(self) -> "Monitoring":
        if self.psi_watch >= self.psi_alarm:
            raise ValueError("psi_watch must be smaller than psi_alarm")
        return self


class Config(Section):
    """Every setting of a run."""

    target: str
    duckdb_path: Path
    lock_wait_seconds: Annotated[int, Field(ge=0)]
    duckdb_memory_limit: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?[KMGT]i?B$")]
    results: Path
    models_kept: PositiveInt
    rows_in_memory: Annotated[int, Field(ge=0)]
    predictions_csv_max_rows: Annotated[int, Field(ge=0)]
    manifest: Path
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    threads: PositiveInt
    ranges: list[Range]
    never_null: list[str]
    leakage: Leakage
    split: Split
    sampling: Sampling
    models: Models
    calibration: Calibration
    evaluation: EvaluationSettings
    risk_bands: RiskBands
    explanation: Explanation
    experiment: ExperimentSettings
    uplift: UpliftSettings
    policy: PolicySettings
    planner: PlannerSettings
    monitoring: Monitoring

    @field_validator("results")
    @classmethod
    def _is_text(cls, results: Path) -> Path:
        """Refuse what only the file system can read: not every library can write there."""
        try:
            str(results).encode()
        except UnicodeEncodeError:
            raise ValueError("the path is not UTF-8, or this locale cannot say it: set LC_ALL=C.UTF-8") from None
        return results

    @property
    def learns_gains(self) -> bool:
        """Whether a run on the mart learns what an offer earns with whom, in money, and not whom it makes buy."""
        experiment = self.experiment
        return experiment.outcome == "revenue" or len(experiment.treated) > 1 or self.policy.has_further_costs

    def bootstrap(self, resamples: int) -> Bootstrap:
        """Return the bootstrap of this run's seed, confidence and threads with a section's number of resamples."""
        return Bootstrap(resamples, self.evaluation.confidence, self.seed, self.threads)


def load_config(
    path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Config:
    """Put the settings together: command line over environment over the user's file over the defaults.

    Parameters
    ----------
    path : Path, optional
        YAML file with the settings that differ from `ml/config.yml`.
    overrides : mapping, optional
        Settings from the command line, `section.setting` for one inside a section; None counts as not given.
    environment : mapping
        Environment variables.

    Returns
    -------
    Config
        Complete, checked settings.

    Raises
    ------
    FunneliftError
        When a file is missing or not YAML, or a setting is unknown or out of range; all faults are named at once.
    """
    settings = _read_yaml(DEFAULTS)
    if path is not None:
        settings = _merge(settings, _read_yaml(path))
    settings |= {name: environment[key] for name, key in ENVIRONMENT.items() if environment.get(key)}
    for name, value in (overrides or {}).items():
        if value is not None:
            section, _, inner = name.partition(".")
            settings = _merge(settings, {section: {inner: value}} if inner else {name: value})
    if settings["manifest"] is None:
        settings["manifest"] = Path(environment.get("DBT_TARGET_PATH") or "target") / "manifest.json"
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            setting = ".".join(map(str, fault["loc"])) or "settings"
            faults.append(f"  {setting}: {f'now called {RENAMED[setting]}' if setting in RENAMED else fault['msg']}")
        where = f"{path} over {DEFAULTS.name}" if path else str(DEFAULTS)
        raise FunneliftError(f"bad settings ({where}, environment, command line):\n" + "\n".join(faults)) from None
    return config


class _Once(yaml.SafeLoader):
    """A loader that refuses a key that stands twice, of which YAML would take the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Once)
    except OSError as error:
        raise FunneliftError(f"cannot read the settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise FunneliftError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise FunneliftError(f"{path} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise FunneliftError(f"{path} must hold `setting: value` lines, not a {type(content).__name__}")
    return content


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        both_sections = isinstance(value, dict) and isinstance(base.get(name), dict)
        merged[name] = _merge(base[name], value) if both_sections else value
    return merged

"""Which columns are features, label, ids, time and status: read from dbt's metadata, nowhere repeated."""

from collections.abc import Iterable
from dataclasses import dataclass

from warehouse.contract import Contracts
from warehouse.errors import FunneliftError

MART = "session_features"
# What the published models say of its rows.
PREDICTIONS, SCORES = "conversion_predictions", "uplift_scores"
NONE = "(none)"
IDENTITY = ("session_id", "decision_point", "visitor_id", "decided_at")
STATUSES = ("is_mature", "is_new_visitor")


@dataclass(frozen=True)
class Feature:
    """One model input: its name, group (context, session, item, history), kind, description and reason.

    `reason` is how a reason names the feature, and of a flag what holds when it is 1; empty where it is never a reason.
    `short` is how charts and rules name it; empty where its name does.
    """

    name: str
    group: str
    kind: str
    description: str
    reason: str = ""
    is_flag: bool = False
    short: str = ""

    @property
    def label(self) -> str:
        """How charts and rules name it."""
        return self.short or self.name


@dataclass(frozen=True)
class Mart:
    """What dbt's manifest says about the feature mart."""

    features: tuple[Feature, ...]
    label: str
    columns: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of all features, in the order of the models' inputs."""
        return [feature.name for feature in self.features]

    @property
    def numeric(self) -> list[str]:
        """Names of the numeric features."""
        return [feature.name for feature in self.features if feature.kind == "numeric"]

    @property
    def categorical(self) -> list[str]:
        """Names of the categorical features."""
        return [feature.name for feature in self.features if feature.kind == "categorical"]


def read_mart(contracts: Contracts) -> Mart:
    """Read the roles of the feature mart's columns from its contract.

    Parameters
    ----------
    contracts : Contracts
        What dbt's manifest says.

    Returns
    -------
    Mart
        Features (numeric, then categorical, each in the order of the properties file), label and all columns.

    Raises
    ------
    FunneliftError
        When the mart or the roles are missing.
    """
    roles: dict[str, list[str]] = {}
    features = []
    for column in contracts[MART].columns:
        name, meta = column.name, column.meta
        roles.setdefault(str(meta.get("role")), []).append(name)
        if meta.get("role") == "feature":
            if meta.get("kind") not in ("numeric", "categorical") or not meta.get("group"):
                raise FunneliftError(
                    f"{MART}.{name}: a feature's meta needs kind numeric or categorical, and a group; got {meta}. "
                    "Correct the mart's properties file and run `dbt build`"
                )
            reason, is_flag = meta.get("reason", ""), meta.get("flag", False)
            description, short = column.description or name, meta.get("short", "")
            features.append(Feature(name, meta["group"], meta["kind"], description, reason, is_flag, short))
    columns = tuple(name for names in roles.values() for name in names)
    missing = sorted({*IDENTITY, *STATUSES, "decided_ms"} - set(columns))
    if "decision_point" not in {feature.name for feature in features if feature.kind == "categorical"}:
        missing.append("decision_point as a categorical feature")
    if missing or len(roles.get("label", [])) != 1 or not features:
        raise FunneliftError(
            f"{contracts.source}: {MART} needs features, one label and the columns {', '.join(missing) or 'it has'}; "
            f"found {len(features)} features and labels {roles.get('label', [])}. Run `dbt build` with this project's "
            "models"
        )
    features.sort(key=lambda feature: feature.kind, reverse=True)
    return Mart(tuple(features), roles["label"][0], columns)


def features_signature(mart: Mart) -> list[dict[str, str]]:
    """Return what a saved model must agree on with the mart: names, kinds and types of the features, in order.

    Parameters
    ----------
    mart : Mart
        Features.

    Returns
    -------
    list of dict
        One per feature.
    """
    types = {"numeric": "float32", "categorical": "text"}
    return [
        {"name": feature.name, "group": feature.group, "kind": feature.kind, "dtype": types[feature.kind]}
        for feature in mart.features
    ]


def check_columns(mart: Mart, columns: Iterable[str]) -> None:
    """Refuse a manifest that does not describe the table in the warehouse.

    Parameters
    ----------
    mart : Mart
        What the manifest says.
    columns : iterable of str
        Columns that the table has.

    Raises
    ------
    FunneliftError
        When the manifest names a column that the table lacks, or the reverse.
    """
    described, found = set(mart.columns), set(columns)
    if not found:
        raise FunneliftError(f"no table funnelift.{MART} in the warehouse: run `dbt build` first")
    if described != found:
        raise FunneliftError(
            f"the dbt manifest is stale: {MART} lacks {sorted(described - found) or 'nothing'} that it describes, and "
            f"has {sorted(found - described) or 'nothing'} that it does not. Run `dbt build`"
        )

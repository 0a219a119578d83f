"""People who were in no experiment, scored by the model and the rule that one taught."""

import argparse
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from ml.cli import Progress
from ml.config import Config
from ml.experiment.file_columns import value_counts
from ml.experiment.file_rows import tie_breakers
from ml.experiment.people import People, read_people
from ml.parts.offers import score_columns
from ml.policy.scored import with_quadrants, with_rule
from ml.publish.file_model import FileModel, Rule, read_sealed
from ml.publish.files import staged_files, write_csv
from ml.publish.offer_model import load_offers
from ml.publish.tables import stamped
from ml.publish.uplift_model import load_uplift
from ml.run import Stamp, run_name
from ml.uplift.names import CHOSEN, RESPONSE
from ml.uplift.ranks import deciles

if TYPE_CHECKING:
    import pyarrow as pa


def score_people(config: Config, progress: Progress, options: argparse.Namespace) -> list[str]:
    """Score the rows of a file by a saved model, and say whom its rule treats.

    Parameters
    ----------
    config : Config
        Settings; the scores go to `results`.
    progress : Progress
        Shows the steps.
    options : Namespace
        File and folder of the model, as the command line has them.

    Returns
    -------
    list of str
        How many are treated, by which rule, and where it is.

    Raises
    ------
    FunneliftError
        When the model or the file cannot be used; nothing is written then.
    """
    with threadpool_limits(1, user_api="blas"):
        with progress.step("reading the model; gate: model hash"):
            model, folder = read_sealed(options.model)
        with progress.step("reading the people; gate: columns, kinds, levels"):
            people = read_people(options.score, model.features, model.words, model.visitor)
        with progress.step(f"scoring {len(people.inputs):,} rows"):
            said = _offers if model.rule is None else partial(_scores, rule=model.rule)
            rows = said(people, model, folder, config)
        stamp = Stamp(model.run_id, model.model_version, datetime.now(UTC))
        with staged_files(config.results, run_name(stamp.scored_at)) as staged:
            write_csv(staged / "predictions" / "uplift_scores.csv", stamped(rows, stamp))
    return _findings(rows, model, config)


def _offers(people: People, model: FileModel, folder: Path, config: Config) -> "pa.Table":
    models, policy, costs = load_offers(folder, config.threads)
    gains, paid = models.predict(people.inputs, costs)
    given = policy.assign(gains, paid, tie_breakers(people.inputs, model.seed))
    return score_columns(people.identity, gains, paid, given, model.offers)


def _scores(people: People, model: FileModel, folder: Path, config: Config, *, rule: Rule) -> "pa.Table":
    import pyarrow as pa

    size = len(people.inputs)
    models = load_uplift(folder, model.mart, config.threads)
    prediction, response = models.predict(people.inputs, people.identity.column("visitor_id"))
    ties = tie_breakers(people.inputs, model.seed)
    percentile = models.percentiles(CHOSEN, prediction.score, ties)
    rows = pa.table(
        {
            **{name: people.identity.column(name) for name in people.identity.column_names},
            "p_control": prediction.p_control,
            "p_treatment": prediction.p_treatment,
            "uplift": prediction.uplift,
            "score": prediction.score,
            "uplift_percentile": percentile,
            "decile": deciles(percentile).astype(np.int32),
            "response_probability": response,
            "response_percentile": models.percentiles(RESPONSE, response, ties),
            "quadrant": pa.nulls(size, pa.string()),
            "own_value": pa.nulls(size, pa.float64()),
        }
    )
    costs = config.model_copy(update={"policy": rule.policy})
    return with_rule(with_quadrants(rows, model.baseline_rate, costs), rule.share_percent).drop_columns(["own_value"])


def _findings(rows: "pa.Table", model: FileModel, config: Config) -> list[str]:
    import pyarrow.compute as pc

    treated, size = pc.sum(rows.column("treat")).as_py(), len(rows)
    what = "gain" if model.offers else "uplift"
    if model.rule is None:
        counts = value_counts(rows.column("offer").filter(pc.equal(rows.column("treat"), 1)))
        rule = ", ".join(f"{name} to {count:,}" for name, count in counts.items()) or "no offer to anybody"
    elif model.rule.share_percent:
        rule = f"the {model.rule.share_percent} % with the highest uplift, as in the experiment"
    else:
        rule = "nobody, because in the experiment no share earned more than it costs"
    return [
        f"{size:,} rows scored by {model.model_version} (run {model.run_id}); mean {what} "
        f"{pc.mean(rows.column(what)).as_py():+.4f}.",
        f"Treat {treated:,} of them ({treated / size:.1%}): {rule}.",
        f"Files: {config.results}/predictions/uplift_scores.csv.",
    ]

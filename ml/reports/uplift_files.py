"""The files of an uplift run for people: figures, recommendations and every number behind them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ml.files import write_json
from ml.reports.facts import UpliftFacts
from ml.reports.recommendations.page import recommendations
from ml.reports.uplift_figures.draw import draw_uplift_figures


def write_reports(folder: Path, facts: UpliftFacts, warnings: Sequence[str]) -> None:
    """Write the figures, the recommendations and every number behind them.

    Parameters
    ----------
    folder : Path
        The run's folder.
    facts : UpliftFacts
        Everything they speak of.
    warnings : sequence of str
        What a reader must know about the experiment.
    """
    draw_uplift_figures(folder / "figures", facts)
    (folder / "recommendations.md").write_text(recommendations(facts), encoding="utf-8")
    policy = facts.policy
    metrics = [*facts.metrics, *([facts.placebo_qini] if facts.placebo_qini else [])]
    write_json(
        folder / "metrics" / "uplift_metrics.json",
        {
            "run_id": facts.run_id,
            "model_version": facts.model_version,
            "source": facts.source,
            "is_simulated": facts.is_simulated,
            "is_synthetic": facts.is_synthetic,
            "warnings": list(warnings),
            "metrics": [asdict(entry) for entry in metrics],
            "candidates": [asdict(entry) for entry in facts.comparison],
            "groups": [asdict(entry) for entry in facts.whom.groups] if facts.whom else [],
            "profile": [asdict(entry) for entry in facts.whom.profile] if facts.whom else [],
            "deciles": [asdict(entry) for entry in facts.deciles],
            "pehe": facts.pehe,
            "pehe_constant": facts.pehe_constant,
            "quadrants_of_test_rows": facts.quadrant_counts,
            "policy": {
                "chosen_share_percent": policy.chosen,
                "break_even_share_percent": policy.break_even_share,
                "break_even_cost": policy.break_even_cost,
                "gains": [asdict(entry) for entry in policy.gains],
                "sensitivity": [asdict(entry) for entry in policy.sensitivity],
                "projections": [asdict(entry) for entry in policy.projections],
            },
            "plans": [asdict(entry) for entry in facts.plans],
        },
    )

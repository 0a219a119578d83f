"""All figures of uplift and money."""

from pathlib import Path

from ml.reports.facts import UpliftFacts
from ml.reports.uplift_figures.deciles import calibration, deciles
from ml.reports.uplift_figures.money import roi
from ml.reports.uplift_figures.planner import planner
from ml.reports.uplift_figures.qini import qini


def draw_uplift_figures(folder: Path, facts: UpliftFacts) -> list[Path]:
    """Draw every figure of uplift and money.

    Parameters
    ----------
    folder : Path
        Where the PNG files go.
    facts : UpliftFacts
        What is drawn.

    Returns
    -------
    list of Path
        The files written; equal facts give equal bytes. Without curves there is no Qini figure.
    """
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    drawings = {
        "qini.png": qini,
        "uplift_deciles.png": deciles,
        "uplift_calibration.png": calibration,
        "roi_curve.png": roi,
        "experiment_planner.png": planner,
    }
    if not facts.curves:
        del drawings["qini.png"]
    with mpl.rc_context({"figure.dpi": 120, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}):
        for name, draw in drawings.items():
            # No creation date and no version inside, so that equal runs write equal files.
            draw(facts).savefig(folder / name, metadata={"Software": None})
    return [folder / name for name in drawings]

"""`python -m ml.report`: one page for people who look and do not query, in a file that needs no network."""

import base64
import hashlib
import json
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

from ml.cli import Progress, parse_arguments, run
from ml.config import Config
from ml.report.data import read_report
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

DESCRIPTION = (
    "Write results/report.html: funnel, risk, intervention, return on investment and model health, in one file that "
    "opens from disk. Needs the marts; shows what the last trainings published, and says what is missing."
)
TEMPLATES = Path(__file__).with_name("template")
FILE = "report.html"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Arguments; those of the process without it.

    Returns
    -------
    int
        Exit code: 0 if the report is written.
    """
    return run(parse_arguments("ml.report", DESCRIPTION, arguments), report)


def report(config: Config, progress: Progress) -> list[str]:
    """Write the report from what the warehouse holds.

    Parameters
    ----------
    config : Config
        Settings.
    progress : Progress
        Shows the steps.

    Returns
    -------
    list of str
        Where it is.

    Raises
    ------
    FunneliftError
        When there are no marts, or the file cannot be written.
    """
    path = config.results / FILE
    with open_warehouse(config) as warehouse, progress.step("writing the report"):
        write_report(warehouse, config, path)
    return [f"report: {path} (open it in a browser; {path.stat().st_size / 1e6:.1f} MB, no network needed)"]


def write_report(warehouse: Warehouse, config: Config, path: Path) -> None:
    """Write the page.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse, with what it should show already published.
    config : Config
        Settings.
    path : Path
        The HTML file; an older one is replaced when the new one is complete.

    Raises
    ------
    FunneliftError
        When there are no marts, or the file cannot be written.
    """
    page = render(read_report(warehouse, config))
    unfinished = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise FunneliftError(f"cannot write {path}: {error.strerror} (--results, FUNNELIFT_RESULTS)") from None


def refresh_report(warehouse: Warehouse, config: Config, progress: Progress) -> list[str]:
    """Write the report after something was published, last: without it, what was published still stands.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    config : Config
        Settings.
    progress : Progress
        Shows the step.

    Returns
    -------
    list of str
        Where it is, or why there is none.

    Raises
    ------
    FunneliftError
        When it cannot be written: the message says that the tables are published, and how to go on.
    """
    if not warehouse.columns("bi_status"):
        return [f"No {FILE}: its tables bi_* are not built. Run `dbt build`, then `python -m ml.report`."]
    path = config.results / FILE
    try:
        with progress.step("writing the report"):
            write_report(warehouse, config, path)
    except Exception as error:
        # Whatever the engine raises: who reads of a full disk alone would train once more.
        raise FunneliftError(
            f"all tables are published, but {path} is not written: {error}. Mend that, then run `python -m ml.report`"
        ) from error
    return [f"The pages for people: {path}, in any browser."]


def render(data: dict[str, Any]) -> str:
    """Put data, styles and scripts into one page.

    Parameters
    ----------
    data : dict
        What `read_report` returned.

    Returns
    -------
    str
        HTML. Its policy lets nothing load and no script run but those in it.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    # Shop data must not end the element that holds them; in JSON, \u003c is the same as <.
    embedded = json.dumps(data | {"z": NormalDist().inv_cdf(0.5 + data["confidence"] / 2)}, separators=(",", ":"))
    embedded = embedded.replace("<", "\\u003c")
    # Numbers first: the charts' library takes a second to start.
    scripts = [(TEMPLATES / "page.js").read_text(encoding="utf-8"), get_plotlyjs()]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        data=data,
        simulated=bool(data["status"]["is_simulated"]),
        synthetic=bool(data["status"]["is_synthetic"]),
        policy=Markup(" ".join(map(_hash, scripts))),
        embedded=Markup(embedded),
        styles=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
    )


def _hash(script: str) -> str:
    """Name a script as a Content-Security-Policy does."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


if __name__ == "__main__":
    sys.exit(main())

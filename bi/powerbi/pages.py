"""The four pages: which visuals show which numbers, and where they stand."""

from collections.abc import Mapping, Sequence

from bi import measures as numbers
from bi.powerbi.pbir import HEIGHT, WIDTH, Box, Field, Page, Visual
from bi.powerbi.star import KEY_MEASURES, VISITOR_TYPE

EDGE, GAP = 16, 12
# Rows of every page, from the top: what to know first, slicers, figures; the charts below share the rest.
NOTICE, SLICERS, FIGURES = Box(EDGE, 8, 0, 52), Box(EDGE, 68, 0, 80), Box(EDGE, 156, 0, 84)
CHARTS = 252


def pages() -> tuple[Page, ...]:
    """Lay the pages out.

    Returns
    -------
    tuple of Page
        In the order of their tabs.
    """
    return (_overview(), _risk(), _intervention(), _roi())


def _m(name: str) -> Field:
    return Field(KEY_MEASURES, name, is_measure=True)


def _interval(name: str) -> dict[Field, tuple[Field, Field]]:
    return {_m(name): (_m(f"{name} lower"), _m(f"{name} upper"))}


DATE = Field("Date", "date_day", label="Date")
VISITORS = Field(VISITOR_TYPE, "visitor_type", label="Visitor")
CATEGORY = Field("Category", "category_name", label="Category")
POINT = Field("Decision Point", "decision_point", label="Decision point")
STEP = Field("Funnel Daily", "step", label="Step")
BAND = Field("Session", "risk_band", label="Risk band")
DECISION_BAND = Field("Session Decision", "risk_band", label="Risk band")
SEGMENT = Field("Session", "segment", label="Segment")
QUADRANT = Field("Session", "quadrant", label="Kind of shopper")
SHARE = Field("ROI", "share_percent", label="Sessions treated, %")
STRATEGY = Field("ROI", "strategy", label="Strategy")


def _row(box: Box, count: int) -> list[Box]:
    """Part a row of the page into boxes of equal width."""
    width = (WIDTH - 2 * EDGE - (count - 1) * GAP) // count
    return [Box(EDGE + place * (width + GAP), box.y, width, box.height) for place in range(count)]


def _columns(y: int, height: int, *widths: int) -> list[Box]:
    """Part a row of the page into boxes whose widths are to one another as these numbers."""
    room, left, boxes = WIDTH - 2 * EDGE - (len(widths) - 1) * GAP, EDGE, []
    for width in widths:
        box = Box(left, y, room * width // sum(widths), height)
        boxes.append(box)
        left = box.x + box.width + GAP
    return boxes


def _halves() -> tuple[tuple[int, int], tuple[int, int]]:
    """Top and height of the two rows of charts."""
    height = (HEIGHT - CHARTS - GAP - EDGE) // 2
    return (CHARTS, height), (CHARTS + height + GAP, height)


def _top(
    slicers: Sequence[tuple[str, Field, str]],
    figures: Sequence[str],
    chosen: Mapping[Field, Sequence[str]] | None = None,
) -> list[Visual]:
    """What every page begins with: how far to believe it, what is missing, slicers, figures.

    `chosen` says what a slicer has chosen when the page opens.
    """
    opening = chosen or {}
    notice, missing = _columns(NOTICE.y, NOTICE.height, 1, 1)
    return [
        Visual(
            "Read this first",
            "cardVisual",
            notice,
            {"Data": [_m("Notice")]},
            "Whether data or effects are made up.",
            shows_title=False,
        ),
        Visual(
            "What is missing",
            "cardVisual",
            missing,
            {"Data": [_m("What is missing")]},
            "What keeps the page from being complete, and how to get it. Empty when all is there.",
            shows_title=False,
        ),
        *(
            Visual(
                title,
                "slicer",
                box,
                {"Values": [field]},
                f"Chooses by {title.lower()}.",
                mode=mode,
                chosen=opening.get(field, ()),
            )
            for (title, field, mode), box in zip(slicers, _row(SLICERS, len(slicers)), strict=True)
        ),
        Visual(
            "Key figures",
            "cardVisual",
            _row(FIGURES, 1)[0],
            {"Data": [_m(name) for name in figures]},
            f"{', '.join(figures)}.",
            shows_title=False,
        ),
    ]


def _overview() -> Page:
    above, below = _halves()
    return Page(
        numbers.OVERVIEW,
        (
            *_top(
                [("Date", DATE, "Between"), ("Visitor", VISITORS, "Dropdown"), ("Category", CATEGORY, "Dropdown")],
                [
                    "Sessions",
                    "Converting sessions",
                    "Conversion rate",
                    "Cart abandonment rate",
                    "Revenue",
                    "Revenue lost",
                    "Biggest drop-off step",
                ],
            ),
            *_overview_above(*above),
            *_overview_below(*below),
        ),
    )


def _overview_above(top: int, height: int) -> list[Visual]:
    funnel, steps, times = _columns(top, height, 4, 4, 4)
    return [
        Visual("Sessions by step", "funnel", funnel, {"Category": [STEP], "Y": [_m("Sessions at step")]}),
        Visual(
            "Going on and dropping off, by step",
            "clusteredColumnChart",
            steps,
            {"Category": [STEP], "Y": [_m("Step conversion rate"), _m("Step drop-off rate")]},
        ),
        Visual(
            "Time to convert",
            "cardVisual",
            times,
            {
                "Data": [
                    _m(f"{average} {way} seconds")
                    for way in ("view to cart", "cart to transaction", "view to transaction")
                    for average in ("Median", "Mean")
                ]
            },
        ),
    ]


def _overview_below(top: int, height: int) -> list[Visual]:
    trend, kinds, categories = _columns(top, height, 5, 3, 5)
    return [
        Visual(
            "Sessions and conversion rate by day",
            "lineChart",
            trend,
            {"Category": [DATE], "Y": [_m("Sessions")], "Y2": [_m("Conversion rate")]},
            sort=(DATE, True),
        ),
        Visual(
            "Conversion of new and returning visitors",
            "clusteredColumnChart",
            kinds,
            {"Category": [VISITORS], "Y": [_m("Conversion rate")]},
        ),
        Visual(
            "Categories",
            "tableEx",
            categories,
            {
                "Values": [
                    CATEGORY,
                    *map(_m, ("Sessions", "Conversion rate", "Revenue", "Revenue lost", "Cart abandonment rate")),
                ]
            },
            sort=(_m("Revenue lost"), False),
        ),
    ]


def _risk() -> Page:
    above, below = _halves()
    return Page(
        numbers.RISK,
        (
            *_top(
                [
                    ("Decision point", POINT, "Dropdown"),
                    ("Visitor", VISITORS, "Dropdown"),
                    ("Category", CATEGORY, "Dropdown"),
                    ("Date", DATE, "Between"),
                ],
                [
                    "Scored sessions",
                    "High-risk sessions",
                    "Abandoned value at risk",
                    "Open sessions",
                    "Open sessions at high risk",
                    "Open cart value at risk",
                    "AUC",
                    "AUC lower",
                    "AUC upper",
                ],
                # What is at risk waits in carts.
                {POINT: ["cart"]},
            ),
            *_risk_above(*above),
            *_risk_below(*below),
        ),
    )


def _risk_above(top: int, height: int) -> list[Visual]:
    bands, points, calibration, reasons = _columns(top, height, 3, 4, 4, 4)
    return [
        Visual("Sessions by risk band", "donutChart", bands, {"Category": [BAND], "Y": [_m("Scored sessions")]}),
        Visual(
            "Predictions by decision point and risk band",
            "clusteredColumnChart",
            points,
            {"Category": [POINT], "Series": [DECISION_BAND], "Y": [_m("Scored decisions")]},
        ),
        Visual(
            "Calibration: predicted and observed conversion by bin",
            "lineChart",
            calibration,
            {
                "Category": [Field("Calibration", "bin", label="Bin")],
                "Y": [_m("Calibration observed"), _m("Calibration predicted")],
            },
            "Where the lines lie apart, probabilities are off. Bars are 95 % intervals of what was observed.",
            bounds=_interval("Calibration observed"),
            only={Field("Calibration", "slice"): ["overall"]},
        ),
        Visual(
            "What moves predictions most",
            "clusteredBarChart",
            reasons,
            {"Category": [Field("SHAP", "label", label="Feature")], "Y": [_m("Feature influence")]},
            "Mean absolute SHAP value by feature: what the model used, no cause.",
            only={Field("SHAP", "decision_point"): ["all"]},
            sort=(_m("Feature influence"), False),
        ),
    ]


def _risk_below(top: int, height: int) -> list[Visual]:
    value, outcome, open_sessions = _columns(top, height, 3, 3, 7)
    return [
        Visual(
            "Value at risk by decision point",
            "clusteredColumnChart",
            value,
            {"Category": [POINT], "Y": [_m("Value at risk at the decision point")]},
        ),
        Visual(
            "Predicted and observed conversion by risk band",
            "clusteredColumnChart",
            outcome,
            {"Category": [DECISION_BAND], "Y": [_m("Predicted conversion"), _m("Observed conversion")]},
        ),
        Visual(
            "Open sessions: act now",
            "tableEx",
            open_sessions,
            {
                "Values": [
                    Field("Session", "session_id", label="Session"),
                    BAND,
                    QUADRANT,
                    Field("Session", "reason_1", label="Strongest reason"),
                    _m("Open sessions"),
                    _m("Open cart value at risk"),
                ]
            },
            sort=(_m("Open cart value at risk"), False),
        ),
    ]


def _intervention() -> Page:
    above, below = _halves()
    return Page(
        numbers.INTERVENTION,
        (
            *_top(
                [
                    ("Visitor", VISITORS, "Dropdown"),
                    ("Category", CATEGORY, "Dropdown"),
                    ("Segment", SEGMENT, "Dropdown"),
                ],
                [
                    "Average uplift",
                    "Average uplift lower",
                    "Average uplift upper",
                    "Persuadables",
                    "Sure things",
                    "Lost causes",
                    "Sleeping dogs",
                ],
            ),
            *_intervention_above(*above),
            *_intervention_below(*below),
        ),
    )


def _intervention_above(top: int, height: int) -> list[Visual]:
    deciles, quadrants, effects = _columns(top, height, 5, 3, 4)
    return [
        Visual(
            "Uplift by decile: 1 should gain most",
            "clusteredColumnChart",
            deciles,
            {
                "Category": [Field("Uplift Decile", "decile", label="Decile")],
                "Y": [_m("Decile observed uplift"), _m("Decile predicted uplift")],
            },
            "Observed and predicted uplift by decile of the score, with 95 % intervals of what was observed.",
            bounds={_m("Decile observed uplift"): (_m("Decile uplift lower"), _m("Decile uplift upper"))},
        ),
        Visual(
            "Four kinds of shopper",
            "donutChart",
            quadrants,
            {"Category": [QUADRANT], "Y": [_m("Sessions with uplift")]},
        ),
        Visual(
            "Conversion untreated and uplift, by kind",
            "scatterChart",
            effects,
            {
                "Series": [QUADRANT],
                "X": [_m("Control conversion")],
                "Y": [_m("Observed uplift")],
                "Size": [_m("Experiment sessions")],
            },
        ),
    ]


def _intervention_below(top: int, height: int) -> list[Visual]:
    segments, strategies, challengers = _columns(top, height, 5, 4, 4)
    return [
        Visual(
            "Segments",
            "tableEx",
            segments,
            {
                "Values": [
                    SEGMENT,
                    VISITORS,
                    *map(
                        _m,
                        (
                            "Experiment sessions",
                            "Observed uplift",
                            "Observed uplift lower",
                            "Observed uplift upper",
                            "Predicted uplift",
                        ),
                    ),
                ]
            },
        ),
        Visual(
            "Profit by share treated: uplift against response",
            "lineChart",
            strategies,
            {"Category": [SHARE], "Series": [STRATEGY], "Y": [_m("Curve profit")]},
            sort=(SHARE, True),
        ),
        Visual(
            "How much more uplift targeting earns than its challengers",
            "tableEx",
            challengers,
            {
                "Values": [
                    Field("ROI Gain", "versus", label="Challenger"),
                    *map(
                        _m,
                        ("Profit over challenger", "Profit over challenger lower", "Profit over challenger upper"),
                    ),
                ]
            },
        ),
    ]


def _roi() -> Page:
    above, below = _halves()
    asked = [
        (f"What if: {parameter.name}", Field(parameter.table, parameter.column), "Single")
        for parameter in numbers.PARAMETERS.values()
    ]
    return Page(
        numbers.ROI,
        (
            *_top(
                asked,
                [
                    "Chosen share",
                    "Profit",
                    "Profit lower",
                    "Profit upper",
                    "ROI",
                    "Cost",
                    "Break-even share",
                    "Break-even cost",
                    "Horizon days",
                ],
            ),
            *_roi_above(*above),
            *_roi_below(*below),
        ),
    )


def _roi_above(top: int, height: int) -> list[Visual]:
    curve, what_if = _columns(top, height, 7, 5)
    return [
        Visual(
            "Profit by share treated, with its 95 % interval",
            "lineChart",
            curve,
            {"Category": [SHARE], "Y": [_m("Curve profit"), _m("Curve profit lower"), _m("Curve profit upper")]},
            only={STRATEGY: ["uplift"]},
            sort=(SHARE, True),
        ),
        Visual(
            "At the share, cost and revenue chosen above",
            "cardVisual",
            what_if,
            {
                "Data": [
                    _m(name)
                    for name in (
                        "What-if profit",
                        "What-if profit lower",
                        "What-if profit upper",
                        "What-if ROI",
                        "What-if cost",
                        "What-if conversions",
                        "What-if sessions treated",
                        "What-if break-even cost",
                    )
                ]
            },
        ),
    ]


def _roi_below(top: int, height: int) -> list[Visual]:
    sensitivity, planner, policies, replay = _columns(top, height, 3, 4, 4, 2)
    return [
        Visual(
            "Profit at other costs and revenues",
            "pivotTable",
            sensitivity,
            {
                "Rows": [Field("ROI Sensitivity", "cost", label="Cost")],
                "Columns": [Field("ROI Sensitivity", "revenue_per_conversion", label="Revenue of a conversion")],
                "Values": [_m("Sensitivity profit")],
            },
        ),
        Visual(
            "Experiment to run next",
            "tableEx",
            planner,
            {
                "Values": [
                    Field("Experiment Plan", "share_percent", label="Sessions treated, %"),
                    *map(
                        _m,
                        (
                            "Planned sessions per arm",
                            "Planned days",
                            "Planned lift",
                            "Smallest lift, short",
                            "Smallest lift, long",
                        ),
                    ),
                ]
            },
        ),
        _policies(policies),
        Visual(
            "The plan, simulated",
            "cardVisual",
            replay,
            {"Data": [_m("Simulated experiments"), _m("Simulated experiments that find it")]},
        ),
    ]


def _policies(box: Box) -> Visual:
    return Visual(
        "Policies, where money or offers were learnt",
        "tableEx",
        box,
        {
            "Values": [
                Field("Policy", "policy", label="Policy"),
                *map(
                    _m,
                    (
                        "Policy sessions treated",
                        "Policy cost",
                        "Policy profit",
                        "Policy profit lower",
                        "Policy profit upper",
                        "Policy profit over single offer",
                    ),
                ),
            ]
        },
    )

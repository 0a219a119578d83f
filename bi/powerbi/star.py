"""The semantic model: which views become which tables, how they relate, and what people see of them.

Tables, measures and parameters come from `bi.measures`, columns and descriptions from `models/bi/_bi__models.yml`, of
which dbt makes its manifest; so the model can be written anew without a warehouse or a dbt run.
"""

from functools import cache
from typing import Any

import yaml

from bi import measures as numbers
from bi.powerbi.tmdl import Column, Measure, Relationship, Table

SERVER, DATABASE = "127.0.0.1:3306", "funnelift"
KEY_MEASURES, VISITOR_TYPE = "Key Measures", "Visitor Type"

# Columns by what they hold; all others are whole numbers. Ids stay text: Power BI would take a CHAR(36) for a GUID.
_TYPES = {
    "string": """
    category_id category_name champion conversion_model_version conversion_run_id cost_per dataset_split decision_point
    description direction experiment_decision_point experiment_source feature feature_group furthest_step learner metric
    missing model moment next_step quadrant reason_1 reason_2 reason_3 risk_band run_id segment session_id slice step
    strategy uplift_model_version uplift_run_id uplift_split value_column versus visitor_id visitor_type warnings_json
    weekday_name
    """,
    "double": """
    abandon_probability abandoned_value_at_risk break_even_cost carted_value_so_far cart_to_transaction_seconds ci_lower
    ci_upper control_rate conversions_covariance cost cost_units cost_units_covariance cost_units_se days_needed
    difference duration_seconds eligible_sessions expected_lift horizon_days incremental_conversions
    incremental_conversions_ci_lower incremental_conversions_ci_upper incremental_conversions_se incremental_margin
    incremental_revenue margin mean_abs_shap mean_predicted measured_lift observed_rate observed_uplift p_control
    p_treatment p_value predicted_uplift probability profit profit_ci_lower profit_ci_upper profit_ipw
    profit_ipw_ci_lower profit_ipw_ci_upper redemptions redemptions_se revenue_per_conversion roi roi_ci_lower
    roi_ci_upper sessions_per_day smallest_lift_long smallest_lift_short targeted_sessions true_uplift unit_cost uplift
    uplift_percentile value view_to_cart_seconds view_to_transaction_seconds
    """,
    "decimal": "abandoned_value carted_value revenue revenue_lost",
    "date": "date_day decided_date funnel_date month_start_date started_date week_start_date",
    "dateTime": "conversion_run_finished_at data_from data_to decided_at started_at uplift_run_finished_at",
}
_FORMATS = {
    "double": "#,0.000",
    "decimal": "#,0.00",
    "dateTime": "yyyy-mm-dd hh:nn:ss",
    "date": "yyyy-mm-dd",
    "int64": "0",
}
# What the model can do without: the run's name on every row, and a time beside its date and hour.
_LEFT_OUT = frozenset({"run_id", "started_at"})
# What people may put on a page themselves; keys, flags and figures that a measure already gives are hidden.
_SHOWN = {
    "Session": "session_id furthest_step risk_band quadrant segment decile reason_1 reason_2 reason_3 started_hour",
    "Session Decision": "session_id risk_band reason_1 reason_2 reason_3 dataset_split",
    "Funnel Daily": "step next_step",
    "Date": "date_day weekday_name week_start_date month_start_date year_number is_weekend",
    "Category": "category_name",
    "Decision Point": "decision_point moment",
    "ROI": "strategy share_percent",
    "ROI Gain": "strategy versus",
    "ROI Sensitivity": "cost revenue_per_conversion",
    "Uplift Decile": "decile",
    "Uplift Metric": "learner versus metric",
    "Experiment Plan": "share_percent",
    "AB Test": "replicate",
    "SHAP": "decision_point feature feature_group description direction",
    "Model Metric": "model slice metric",
    "Calibration": "model slice bin",
    "Status": "",
}
_SORTED_BY = {
    "risk_band": "risk_band_number",
    "quadrant": "quadrant_number",
    "step": "step_number",
    "weekday_name": "weekday_number",
    "decision_point": "decision_point_number",
}
_RELATIONSHIPS = (
    ("Session", "started_date", "Date", "date_day"),
    ("Session", "category_id", "Category", "category_id"),
    ("Session", "visitor_type", VISITOR_TYPE, "visitor_type"),
    ("Session", "decision_point", "Decision Point", "decision_point"),
    ("Session Decision", "decided_date", "Date", "date_day"),
    ("Session Decision", "category_id", "Category", "category_id"),
    ("Session Decision", "visitor_type", VISITOR_TYPE, "visitor_type"),
    ("Session Decision", "decision_point", "Decision Point", "decision_point"),
    ("Funnel Daily", "funnel_date", "Date", "date_day"),
    ("Funnel Daily", "category_id", "Category", "category_id"),
    ("Funnel Daily", "visitor_type", VISITOR_TYPE, "visitor_type"),
)


def parameters() -> list[tuple[str, str, str]]:
    """Say where the rows come from.

    Returns
    -------
    list of (name, value, description)
        The parameters of Power Query.
    """
    return [
        ("MySQLServer", SERVER, "Host and port of the MySQL or MariaDB server."),
        ("MySQLDatabase", DATABASE, "Database of the marts, predictions and bi_ views."),
    ]


@cache
def tables() -> tuple[Table, ...]:
    """Put the model's tables together.

    Returns
    -------
    tuple of Table
        Facts, dimensions, results, what-if parameters and, first, the table of all measures.
    """
    described = yaml.safe_load(numbers.MODELS.read_text(encoding="utf-8"))["models"]
    models = {model["name"]: model for model in described}
    views = (_of_view(view, name, models[view]) for view, name in numbers.TABLES.items())
    return (_key_measures(), *views, _visitor_types(), *map(_what_if, numbers.PARAMETERS.values()))


def relationships() -> list[Relationship]:
    """Relate facts to dimensions; the results of a training stand alone.

    Returns
    -------
    list of Relationship
        All of them, each filtering in one direction.
    """
    return [Relationship((fact, key), (dimension, its)) for fact, key, dimension, its in _RELATIONSHIPS]


def data_type(column: str) -> str:
    """Say what a column of the views holds.

    Parameters
    ----------
    column : str
        Its name, which means the same in every view.

    Returns
    -------
    str
        A type of `tmdl.M_TYPES`.
    """
    return next((kind for kind, columns in _TYPES.items() if column in columns.split()), "int64")


def _of_view(view: str, name: str, model: dict[str, Any]) -> Table:
    documented = {column["name"]: column.get("description", "") for column in model["columns"]}
    keys = {its for _, _, dimension, its in _RELATIONSHIPS if dimension == name}
    columns = []
    for column, description in documented.items():
        if column in _LEFT_OUT:
            continue
        kind, by = data_type(column), _SORTED_BY.get(column)
        columns.append(
            Column(
                name=column,
                data_type=kind,
                source=column,
                description=description,
                format_string=_FORMATS.get(kind),
                sort_by=by if by in documented else None,
                is_hidden=column not in _SHOWN[name].split(),
                is_key=column in keys,
            )
        )
    return Table(name, model["description"], tuple(columns), view=view, is_date_table=name == "Date")


NOTICE = numbers.Measure(
    name="Notice",
    page="All pages",
    folder="About the data",
    description="Whether the data are synthetic and the effects of the intervention simulated; stands on every page.",
    table="bi_status",
    sql=(
        "concat(case when max(is_synthetic) = 1 then 'Synthetic data' else 'Real data' end, "
        "case when max(is_simulated) = 1 then '; simulated effects: assumptions, no findings' "
        "when max(is_simulated) = 0 then '; effects of a real experiment' else '; no effects yet' end)"
    ),
    dax=(
        'IF(MAX(\'Status\'[is_synthetic]) = 1, "Synthetic data", "Real data") & '
        "SWITCH(TRUE(), ISBLANK(MAX('Status'[is_simulated])), \"; no effects yet\", "
        "MAX('Status'[is_simulated]) = 1, \"; simulated effects: assumptions, no findings\", "
        '"; effects of a real experiment")'
    ),
    unit="text",
)


def all_measures() -> tuple[numbers.Measure, ...]:
    """List what the model measures.

    Returns
    -------
    tuple of Measure
        The notice of every page, then the pages' own.
    """
    return (NOTICE, *numbers.MEASURES)


def _key_measures() -> Table:
    # A measure may not be called as a column of its table is, and `Revenue` would be: they have a table of their own.
    listed = tuple(
        Measure(
            name=measure.name,
            expression=measure.dax,
            format_string=measure.format,
            display_folder=f"{measure.page}\\{measure.folder}",
            description=measure.description,
        )
        for measure in all_measures()
    )
    blank = Column("blank", "string", "[blank]", "Empty: a table must have a column.", is_hidden=True)
    return Table(
        KEY_MEASURES,
        "All measures, by page. Each says the same as the SQL that the offline report shows.",
        (blank,),
        listed,
        expression='ROW("blank", "")',
    )


def _visitor_types() -> Table:
    column = Column("visitor_type", "string", "[visitor_type]", "new or returning.", is_key=True)
    return Table(
        VISITOR_TYPE,
        "Grain: one row a kind of visitor: new in the visitor's first session, else returning.",
        (column,),
        expression='DATATABLE("visitor_type", STRING, {{"new"}, {"returning"}})',
    )


def _what_if(parameter: numbers.Parameter) -> Table:
    is_whole = all(float(each).is_integer() for each in (parameter.lowest, parameter.highest, parameter.step))
    column = Column(
        parameter.column,
        "int64" if is_whole else "double",
        "[Value]",
        parameter.description,
        format_string="0" if is_whole else "0.0",
        is_parameter=True,
    )
    series = ", ".join(f"{value:g}" for value in (parameter.lowest, parameter.highest, parameter.step))
    description = f"What if: {parameter.description} Without a choice, what the last run used."
    return Table(parameter.table, description, (column,), expression=f"GENERATESERIES({series})")

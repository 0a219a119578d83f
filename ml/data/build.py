"""The gate of the build: all marts come from one build, and that build has ended."""

from dataclasses import dataclass

from ml.data.gates import GateError
from warehouse.base import Warehouse

TABLES = ("build_plan", "last_build", "visitor_changes")
BUILD_SQL = """
select plan.build_id, plan.build_number, ended.build_id as ended_build_id
from funnelift.build_plan as plan
left join funnelift.last_build as ended on plan.build_id = ended.build_id
"""
REMEDY = "A build is running or was interrupted: wait for it, or run `dbt build`, so that all marts come from one build"


@dataclass(frozen=True)
class Build:
    """One build of the marts: its name, and its place among all builds."""

    build_id: str
    number: int


def whole_build(warehouse: Warehouse) -> Build:
    """Return the build that all marts come from.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.

    Returns
    -------
    Build
        The last build that began, which has ended.

    Raises
    ------
    GateError
        When it has not, so that some marts may be newer than others.
    """
    missing = [table for table in TABLES if not warehouse.columns(table)]
    if missing:
        raise GateError("one whole build", f"table funnelift.{missing[0]}", "one", "none", "Run `dbt build` first")
    plans = warehouse.query(BUILD_SQL)
    if len(plans) != 1:
        raise GateError("one whole build", "rows of build_plan", 1, len(plans), REMEDY)
    plan = plans[0]
    if plan["ended_build_id"] is None:
        raise GateError("one whole build", "the build that ended last", f"build {plan['build_id']}", "another", REMEDY)
    return Build(str(plan["build_id"]), int(plan["build_number"]))


def check_same_build(warehouse: Warehouse, build: Build) -> None:
    """Refuse to publish when the marts were built anew meanwhile.

    Parameters
    ----------
    warehouse : Warehouse
        The open warehouse.
    build : Build
        What `whole_build` returned before the rows were read.

    Raises
    ------
    GateError
        When another build has begun since: rows may be of both.
    """
    now = whole_build(warehouse)
    if now != build:
        raise GateError("one whole build", "the build since the rows were read", build.build_id, now.build_id, REMEDY)

"""Write a report in PBIR, Power BI's enhanced report format: a JSON file each page and visual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bi.powerbi.naming import object_name

_SCHEMAS = "https://developer.microsoft.com/json-schemas/fabric"
_DEFINITION = f"{_SCHEMAS}/item/report/definition"
SCHEMAS = {
    "pbip": f"{_SCHEMAS}/pbip/pbipProperties/1.0.0/schema.json",
    "platform": f"{_SCHEMAS}/gitIntegration/platformProperties/2.0.0/schema.json",
    "pbism": f"{_SCHEMAS}/item/semanticModel/definitionProperties/1.0.0/schema.json",
    "pbir": f"{_SCHEMAS}/item/report/definitionProperties/2.0.0/schema.json",
    "version": f"{_DEFINITION}/versionMetadata/1.0.0/schema.json",
    "report": f"{_DEFINITION}/report/2.1.0/schema.json",
    "pages": f"{_DEFINITION}/pagesMetadata/1.0.0/schema.json",
    "page": f"{_DEFINITION}/page/2.0.0/schema.json",
    "visual": f"{_DEFINITION}/visualContainer/2.1.0/schema.json",
}
WIDTH, HEIGHT = 1280, 720
Json = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A column or measure of the model, and what it is called on a page where that is not its name."""

    table: str
    name: str
    is_measure: bool = False
    label: str = field(default="", compare=False)

    @property
    def reference(self) -> str:
        """The name by which formatting refers to it."""
        return f"{self.table}.{self.name}"

    def expression(self) -> Json:
        """Say it as a query does.

        Returns
        -------
        dict
            A `Column` or `Measure` expression.
        """
        kind = "Measure" if self.is_measure else "Column"
        return {kind: {"Expression": {"SourceRef": {"Entity": self.table}}, "Property": self.name}}


@dataclass(frozen=True)
class Box:
    """Where a visual stands on its page, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Visual:
    """A visual: its type, the fields in its roles, and what people read on it.

    `bounds` maps a measure in the visual to its lower and upper bound, drawn as error bars. `only` maps a field to the
    values that the visual shows. `sort` is the field to sort by and whether ascending, `mode` how a slicer lets choose,
    `chosen` which values it has chosen when the page opens.
    """

    title: str
    kind: str
    box: Box
    roles: Mapping[str, Sequence[Field]] = field(default_factory=dict)
    alt_text: str = ""
    bounds: Mapping[Field, tuple[Field, Field]] = field(default_factory=dict)
    only: Mapping[Field, Sequence[str]] = field(default_factory=dict)
    sort: tuple[Field, bool] | None = None
    mode: str = ""
    chosen: Sequence[str] = ()
    shows_title: bool = True


@dataclass(frozen=True)
class Page:
    """A page: its title and visuals."""

    title: str
    visuals: tuple[Visual, ...]

    @property
    def name(self) -> str:
        """Name of its folder."""
        return object_name("page", self.title)


def literal(value: str | bool) -> Json:
    """Say a constant as formatting does.

    Parameters
    ----------
    value : str or bool
        The constant.

    Returns
    -------
    dict
        A `Literal` expression.
    """
    text = str(value).lower() if isinstance(value, bool) else "'" + value.replace("'", "''") + "'"
    return {"expr": {"Literal": {"Value": text}}}


def page_file(page: Page) -> Json:
    """Write `page.json`.

    Parameters
    ----------
    page : Page
        The page.

    Returns
    -------
    dict
        Its content.
    """
    return {
        "$schema": SCHEMAS["page"],
        "name": page.name,
        "displayName": page.title,
        "displayOption": "FitToPage",
        "height": HEIGHT,
        "width": WIDTH,
    }


def visual_file(page: Page, order: int) -> Json:
    """Write a `visual.json`.

    Parameters
    ----------
    page : Page
        The page it stands on.
    order : int
        Its place among the page's visuals, which is also the order in which the keyboard visits them.

    Returns
    -------
    dict
        Its content.
    """
    visual = page.visuals[order]
    box = visual.box
    body: Json = {"visualType": visual.kind}
    if visual.roles:
        body["query"] = {"queryState": {role: _projections(fields) for role, fields in visual.roles.items()}}
    if visual.sort:
        by, ascending = visual.sort
        direction = "Ascending" if ascending else "Descending"
        sort = [{"field": by.expression(), "direction": direction}]
        body["query"]["sortDefinition"] = {"sort": sort, "isDefaultSort": False}
    if objects := _objects(visual):
        body["objects"] = objects
    body["visualContainerObjects"] = _container(visual)
    body["drillFilterOtherVisuals"] = True
    name = visual_name(page, order)
    content = {
        "$schema": SCHEMAS["visual"],
        "name": name,
        "position": {
            "x": box.x,
            "y": box.y,
            "z": order * 1000,
            "height": box.height,
            "width": box.width,
            "tabOrder": order * 1000,
        },
        "visual": body,
    }
    return content | _filters(name, visual.only)


def visual_name(page: Page, order: int) -> str:
    """Name a visual's folder.

    Parameters
    ----------
    page : Page
        The page it stands on.
    order : int
        Its place among the page's visuals.

    Returns
    -------
    str
        20 hexadecimal digits, the same as long as page and title are.
    """
    return object_name("visual", page.title, page.visuals[order].title)


def _projections(fields: Sequence[Field]) -> Json:
    return {
        "projections": [
            {"field": each.expression(), "queryRef": each.reference, "nativeQueryRef": each.name}
            | ({"displayName": each.label} if each.label else {})
            for each in fields
        ]
    }


def _objects(visual: Visual) -> Json:
    objects: Json = {}
    if visual.mode:
        objects["data"] = [{"properties": {"mode": literal(visual.mode)}}]
    if visual.chosen:
        (by,) = visual.roles["Values"]
        objects["general"] = [{"properties": {"filter": {"filter": _in(by, visual.chosen)}}}]
    bars = []
    for measure, (lower, upper) in visual.bounds.items():
        bounds = {"lowerBound": {"expr": lower.expression()}, "upperBound": {"expr": upper.expression()}}
        error_range = {"kind": "ErrorRange", "explicit": {"isRelative": literal(False)} | bounds}
        every_point = {"data": [{"dataViewWildcard": {"matchingOption": 0}}], "highlightMatching": 1}
        bars += [
            {"properties": {"enabled": literal(True)}, "selector": {"metadata": measure.reference}},
            {"properties": {"errorRange": error_range}, "selector": every_point | {"metadata": measure.reference}},
        ]
    if bars:
        objects["error"] = bars
    return objects


def _container(visual: Visual) -> Json:
    shown = {"show": literal(True), "text": literal(visual.title)}
    title = shown if visual.shows_title else {"show": literal(False)}
    content = {"title": [{"properties": title}]}
    alt_text = {"altText": literal(visual.alt_text or visual.title)}
    return content | {"general": [{"properties": alt_text}]}


def _filters(owner: str, only: Mapping[Field, Sequence[str]]) -> Json:
    if not only:
        return {}
    return {"filterConfig": {"filters": [_filter(owner, *each) for each in only.items()]}}


def _filter(owner: str, by: Field, values: Sequence[str]) -> Json:
    return {
        "name": object_name("filter", owner, by.reference),
        "field": by.expression(),
        "type": "Categorical",
        "filter": _in(by, values),
    }


def _in(by: Field, values: Sequence[str]) -> Json:
    column = {"Column": {"Expression": {"SourceRef": {"Source": "t"}}, "Property": by.name}}
    where = {"In": {"Expressions": [column], "Values": [[literal(value)["expr"]] for value in values]}}
    return {
        "Version": 2,
        "From": [{"Name": "t", "Entity": by.table, "Type": 0}],
        "Where": [{"Condition": where}],
    }

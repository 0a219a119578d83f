"""Find references that lead nowhere in a Power BI project, which Microsoft's schemas and libraries do not look for.

It reads the files alone and knows nothing of the generator, so it also checks a project that Desktop has saved.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_NAME = r"'((?:[^']|'')+)'|([A-Za-z_]\w*)"
_HEADER = re.compile(rf"\t?(table|column|measure|partition)\s+(?:{_NAME})(?:\s*=\s*(.*))?$")
_REFERENCE = re.compile(rf"(?:(?:{_NAME})\s*)?\[([^\[\]]+)\]")
_COMMENT_OR_TEXT = re.compile(r'"(?:[^"]|"")*"|//[^\n]*|--[^\n]*|/\*.*?\*/', re.DOTALL)


@dataclass
class TableFile:
    """What a table's file says."""

    name: str
    path: Path
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    measures: dict[str, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    source: str = ""

    @property
    def view(self) -> str | None:
        """The view that its query reads; None for a calculated table."""
        found = re.search(r'Item="([^"]*)"', self.source)
        return found and found[1]


def problems(project: Path, views: Mapping[str, Iterable[str]]) -> list[str]:
    """Look for references that lead nowhere.

    Parameters
    ----------
    project : Path
        Folder that holds the `.pbip` file.
    views : mapping
        Name of each view of the warehouse to its columns.

    Returns
    -------
    list of str
        One sentence a problem; empty when all is well.
    """
    found = list(_unreadable(project))
    if found:
        return found
    entries = sorted(project.glob("*.pbip"))
    if len(entries) != 1:
        return [f"{project}: {len(entries)} .pbip files where one is expected"]
    reports = [artifact["report"]["path"] for artifact in _json(entries[0])["artifacts"]]
    for path in reports:
        report = project / path
        if not (report / "definition.pbir").is_file():
            found.append(f"{entries[0].name}: there is no report at {path}")
            continue
        by_path = _json(report / "definition.pbir")["datasetReference"]["byPath"]["path"]
        model = report / by_path
        if not (model / "definition.pbism").is_file():
            found.append(f"definition.pbir: there is no semantic model at {by_path}")
            continue
        tables = [_table(file) for file in sorted((model / "definition" / "tables").glob("*.tmdl"))]
        found += [*_of_model(model / "definition", tables, views), *_of_report(report / "definition", tables)]
    return found


def _unreadable(project: Path) -> Iterator[str]:
    for path in sorted(project.rglob("*")):
        if not path.is_file() or ".pbi" in path.parts:
            continue
        content = path.read_bytes()
        if content.startswith(b"\xef\xbb\xbf"):
            yield f"{path.relative_to(project)}: begins with a byte order mark"
        try:
            text = content.decode("utf-8")
            if path.suffix != ".tmdl":
                json.loads(text)
            elif any(line.startswith(" ") for line in text.splitlines()):
                yield f"{path.relative_to(project)}: indented with spaces where TMDL wants tabs"
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            yield f"{path.relative_to(project)}: {error}"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _unquoted(match: re.Match[str], first: int) -> str:
    return str(match[first].replace("''", "'") if match[first] else match[first + 1])


def _table(path: Path) -> TableFile:
    table = TableFile("", path)
    kind = name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        header = _HEADER.match(line)
        if header:
            kind, name = header[1], _unquoted(header, 2)
            if kind == "table":
                table.name = name
            elif kind == "column":
                table.names.append(name)
                table.columns[name] = {}
            elif kind == "measure":
                table.names.append(name)
                table.measures[name] = header[4] or ""
        elif kind == "column" and (found := re.match(r"\t\t(\w+):\s*(.*)$", line)):
            table.columns[name][found[1]] = found[2].strip("'")
        elif kind == "measure" and line.startswith("\t\t\t"):
            table.measures[name] += "\n" + line
        elif kind == "partition":
            table.source += line + "\n"
    return table


def _of_model(folder: Path, tables: list[TableFile], views: Mapping[str, Iterable[str]]) -> Iterator[str]:
    names = {table.name for table in tables}
    text = (folder / "model.tmdl").read_text(encoding="utf-8")
    refs = Counter(_unquoted(match, 1) for match in re.finditer(rf"^ref table (?:{_NAME})$", text, re.MULTILINE))
    yield from (f"model.tmdl: ref table {name}, which has no file" for name in sorted(refs.keys() - names))
    yield from (f"model.tmdl: no ref table for {name}" for name in sorted(names - refs.keys()))
    yield from (f"model.tmdl: ref table {name} stands there {count} times" for name, count in refs.items() if count > 1)
    ordered = re.search(r"PBI_QueryOrder = (\[.*\])", text)
    parameters = re.findall(r"^expression (\w+)", (folder / "expressions.tmdl").read_text(encoding="utf-8"), re.M)
    queries = {*parameters, *(table.name for table in tables if table.view)}
    if ordered and set(json.loads(ordered[1])) != queries:
        yield f"model.tmdl: PBI_QueryOrder differs from the queries by {sorted(set(json.loads(ordered[1])) ^ queries)}"
    measures = Counter(name.lower() for table in tables for name in table.measures)
    for table in tables:
        if table.path.stem != table.name:
            yield f"{table.path.name}: holds table {table.name}"
        own = Counter(name.lower() for name in table.names)
        yield from (f"{table.name}: {name} stands there {count} times" for name, count in own.items() if count > 1)
        yield from (
            f"{table.name}: measure {name} has a namesake in another table"
            for name in table.measures
            if measures[name.lower()] > own[name.lower()]
        )
        yield from _of_columns(table, views)
        yield from _of_measures(table, tables)
    yield from _of_relationships(folder / "relationships.tmdl", tables)
    tags = Counter(re.findall(r"lineageTag: (\S+)", "".join(table.path.read_text("utf-8") for table in tables)))
    yield from (f"lineageTag {tag} stands there {count} times" for tag, count in tags.items() if count > 1)


def _of_columns(table: TableFile, views: Mapping[str, Iterable[str]]) -> Iterator[str]:
    if table.view is not None and table.view not in views:
        yield f"{table.name}: reads {table.view}, which the warehouse does not have"
    known = set(views.get(table.view, ())) if table.view else set()
    for name, properties in table.columns.items():
        source = properties.get("sourceColumn", "")
        if table.view in views and source not in known:
            yield f"{table.name}[{name}]: sourceColumn {source} is not in {table.view}"
        if table.view and f'"{source}"' not in table.source:
            yield f"{table.name}[{name}]: sourceColumn {source} is not in the table's query"
        by = properties.get("sortByColumn")
        if by is not None and by not in table.columns:
            yield f"{table.name}[{name}]: sorted by {by}, which the table does not have"
    for selected in re.findall(r"SelectColumns\(\w+, \{([^}]*)\}", table.source):
        for source in re.findall(r'"([^"]*)"', selected):
            if table.view in views and source not in known:
                yield f"{table.name}: its query takes {source}, which is not in {table.view}"


def _of_measures(table: TableFile, tables: list[TableFile]) -> Iterator[str]:
    by_name = {each.name: each for each in tables}
    measures = {name for each in tables for name in each.measures}
    for name, expression in table.measures.items():
        code = _COMMENT_OR_TEXT.sub(" ", expression)
        # Columns that the expression itself makes, as in ADDCOLUMNS(t, "@gain", ...), are named in quotes.
        made = set(re.findall(r'"([^"]*)"', expression))
        for match in _REFERENCE.finditer(code):
            of, what = (_unquoted(match, 1) if match[1] or match[2] else None), match[3]
            # DAX's words can stand before a bracket: RETURN [Sessions].
            owner = by_name.get(of) if of is not None else None
            if of is not None and owner is None and not of.isupper():
                yield f"{table.name}[{name}]: uses table {of}, which the model does not have"
            elif owner is not None and what not in owner.names:
                yield f"{table.name}[{name}]: uses {of}[{what}], which the model does not have"
            elif owner is None and what not in measures and what not in made:
                yield f"{table.name}[{name}]: uses [{what}], which is no measure"


def _of_relationships(path: Path, tables: list[TableFile]) -> Iterator[str]:
    by_name = {table.name: table for table in tables}
    text = path.read_text(encoding="utf-8")
    for block in re.split(r"^relationship ", text, flags=re.MULTILINE)[1:]:
        types = set()
        for side in ("fromColumn", "toColumn"):
            found = re.search(rf"\t{side}: (?:{_NAME})\.(?:{_NAME})$", block, re.MULTILINE)
            table, column = (_unquoted(found, 1), _unquoted(found, 3)) if found else ("", "")
            properties = by_name[table].columns.get(column) if table in by_name else None
            if properties is None:
                yield f"relationships.tmdl: {side} {table}[{column}], which the model does not have"
            else:
                types.add(properties["dataType"])
        if len(types) > 1:
            yield f"relationships.tmdl: {block.split()[0]} joins {' and '.join(sorted(types))}"


def _of_report(folder: Path, tables: list[TableFile]) -> Iterator[str]:
    order = _json(folder / "pages" / "pages.json")
    pages = {path.parent.name for path in (folder / "pages").glob("*/page.json")}
    if set(order["pageOrder"]) != pages or order["activePageName"] not in pages:
        yield f"pages.json: differs from the page folders by {sorted({*order['pageOrder']} ^ pages)}"
    for path in sorted((folder / "pages").glob("*/page.json")):
        page = _json(path)
        if page["name"] != path.parent.name:
            yield f"page {path.parent.name}: calls itself {page['name']}"
        yield from _of_fields(page["displayName"], page, tables)
        boxes: list[tuple[str, tuple[float, float, float, float]]] = []
        for file in sorted(path.parent.glob("visuals/*/visual.json")):
            visual = _json(file)
            name = f"{page['displayName']}, visual {file.parent.name}"
            if visual["name"] != file.parent.name:
                yield f"{name}: calls itself {visual['name']}"
            yield from _of_fields(name, visual, tables)
            place = visual["position"]
            box = (place["x"], place["y"], place["x"] + place["width"], place["y"] + place["height"])
            if box[0] < 0 or box[1] < 0 or box[2] > page["width"] or box[3] > page["height"]:
                yield f"{name}: reaches beyond the page"
            for other, (left, top, right, bottom) in boxes:
                if box[0] < right and left < box[2] and box[1] < bottom and top < box[3]:
                    yield f"{name}: covers {other}"
            boxes.append((file.parent.name, box))


def _of_fields(where: str, content: Any, tables: list[TableFile]) -> Iterator[str]:
    by_name = {table.name: table for table in tables}
    aliases = {each["Name"]: each["Entity"] for each in _values(content, "From") for each in each}
    for kind in ("Column", "Measure"):
        for found in _values(content, kind):
            source = found["Expression"]["SourceRef"]
            table = source.get("Entity") or aliases.get(source.get("Source"), "")
            owner, name = by_name.get(table), found["Property"]
            known = () if owner is None else owner.columns if kind == "Column" else owner.measures
            if name not in known:
                yield f"{where}: shows {kind.lower()} {table}[{name}], which the model does not have"
    for projection in (each for group in _values(content, "projections") for each in group):
        kind, expression = next(iter(projection["field"].items()))
        reference = f"{expression['Expression']['SourceRef']['Entity']}.{expression['Property']}"
        if projection["queryRef"] != reference:
            yield f"{where}: calls {kind.lower()} {reference} {projection['queryRef']}"


def _values(content: Any, key: str) -> Iterator[Any]:
    if isinstance(content, dict):
        for name, value in content.items():
            if name == key:
                yield value
            yield from _values(value, key)
    elif isinstance(content, list):
        for value in content:
            yield from _values(value, key)

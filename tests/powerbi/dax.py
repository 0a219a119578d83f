"""Evaluate measures of a TMDL folder; runs in the virtual environment that has pbix-mcp.

    python dax.py FOLDER < cases.json > values.json

The input holds `tables` (name to columns and rows, as the warehouse has them, those columns that a measure needs; a
value {"date": "2015-05-01"} is a date), and `cases`: pairs of a measure and filters (`Table.Column` to values). The
output is a list of values.
"""

import json
import re
import sys
from datetime import date, datetime

from pbix_mcp.dax.engine import evaluate_measure
from pbix_mcp.formats.tmdl_reader import parse_tmdl_folder

SERIES = re.compile(r"GENERATESERIES\(([^,]+),([^,]+),([^,)]+)\)")


def calculated(expression: str) -> list:
    """Rows of the three kinds of calculated table that the model has."""
    series = SERIES.fullmatch(expression.strip())
    if series:
        start, stop, step = map(float, series.groups())
        return [[start + step * number] for number in range(round((stop - start) / step) + 1)]
    if expression.startswith("DATATABLE"):
        return [[value] for value in re.findall(r'\{"([^"]*)"\}', expression)]
    return [[None]]


def revive(entry: dict) -> object:
    return datetime.fromisoformat(entry["date"]) if entry.keys() == {"date"} else entry


asked = json.load(sys.stdin, object_hook=revive)
model = parse_tmdl_folder(sys.argv[1])
tables = {}
for table in model["tables"]:
    partition = table["partitions"][0]
    if partition["kind"] == "calculated":
        columns = [column["name"] for column in table["columns"]]
        tables[table["name"]] = {"columns": columns, "rows": calculated(partition["source"])}
    else:
        given = asked["tables"][table["name"]]
        names = {column["source_column"]: column["name"] for column in table["columns"]}
        tables[table["name"]] = {"columns": [names[source] for source in given["columns"]], "rows": given["rows"]}
measures = {measure["name"]: measure["expression"] for table in model["tables"] for measure in table["measures"]}
relationships = [
    {
        "FromTable": each["from_table"],
        "FromColumn": each["from_column"],
        "ToTable": each["to_table"],
        "ToColumn": each["to_column"],
        "IsActive": int(each["is_active"]),
    }
    for each in model["relationships"]
]
values = [
    evaluate_measure(name, tables, measures, filter_context=filters or None, relationships=relationships)
    for name, filters in asked["cases"]
]
json.dump([value.isoformat() if isinstance(value, date) else value for value in values], sys.stdout)

"""Read a TMDL folder with Microsoft's own library; runs in the virtual environment that has pbi-cli-tool, under mono.

    python tom.py FOLDER ...

Prints one JSON line a folder: the model's tables with their columns and measures, or the library's error.
"""

import importlib.util
import json
import sys
from pathlib import Path

import pythonnet

pythonnet.load("mono")

import clr  # noqa: E402

package = importlib.util.find_spec("pbi_cli")
sys.path.append(str(Path(package.origin).parent / "dlls"))
clr.AddReference("Microsoft.AnalysisServices.Tabular")

from Microsoft.AnalysisServices.Tabular import TmdlSerializer  # noqa: E402
from System import Exception as DotnetException  # noqa: E402


def read(folder: str) -> dict:
    try:
        model = TmdlSerializer.DeserializeDatabaseFromFolder(folder).Model
    except DotnetException as error:
        return {"error": str(error.Message)}
    errors = [str(each.Message) for each in model.Validate().Errors]
    return {
        "error": "; ".join(errors) or None,
        "discourages_implicit_measures": bool(model.DiscourageImplicitMeasures),
        "relationships": [
            [
                f"{each.FromTable.Name}[{each.FromColumn.Name}]",
                f"{each.ToTable.Name}[{each.ToColumn.Name}]",
                str(each.CrossFilteringBehavior),
            ]
            for each in model.Relationships
        ],
        "tables": {
            table.Name: {
                "description": table.Description,
                "modes": [str(each.Mode) for each in table.Partitions],
                "columns": {
                    each.Name: [each.Description, bool(each.IsHidden), str(each.SummarizeBy)] for each in table.Columns
                },
                "measures": {
                    each.Name: [each.Description, each.FormatString, each.DisplayFolder] for each in table.Measures
                },
            }
            for table in model.Tables
        },
    }


for folder in sys.argv[1:]:
    print(json.dumps(read(folder)))

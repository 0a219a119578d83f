"""`python -m ingest.mapping_schema`: the JSON schema of mapping files, by which editors complete and check them."""

import json
from typing import Any

from ingest.mapping import Mapping


def schema() -> dict[str, Any]:
    """Describe a mapping file.

    Returns
    -------
    dict
        A JSON schema: the keys of a mapping, and `files`, whose entries have the same keys.
    """
    found = Mapping.model_json_schema()
    keys = {name: value for name, value in found["properties"].items() if name != "match"}
    # What all files of a mapping share stands above; an entry may say any of it.
    definitions = found["$defs"] | {"Columns": found["$defs"]["Columns"] | {"required": []}}
    entry = {"type": "object", "additionalProperties": False, "required": ["match"], "properties": found["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Mapping file of python -m ingest load",
        "type": "object",
        "additionalProperties": False,
        "properties": keys | {"files": {"type": "array", "minItems": 1, "items": entry}},
        "$defs": definitions,
    }


def text() -> str:
    """Return the schema as it stands in `examples/mapping.schema.json`."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")

"""A draft as the text of a mapping file."""

import json
import re
from typing import Any

from ingest.guess.draft import Draft

_BLOCKS = ("columns", "events", "event_rules", "files")
# Words that YAML takes for something else than text.
_NOT_TEXT = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "none"}
_NOTE_COLUMN = 44


def mapping_text(draft: Draft, heading: list[str]) -> str:
    """Write a mapping file.

    Parameters
    ----------
    draft : Draft
        What it says.
    heading : list of str
        Comments above it.

    Returns
    -------
    str
        YAML; each guess is marked by a comment.
    """
    lines = [f"# {_one_line(line)}" for line in heading]
    for key, value in draft.content.items():
        lines += _entry(key, value, draft, "")
    return "\n".join(lines) + "\n"


def _entry(key: str, value: Any, draft: Draft, indent: str) -> list[str]:
    if key not in _BLOCKS or not value:
        return [_noted(f"{indent}{key}: {flow(value)}", draft.notes.get(key))]
    lines = [_noted(f"{indent}{key}:", draft.notes.get(key))]
    if isinstance(value, dict):
        return lines + [
            _noted(f"{indent}  {flow(name)}: {flow(inner)}", draft.notes.get(f"{key}.{name}"))
            for name, inner in value.items()
        ]
    for place, inner in enumerate(value):
        if isinstance(inner, Draft):
            first, *others = [
                line for name in inner.content for line in _entry(name, inner.content[name], inner, "    ")
            ]
            lines += [f"  - {first.lstrip()}", *others]
        else:
            lines.append(_noted(f"{indent}  - {flow(inner)}", draft.notes.get(f"{key}.{place}")))
    return lines


def flow(value: Any) -> str:
    """Write a value on one line of YAML.

    Parameters
    ----------
    value : Any
        Texts, truth values, lists and objects.

    Returns
    -------
    str
        Text in quotes unless it is a plain word.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(name)}: {flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", text) and text.lower() not in _NOT_TEXT:
        return text
    # What YAML cannot hold as it is, it reads by its number.
    return "".join(_escaped(character) for character in json.dumps(text, ensure_ascii=False))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return f"\\U{ord(character):08x}"


def _noted(line: str, note: str | None) -> str:
    return f"{line:<{_NOTE_COLUMN - 2}}  # guess: {_one_line(note)}" if note else line


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)

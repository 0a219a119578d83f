"""The mapping file: YAML to mappings, and errors that name key and line."""

import fnmatch
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ingest.mapping import RETAILROCKET, Mapping
from warehouse.errors import UsageError

MAX_BYTES = 1 << 20
# Aliases can make a few lines say millions of things.
MAX_NODES = 100_000
FILES = "files"

Lines = dict[tuple[str, ...], int]


def read_mappings(path: Path) -> list[Mapping]:
    """Read and check a mapping file.

    Parameters
    ----------
    path : Path
        YAML file.

    Returns
    -------
    list of Mapping
        The checked mappings: one, or one for each entry of `files`; the first whose `match` fits a file's name counts.

    Raises
    ------
    UsageError
        The file is missing or not YAML, or a key is unknown, missing or bad; the message names key and line.
    """
    content, lines = _read(path)
    if "assignments" in content and not content.keys() & {"columns", "events", "constant_event", "event_rules", FILES}:
        # A shop may have an export of its own for the experiment only.
        content = RETAILROCKET.model_dump(include={"columns", "events"}, exclude_unset=True) | content
    if FILES not in content:
        return [_checked(content, path, lines, ())]
    entries = content.pop(FILES)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(_located(path, lines, (FILES,), "expected a list of entries, each with match and more"))
    found = []
    for place, entry in enumerate(entries):
        if "match" not in entry:
            raise UsageError(_located(path, lines, (FILES, str(place), "match"), "missing"))
        merged = content | entry
        if isinstance(content.get("columns"), dict) and isinstance(entry.get("columns"), dict):
            merged["columns"] = content["columns"] | entry["columns"]
        found.append(_checked(merged, path, lines, (FILES, str(place))))
    return found


def mapping_of(mappings: list[Mapping] | None, path: Path) -> Mapping | None:
    """Choose the mapping of a file by its name.

    Parameters
    ----------
    mappings : list of Mapping or None
        The mappings of the mapping file.
    path : Path
        The file.

    Returns
    -------
    Mapping or None
        None where no `match` fits.
    """
    return next((each for each in mappings or [] if fnmatch.fnmatch(path.name, each.match)), None)


def _read(path: Path) -> tuple[dict[Any, Any], Lines]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES:,} bytes; not a mapping file?")
        loader = _UniqueKeys(path.read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        if node is not None:
            _count(node, {})
        content = loader.construct_document(node) if node is not None else None
    except OSError as error:
        raise UsageError(f"{path}: cannot read the mapping file: {error.strerror}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: not a readable YAML file: lists or keys nested too deep") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path}: not a readable YAML file: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys such as columns and events, found {type(content).__name__}")
    lines: Lines = {}
    _note_lines(node, (), lines)
    return content, lines


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """The nodes below a node, those of aliases each time; stops where they are too many."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_NODES  # of a node inside itself
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    total = 1 + sum(_count(child, known) for child in children)
    if total > MAX_NODES:
        raise yaml.constructor.ConstructorError(None, None, "its aliases make it too large", node.start_mark)
    known[id(node)] = total
    return total


def _note_lines(node: yaml.Node | None, key: tuple[str, ...], lines: Lines) -> None:
    if node is None:
        return
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                lines[(*key, key_node.value)] = key_node.start_mark.line + 1
                _note_lines(value, (*key, key_node.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            _note_lines(value, (*key, str(place)), lines)


def _checked(content: dict[Any, Any], path: Path, lines: Lines, parents: tuple[str, ...]) -> Mapping:
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        keys = [_key(detail) for detail in error.errors()]
        # Of a value that may be of several kinds, what is wrong inside it says more than that it is none of the others.
        said: dict[tuple[str, ...], str] = {}
        for key, detail in zip(keys, error.errors(), strict=True):
            if not any(key == other[: len(key)] and len(key) < len(other) for other in keys if key):
                said.setdefault(key, _explain(path, lines, (*parents, *key), detail))
        raise UsageError("\n".join(said.values())) from error
    except RecursionError as error:
        raise UsageError(f"{path}: lists or keys nested too deep") from error


def _key(detail: Any) -> tuple[str, ...]:
    # A value that may be text, a list or more has the name of the kind in its place: no key of the file.
    key = tuple(str(part) for part in detail["loc"] if not _is_kind(part))
    if key[-1:] == ("[key]",):
        # For a key of the wrong type pydantic gives its own idea of the key, then this mark.
        key = (*key[:-2], str(detail["input"]))
    return key


def _explain(path: Path, lines: Lines, key: tuple[str, ...], detail: Any) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = "unknown key"
    elif detail["type"] == "missing":
        message = "missing"
    elif detail["type"] == "string_type":
        found = detail["input"]
        message = "must be text, found " + ("nothing" if found is None else f"{str(found)[:60]}; put it in quotes")
    return _located(path, lines, key, message)


def _is_kind(part: Any) -> bool:
    return isinstance(part, str) and (
        part in {"str", "Join", "Condition"} or part.startswith(("list[", "constrained-", "function-"))
    )


def _located(path: Path, lines: Lines, key: tuple[str, ...], message: str) -> str:
    # What a rule about several keys says begins with the key itself.
    told = (*key, *message.split(":", 1)[0].split(".")) if ":" in message else key
    line = next((lines[told[:end]] for end in range(len(told), 0, -1) if told[:end] in lines), None)
    if line is None:
        # Of what is missing, the key that asks for it says where to look.
        named = ((*key, word) for word in re.findall(r"\w+", message))
        line = next((lines[each] for each in named if each in lines), None)
    if line is None and key[:1] == (FILES,):
        line = lines.get(key[2:])
    place = f"{path}:{line}" if line else str(path)
    return f"{place}: {'.'.join(key)}: {message}" if key else f"{place}: {message}"


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win without a word; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build one YAML mapping, refusing a key that stands twice."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a list or object as a key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

"""A draft, corrected by what becomes of the file's first lines."""

from typing import Any

from ingest.guess.draft import Draft
from ingest.guess.trial import Trial
from ingest.mapping import Mapping, cell_names

_MONEY = ("price", "quantity", "currency")
_OF_MONEY = ("decimal", "thousands", "price_is", "currency")


def amend(found: Draft, trial: Trial, mapping: Mapping) -> bool:
    """Correct a draft where the first lines contradict it.

    Parameters
    ----------
    found : Draft
        The draft, which is changed.
    trial : Trial
        What became of the lines.
    mapping : Mapping
        The mapping that the draft makes.

    Returns
    -------
    bool
        Whether anything has changed.
    """
    if trial.reasons_by_name["", "unknown_event"] and "event_rules" not in found.content:
        # Such as the page calls beside the events of a tracker.
        found.content["event_rules"] = [
            {"step": "ignore", "when": {key: {"blank": True} for key in cell_names(mapping.columns.event)}}
        ]
        found.notes["event_rules.0"] = "lines without an event"
        return True
    if trial.reasons["empty_item"]:
        return _ignore_without_item(found, trial, mapping)
    if trial.reasons["missing_transaction_id"]:
        _drop(found, ["transaction"], mapping)
        found.content["columns"]["transaction"] = None
        count = trial.reasons["missing_transaction_id"]
        found.notes["columns.transaction"] = f"{count:,} transactions of the sample have no id, so it is left out"
        return True
    # A few prices that are no numbers stay what they are: the draft tells of them.
    if 2 * trial.reasons["bad_price"] > trial.accepted.num_rows + trial.reasons["bad_price"]:
        return _drop(found, [role for role in _MONEY if role in found.content["columns"]], mapping)
    if 2 * trial.reasons["bad_quantity"] > trial.accepted.num_rows + trial.reasons["bad_quantity"]:
        return _drop(found, ["quantity"], mapping)
    return False


def _ignore_without_item(found: Draft, trial: Trial, mapping: Mapping) -> bool:
    """Leave out the events that never have an item, and of the others the lines without one."""
    content = found.content
    itemless = [
        name for name in content.get("events", {}) if 0 < trial.names[name] == trial.reasons_by_name[name, "empty_item"]
    ]
    if itemless and len(itemless) < len(content["events"]):
        for name in itemless:
            del content["events"][name]
        content["ignore_events"] = [*content.get("ignore_events", []), *itemless]
        found.notes["ignore_events"] = f"no step of the funnel, or without items ({', '.join(itemless)[:60]})"
        return True
    items = cell_names(mapping.columns.item)
    known = content.get("event_rules", [])
    rules: list[Any] = [*known, {"step": "ignore", "when": {name: {"blank": True} for name in items}}]
    if rules[-1] in known:
        return False
    if step := content.pop("constant_event", None):
        rules += [{"step": step, "when": {name: {"blank": False}}} for name in items]
        found.notes["event_rules.1"] = found.notes.pop("constant_event", "")
    content["event_rules"] = rules
    found.notes[f"event_rules.{len(known)}"] = "lines without an item"
    return True


def _drop(found: Draft, roles: list[str], mapping: Mapping) -> bool:
    """Take columns out of a mapping; they are then to be ignored."""
    content = found.content
    names = [name for role in roles for name in cell_names(getattr(mapping.columns, role))]
    for role in roles:
        content["columns"].pop(role)
        found.notes.pop(f"columns.{role}", None)
    for key in _OF_MONEY if "price" in roles else ("price_is",) if "quantity" in roles else ():
        content.pop(key, None)
    if not content.get("ignore_other_columns"):
        content["ignore_columns"] = [*content.get("ignore_columns", []), *names]
        found.notes.setdefault("ignore_columns", "nothing needs them")
    return bool(roles)

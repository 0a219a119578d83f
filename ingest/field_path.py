"""Names of fields: a column, or a path into the objects and lists of a column or JSON line."""

import re
from dataclasses import dataclass

_STEP = re.compile(r"(?:^|\.)(?P<key>[^.\[\]]+)|\[(?P<found_key>[^=\[\]]+)=(?P<found_value>[^\[\]]*)\]|(?P<entry>\[\])")


@dataclass(frozen=True)
class Found:
    """A step into the entry of a list of objects whose `key` has a value."""

    key: str
    value: str


Step = str | Found


@dataclass(frozen=True)
class FieldPath:
    """Where a value is.

    `steps` lead to it from the record; where `opened` is set, they lead from an entry of the list to which `opened`
    leads, and where `inner` is set too, from an entry of the list to which that leads from there. A name that is no
    path has one step, itself.
    """

    steps: tuple[Step, ...]
    opened: tuple[Step, ...] | None = None
    inner: tuple[Step, ...] | None = None

    @property
    def root(self) -> str:
        """The column, or the key of the JSON line, in which the value is."""
        return str((self.steps if self.opened is None else self.opened)[0])

    @property
    def is_plain(self) -> bool:
        """Whether it is a column as it stands."""
        return self.opened is None and len(self.steps) == 1


def field_path(name: str) -> FieldPath:
    """Read a name as a path.

    Parameters
    ----------
    name : str
        `column`, `column.key`, `column.0.key`, `column[].key` for each entry of a list (and `column[].key[].other` for
        each of a list in it), or `column[key=value].other`
        for the entry whose key has that value. What does not read as a path is a column of that name.

    Returns
    -------
    FieldPath
        The steps.

    Examples
    --------
    >>> field_path("properties.products[].product_id")
    FieldPath(steps=('product_id',), opened=('properties', 'products'), inner=None)
    >>> field_path("event_params[key=coupon].value.string_value").steps
    ('event_params', Found(key='key', value='coupon'), 'value', 'string_value')
    """
    steps: list[Step] = []
    lists: list[tuple[Step, ...]] = []
    position = 0
    while position < len(name):
        step = _STEP.match(name, position)
        if (
            step is None
            or name.startswith(".")
            or (not steps and not step["key"])
            or (step["entry"] and len(lists) == 2)
        ):
            return FieldPath((name,))
        if step["entry"]:
            lists.append(tuple(steps))
            steps = []
        else:
            steps.append(step["key"] if step["key"] is not None else Found(step["found_key"], step["found_value"]))
        position = step.end()
    return FieldPath(tuple(steps), *lists)


def column_of(name: str, header: tuple[str, ...]) -> str:
    """Tell which column a name reads: a column of exactly that name, else the one in which its path begins.

    Parameters
    ----------
    name : str
        Column or path.
    header : tuple of str
        The columns of the file.

    Returns
    -------
    str
        A column, of the file or not.
    """
    return name if name in header else field_path(name).root

"""Names and tags that stay the same from one generation to the next, because they are hashes of what they name."""

import hashlib
import uuid

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "funnelift")


def object_name(*parts: str) -> str:
    """Name a page or visual.

    Parameters
    ----------
    *parts : str
        What it is, from the outside in.

    Returns
    -------
    str
        20 hexadecimal digits, as Power BI Desktop names such objects.
    """
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:20]


def lineage_tag(*parts: str) -> str:
    """Tag an object so that Power BI knows it again after it was renamed or moved.

    Parameters
    ----------
    *parts : str
        What it is, from the outside in.

    Returns
    -------
    str
        A UUID of version 5.
    """
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))

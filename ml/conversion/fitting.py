"""CatBoost's fits, one at a time."""

from threading import Lock
from typing import Any, TypeVar

Booster = TypeVar("Booster")

# CatBoost keeps its loggers in one stack for the whole process, so two fits in two threads can crash it
# (catboost/catboost issue 2620). A fit has threads of its own, so little is lost.
_TURN = Lock()


def fit_alone(booster: Booster, *rows: Any, **more: Any) -> Booster:
    """Fit a model of CatBoost's while no other thread fits one.

    Parameters
    ----------
    booster : CatBoost
        The model.
    *rows : object
        What its `fit` takes.
    **more : object
        What its `fit` takes by name.

    Returns
    -------
    CatBoost
        The same model, fitted.
    """
    with _TURN:
        booster.fit(*rows, **more)  # type: ignore[attr-defined]
    return booster

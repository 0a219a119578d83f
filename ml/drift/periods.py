"""The window in which alarms are looked for, and the periods of the trend."""

from datetime import date, timedelta

import numpy as np

from ml.arrays import Rows
from ml.config import Monitoring
from ml.drift.entries import WINDOW
from ml.drift.scored import Scored

EPOCH = date(1970, 1, 1)
# Longer than this, days are too many to look at, and one alone says little.
MOST_DAYS = 21


def periods_of(scored: Scored, settings: Monitoring) -> dict[str, Rows]:
    """Return the rows of the window and of each local day or week, by the period's name.

    Parameters
    ----------
    scored : Scored
        Rows scored since the training.
    settings : Monitoring
        Length of the window; days or weeks.

    Returns
    -------
    dict of str to ndarray of int
        `window`, then each period's first day, to positions of its rows. The window ends with the last closed session.
    """
    if not len(scored):
        return {WINDOW: np.empty(0, np.intp)}
    # A wrong clock may put an open session anywhere; one that is closed is over by the data's own time.
    closed = scored.day[scored.label >= 0]
    first, last = int(scored.day.min()), int((closed if len(closed) else scored.day).max())
    by_day = settings.period == "day" or (settings.period == "auto" and last - first < MOST_DAYS)
    # 1970-01-01 was a Thursday, the fourth day of a week that began on day -3.
    starts = scored.day if by_day else scored.day - (scored.day + 3) % 7
    found = {WINDOW: np.flatnonzero(scored.day > last - settings.window_days)}
    order = np.argsort(starts, kind="stable")
    days, bounds = np.unique(starts[order], return_index=True)
    for day, rows in zip(days, np.split(order, bounds[1:]), strict=True):
        found[day_of(int(day)).isoformat()] = np.sort(rows)
    return found


def day_of(number: int) -> date:
    """Return the day that is so many days after 1970-01-01."""
    return EPOCH + timedelta(days=number)

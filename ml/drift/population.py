"""How far each feature, and the probability itself, has moved from the test split."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

import numpy as np

from ml.arrays import Rows, finite_or_none
from ml.bootstrap import visitor_codes
from ml.config import Monitoring
from ml.data.features import Feature, Mart
from ml.drift.entries import ALARM, NOT_COUNTED, STABLE, TOO_FEW, WATCH, WINDOW, DriftBin, FeatureDrift
from ml.drift.scored import SCORE, Compared, Scored
from ml.drift.stability import Side, contributions, side, stability

LONGEST_TEXT, LONGEST_LABEL = 512, 160
SCORE_FEATURE = Feature(SCORE, "score", "numeric", "Probability that the session still converts, as it was scored.")


def population_drift(
    compared: Compared, periods: dict[str, Rows], mart: Mart, settings: Monitoring, false_alarms: float
) -> Iterator[FeatureDrift | DriftBin]:
    """Compare every feature and the probability with the test split, in every period.

    Parameters
    ----------
    compared : Compared
        Both samples.
    periods : dict of str to ndarray of int
        Period to positions of its rows in the current sample; `window` is the one in which alarms are looked for.
    mart : Mart
        Features.
    settings : Monitoring
        Thresholds.
    false_alarms : float
        Share of comparisons without a change in which the index of any feature may exceed its limit. The features that
        count, and the probability, share it equally (Bonferroni).

    Yields
    ------
    FeatureDrift or DriftBin
        A row per period and feature; of the window also a row per bin that is in use.
    """
    features = (*mart.features, SCORE_FEATURE)
    counted = [feature for feature in features if _counts(feature, settings)]
    each = false_alarms / max(1, len(counted))
    tested = _visitors(compared.reference, np.arange(len(compared.reference)))
    present = {period: _visitors(compared.current, rows) for period, rows in periods.items()}
    for feature in features:
        bins = compared.bins[feature.name]
        before = side(compared.reference.codes[feature.name], *tested, len(bins.labels))
        for period, rows in periods.items():
            now = side(compared.current.codes[feature.name][rows], *present[period], len(bins.labels))
            found = stability(before, now, each)
            status = NOT_COUNTED
            if feature in counted:
                status = _status(found.psi, found.limit, settings) if len(rows) >= settings.min_rows else TOO_FEW
            is_window = period == WINDOW
            yield FeatureDrift(
                period=period,
                feature=feature.name,
                feature_group=feature.group,
                description=feature.description,
                psi=finite_or_none(found.psi),
                psi_by_chance=finite_or_none(found.by_chance),
                psi_limit=finite_or_none(found.limit),
                status=status,
                most_changed=_most_changed(bins.labels, before, now),
                new_value=_cut(bins.new_value, LONGEST_LABEL) if is_window and bins.new_value else None,
                new_value_share=bins.new_value_share if is_window else None,
                n_reference_rows=len(compared.reference),
                n_rows=len(rows),
                n_visitors=present[period][1],
            )
            if is_window:
                yield from _bins(feature.name, bins.labels, before, now)


def _visitors(scored: Scored, rows: Rows) -> tuple[Rows, int]:
    return visitor_codes(scored.visitor[rows])


def _counts(feature: Feature, settings: Monitoring) -> bool:
    return not any(fnmatchcase(feature.name, pattern) for pattern in settings.not_counted)


def _status(psi: float, limit: float, settings: Monitoring) -> str:
    if psi > limit:
        return ALARM if psi >= settings.psi_alarm else WATCH if psi >= settings.psi_watch else STABLE
    # Where chance alone may reach what would be an alarm, a small index says nothing.
    return STABLE if limit < settings.psi_alarm else TOO_FEW


def _most_changed(labels: tuple[str, ...], before: Side, now: Side) -> str | None:
    adds = contributions(before.counts, now.counts)
    if not adds.any():
        return None
    place = int(np.argmax(adds))
    old, new = before.counts[place] / before.counts.sum(), now.counts[place] / now.counts.sum()
    return f"{_cut(labels[place], LONGEST_LABEL)}: {old:.1%} before, {new:.1%} now"


def _bins(feature: str, labels: tuple[str, ...], before: Side, now: Side) -> Iterator[DriftBin]:
    old, new, adds = before.counts.sum(), now.counts.sum(), contributions(before.counts, now.counts)
    for number, label in enumerate(labels):
        if before.counts[number] + now.counts[number] and old and new:
            shares = (float(before.counts[number] / old), float(now.counts[number] / new))
            yield DriftBin(feature, number + 1, _cut(label, LONGEST_LABEL), *shares, float(adds[number]))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

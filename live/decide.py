"""What is done at a decision point: the published models' word, the policy's, and chance."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from live.settings import LiveSettings
from ml.experiment.simulated import hash_shares

DAY_MS = 86_400_000
SHOW, HOLD = "show", "hold"
# What the strata of assignments begin with: what the policy said of the visitor.
STRATA = ("policy shows", "policy holds")


@dataclass(frozen=True)
class Assignment:
    """The arm of a visitor: 1 is shown something, `offer` where offers have names.

    `propensity` was the chance of being shown something. Among several offers (`is_of_several`) it was the chance of
    this arm, and visitors of one stratum had the same chances.
    """

    visitor_id: str
    treatment: int
    propensity: float | None
    assigned_ms: int
    stratum: str = ""
    offer: str | None = None
    is_of_several: bool = False

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Assignment":
        """Take a line of the log."""
        is_of_several = "chance" in line
        return cls(
            line["visitorid"], line["treatment"], line["chance" if is_of_several else "propensity"],
            line["assigned_at"], line["stratum"], line.get("offer"), is_of_several,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """What the arm is called."""
        return (self.offer or "treatment") if self.treatment else "control"

    def line(self) -> dict[str, Any]:
        """As the raw contract has it."""
        return {
            "visitorid": self.visitor_id,
            "assigned_at": self.assigned_ms,
            "treatment": self.treatment,
            "stratum": self.stratum,
            "propensity": None if self.is_of_several else self.propensity,
            "offer": self.offer,
            **({"chance": self.propensity} if self.is_of_several else {}),
        }


@dataclass(frozen=True)
class Decision:
    """One decision, as it is answered and logged."""

    session_id: str
    decision_point: str
    visitor_id: str
    decided_ms: int
    action: str
    why: str
    probability: float | None = None
    risk_band: str | None = None
    reasons: list[str] = field(default_factory=list)
    model_version: str | None = None
    p_control: float | None = None
    p_treatment: float | None = None
    uplift: float | None = None
    treat: int | None = None
    suggested: str | None = None
    offer: str | None = None
    uplift_version: str | None = None
    arm: str | None = None
    propensity: float | None = None
    is_synthetic: bool = False
    is_simulated: bool = False
    degraded: list[str] = field(default_factory=list)
    dry_run: bool = False

    def line(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(vars(self))


class Ledger:
    """Who has which arm, what was shown to whom, and what a day's offers have cost."""

    def __init__(self) -> None:
        self.arms: dict[str, Assignment] = {}
        self.shows: dict[str, list[int]] = defaultdict(list)
        self.spent: dict[int, float] = defaultdict(float)

    def add(self, decision: Decision, cost: float) -> None:
        """Take in a decision."""
        if decision.action == SHOW:
            self.shows[decision.visitor_id].append(decision.decided_ms)
            self.spent[decision.decided_ms // DAY_MS] += cost


class Policy:
    """Turns the models' word on a row into an action.

    Parameters
    ----------
    settings : LiveSettings
        Exploration, cap, budget and kill switch.
    ledger : Ledger
        What was done before.
    """

    def __init__(self, settings: LiveSettings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger

    def chances(self, offers: int, made: int | None) -> list[float]:
        """The chance of each offer: an equal part of the explored share, and the rest for the policy's.

        Parameters
        ----------
        offers : int
            How many there are. The control has an equal part of the explored share too.
        made : int or None
            Place of the offer that the policy makes; None where it makes none.

        Returns
        -------
        list of float
            One chance per offer; the control has what is left.
        """
        explore = self._settings.explore_share
        return [explore / (offers + 1) + (1 - explore) * (place == made) for place in range(offers)]

    def decide(
        self, decision: Decision, *, acts_here: bool, is_bot: bool, is_late: bool, costs: Mapping[str | None, float]
    ) -> tuple[Decision, Assignment | None]:
        """Settle the action of a decision.

        Parameters
        ----------
        decision : Decision
            What the models say.
        acts_here : bool
            Whether something may be shown at this decision point.
        is_bot : bool
            Whether the visitor behaves like a program.
        is_late : bool
            Whether the session is over: its event came too late to act on.
        costs : mapping of str or None to float
            What each offer would cost here, by its name; a single offer without a name is None.

        Returns
        -------
        Decision
            With action, reason, arm and propensity.
        Assignment or None
            The visitor's arm, where this is the first time that something could be shown.
        """
        why = self._forbidden(decision, acts_here=acts_here, is_bot=is_bot, is_late=is_late, costs=costs)
        if why:
            return _with(decision, action=HOLD, why=why), None
        known = self._ledger.arms.get(decision.visitor_id)
        arm = known or self._draw(decision, list(costs))
        has_ended = arm.treatment == 1 and arm.offer not in costs
        is_shown = arm.treatment == 1 and not has_ended and not self._settings.dry_run
        why = "dry run" if self._settings.dry_run else "offer has ended" if has_ended else f"arm {arm.name}"
        told = _with(
            decision, action=SHOW if is_shown else HOLD, why=why, arm=arm.name, offer=arm.offer,
            propensity=arm.propensity,
        )  # fmt: skip
        return told, arm if known is None and not self._settings.dry_run else None

    def _draw(self, decision: Decision, offers: list[str | None]) -> Assignment:
        """Draw a visitor's arm."""
        is_of_several = len(offers) > 1
        # Effects that are made up decide about nobody.
        treats = decision.treat == 1 and not decision.is_simulated
        made = (offers.index(decision.suggested) if is_of_several else 0) if treats else None
        chances = self.chances(len(offers), made)
        share = share_of(self._settings.salt, decision.visitor_id)
        drawn = next((place for place, end in enumerate(accumulate(chances)) if share < end), None)
        # Visitors of whom the policy says the same had the same chances.
        stratum = STRATA[made is None]
        if is_of_several:
            stratum += f"{'' if made is None else f' {offers[made]}'}, {self._settings.explore_share:g} by lot"
        own = 1 - sum(chances) if drawn is None else chances[drawn]
        return Assignment(
            decision.visitor_id,
            int(drawn is not None),
            own if is_of_several else chances[0],
            decision.decided_ms,
            stratum,
            None if drawn is None else offers[drawn],
            is_of_several,
        )

    def _forbidden(
        self, decision: Decision, *, acts_here: bool, is_bot: bool, is_late: bool, costs: Mapping[str | None, float]
    ) -> str | None:
        """Why nothing may be shown, whatever the arm; None where something may."""
        settings, now = self._settings, decision.decided_ms
        if settings.stop_file.exists():
            return "kill switch"
        if not acts_here:
            return "no offer at this decision point"
        if is_bot:
            return "bot"
        if is_late:
            return "late event"
        since = now - settings.cap_days * DAY_MS
        if sum(shown > since for shown in self._ledger.shows.get(decision.visitor_id, ())) >= settings.cap_shows:
            return "frequency cap"
        if settings.daily_budget is not None:
            # A day's money is let out evenly, an hour of it at once.
            passed = min((now % DAY_MS) / DAY_MS + 1 / 24, 1.0)
            # The dearest offer has to fit, so that the money says nothing of the arm.
            if self._ledger.spent[now // DAY_MS] + max(costs.values()) > settings.daily_budget * passed:
                return "budget"
        return None


def share_of(salt: str, visitor: str) -> float:
    """A visitor's number from 0 to 1, the same on every machine and after every restart."""
    import pyarrow as pa

    return float(hash_shares(f"{salt}:visitor:", pa.chunked_array([[visitor]], pa.string()))[0])


def told_by(prediction: dict[str, Any], score: dict[str, Any] | None, decided_ms: int) -> Decision:
    """Put what the models say of one row into a decision without action.

    Parameters
    ----------
    prediction : dict
        The row of conversion_predictions, or its key alone where no model is published.
    score : dict or None
        The row of uplift_scores.
    decided_ms : int
        The moment, epoch milliseconds.

    Returns
    -------
    Decision
        Still to be settled.
    """
    reasons = [prediction.get(f"reason_{number}") for number in (1, 2, 3)]
    score = score or {}
    return Decision(
        session_id=prediction["session_id"],
        decision_point=prediction["decision_point"],
        visitor_id=prediction["visitor_id"],
        decided_ms=decided_ms,
        action=HOLD,
        why="",
        probability=prediction.get("probability"),
        risk_band=prediction.get("risk_band"),
        reasons=[reason for reason in reasons if reason],
        model_version=prediction.get("model_version"),
        p_control=score.get("p_control"),
        p_treatment=score.get("p_treatment"),
        uplift=score.get("uplift"),
        treat=score.get("treat"),
        suggested=score.get("offer"),
        uplift_version=score.get("model_version"),
        is_simulated=bool(score.get("is_simulated")),
    )


def _with(decision: Decision, **changes: Any) -> Decision:
    return replace(decision, **changes)

"""The one writer: takes waiting events in batches, makes them durable, works out features, decides, answers."""

import gc
import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

from ingest.mapping import REFUND
from live.compile import compile_features
from live.decide import STRATA, Assignment, Decision, Ledger, Policy, told_by
from live.event import Event, RefusedError, refused
from live.facts import lay_out, read_plan, read_tables
from live.log import ASSIGNMENTS, DECISIONS, EVENTS, Log
from live.metrics import Metrics
from live.models import Models, Rows, load_models
from live.settings import LiveSettings
from live.shop import RawEvent, Shop
from ml.config import Config
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse

if TYPE_CHECKING:
    import pyarrow as pa

HOUR_MS = 3_600_000
# How long, in the shop's time, a repeated event is known and a decision told once the warehouse has the event.
KEPT_MS = 48 * HOUR_MS
# Folder, in that of results, of the SQL that was compiled before.
KEPT = "live-sql"
# After so many batches, what has lasted is set aside from the collections of garbage.
SET_ASIDE = 100
# So many visitors of the history are scored when models are read.
TRIED = 200
LOGGER = logging.getLogger("live")


@dataclass(frozen=True)
class Known:
    """What the warehouse and the models say, as of one look at them; replaced as a whole.

    `taken` is the place of the last event that the look saw; `held` are places of those that the warehouse has.
    """

    shop: Shop
    models: Models
    build_number: int
    built_ms: int
    taken: int
    held: frozenset[int]


@dataclass(frozen=True)
class Waiting:
    """A request in the queue."""

    events: Sequence[Event]
    answer: "Future[dict[str, Any]]"


class Service:
    """The state of one instance and the thread that changes it.

    Parameters
    ----------
    config : Config
        Where the warehouse and the models are.
    settings : LiveSettings
        The service's own settings.
    """

    def __init__(self, config: Config, settings: LiveSettings) -> None:
        self.config, self.settings = config, settings
        self.metrics = Metrics()
        self.known: Known | None = None
        self.latest: dict[str, list[Decision]] = {}
        self._log = Log(settings.log, settings.close_minutes)
        self._ledger = Ledger()
        self._policy = Policy(settings, self._ledger)
        self._events: dict[str, Event] = {}
        self._decided: dict[tuple[str, str], Decision] = {}
        # Events that the warehouse does not have yet, and how many there have been.
        self._new: dict[str, RawEvent] = {}
        self._count = 0
        self._queue: queue.Queue[Waiting | None] = queue.Queue()
        self._next: Known | None = None
        self._threads: list[threading.Thread] = []
        self._ends = threading.Event()

    def start(self) -> None:
        """Open the log, read the warehouse, and begin to answer.

        Raises
        ------
        FunneliftError
            When another instance has the log, or there is no whole build.
        """
        self._log.open()
        try:
            self._remember()
            self.known = self._look()
            self._forget(self.known)
        except BaseException:
            self._log.close()
            raise
        for target in (self._work, self._watch):
            thread = threading.Thread(target=target, name=target.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Answer what waits, close the log."""
        self._ends.set()
        self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout=30)
        self._log.close()

    def submit(self, events: Sequence[Event]) -> "Future[dict[str, Any]]":
        """Queue events; the answer comes when they are on the disk and decided."""
        waiting = Waiting(events, Future())
        self._queue.put(waiting)
        return waiting.answer

    def _remember(self) -> None:
        """Read the log: what came before a restart counts as if it came now."""
        for line in self._log.read(EVENTS):
            event = Event.model_validate(line)
            key = event.key()
            if self._events.setdefault(key, event) is event and event.event != REFUND:
                self._new[key] = self._raw(event)
        for line in self._log.read(ASSIGNMENTS):
            arm = Assignment.of(line)
            self._ledger.arms.setdefault(arm.visitor_id, arm)
        for line in self._log.read(DECISIONS):
            cost = line.pop("cost")
            self._keep(Decision(**line), cost)

    def _keep(self, decision: Decision, cost: float) -> None:
        self._decided[(decision.session_id, decision.decision_point)] = decision
        self.latest.setdefault(decision.visitor_id, []).append(decision)
        self._ledger.add(decision, cost)

    def _raw(self, event: Event) -> RawEvent:
        self._count += 1
        return RawEvent(
            event.timestamp or 0, event.visitorid, event.event, event.itemid, event.transactionid, _money(event.price),
            event.categoryid, _money(event.quantity), event.event_id, self._count,
        )  # fmt: skip

    def _look(self) -> Known:
        """Read the warehouse and the models, and close them again."""
        with open_warehouse(self.config) as warehouse:
            plan = read_plan(warehouse)
            models = load_models(self.config, warehouse)
            tables = read_tables(warehouse, plan)
        for text in models.missing:
            LOGGER.warning("%s", text)
        for row in tables.assignments.to_pylist():
            stratum = row["stratum"] or ""
            if row["propensity"] is not None or stratum.startswith(STRATA):
                arm = Assignment(
                    row["visitor_id"], row["treatment"], row["propensity"], row["assigned_ms"], stratum, row["offer"],
                    is_of_several=row["propensity"] is None,
                )  # fmt: skip
                self._ledger.arms.setdefault(arm.visitor_id, arm)
        facts, chain = lay_out(tables, compile_features(plan.settings, self.config.results / KEPT))
        shop, new = Shop(facts, chain), list(self._new.values())
        if not shop.settle_engine():
            LOGGER.warning("features come from DuckDB alone, which is slower: SQLite would give others here")
        # What models work out once, such as what each leaf of a tree says, is ready before anybody waits for it.
        self._scored(models, shop.features(facts.some_visitors(TRIED), 0), [])
        held = shop.held(new)
        shop.add(event for event in new if event.place not in held)
        # What was read stays for long: no collection of garbage need go through it, but this one.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        LOGGER.info("build %d: %s visitors, %s events", plan.build.number, facts.visitor_count, facts.event_count)
        taken = new[-1].place if new else 0
        return Known(shop, models, plan.build.number, plan.started_ms, taken, held)

    def _watch(self) -> None:
        """Look at the warehouse anew when a build or a training has ended; until then nobody waits for it."""
        seen = self._signs()
        while not self._ends.wait(self.settings.refresh_seconds):
            signs = self._signs()
            if signs == seen:
                continue
            try:
                self._next, seen = self._look(), signs
            except (FunneliftError, OSError) as error:
                # A build may be at work: the next look will tell.
                LOGGER.warning("kept what was known: %s", error)

    def _signs(self) -> tuple[float, ...]:
        """When builds and trainings last wrote something."""
        paths = (
            self.config.manifest,
            self.config.manifest.with_name("run_results.json"),
            self.config.results / "models",
        )
        return tuple(path.stat().st_mtime if path.exists() else 0.0 for path in paths)

    def _work(self) -> None:
        for number in count():
            batch, is_last = self._batch()
            started = time.monotonic()
            try:
                if self._next is not None:
                    self._take_over(self._next)
                self._answer(batch)
                self._log.close_old(datetime.now(UTC))
            except Exception:
                # Nobody waits for ever, and the next batch has its turn.
                LOGGER.exception("a batch failed")
                self.metrics.failures.inc()
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(refused(503, "not answered: send it again", "service"))
            self.metrics.batch_seconds.observe(time.monotonic() - started)
            if is_last:
                return
            if number % SET_ASIDE == 0:
                # What has lasted until now stays for long, too: going through all of it takes longer than many answers.
                gc.collect(1)
                gc.freeze()

    def _batch(self) -> tuple[list[Waiting], bool]:
        """The requests that wait, once there is one, up to so many events; and whether they are the last."""
        batch, events, following = list[Waiting](), 0, self._queue.get()
        while following is not None:
            # Who has hung up was answered nothing, so nothing of theirs need be kept.
            if following.answer.set_running_or_notify_cancel():
                batch.append(following)
                events += len(following.events)
            if events >= self.settings.batch_events or self._queue.empty():
                return batch, False
            following = self._queue.get()
        return batch, True

    def _take_over(self, new: Known) -> None:
        """Go on with what was read last; events that came while it was read are added."""
        new.shop.add(event for event in self._new.values() if event.place > new.taken)
        self.known, self._next = new, None
        self._forget(new)

    def _forget(self, known: Known) -> None:
        """Let go of what the warehouse has, so that memory does not grow with the service's age."""
        self._new = {key: event for key, event in self._new.items() if event.place not in known.held}
        oldest = max((event.timestamp or 0 for event in self._events.values()), default=0) - KEPT_MS
        self._events = {
            key: event for key, event in self._events.items() if key in self._new or (event.timestamp or 0) >= oldest
        }
        self._decided = {key: told for key, told in self._decided.items() if told.decided_ms >= oldest}
        self.latest = {
            visitor: kept
            for visitor, told in self.latest.items()
            if (kept := [decision for decision in told if decision.decided_ms >= oldest])
        }

    def _answer(self, batch: Sequence[Waiting]) -> None:
        """Make a batch's events durable, decide, and answer each request."""
        accepted: list[tuple[Waiting, list[Event], int]] = []
        fresh: dict[str, Event] = {}
        for waiting in batch:
            try:
                accepted.append((waiting, *self._judge(waiting.events, fresh)))
            except RefusedError as error:
                waiting.answer.set_exception(error)
        events = list(fresh.values())
        try:
            self._log.write({EVENTS: [event.line() for event in events]})
        except OSError as error:
            LOGGER.error("the log cannot be written: %s", error)
            for waiting, *_ in accepted:
                waiting.answer.set_exception(refused(503, "the log cannot be written: send it again later", "log"))
            return
        self._events |= fresh
        # A refund is no act of a visitor: it is kept for the warehouse, and no session changes by it.
        raw = {key: self._raw(event) for key, event in fresh.items() if event.event != REFUND}
        self._new |= raw
        problems = self._decide(list(raw.values()))
        self.metrics.events.inc(len(events))
        for waiting, asked, new in accepted:
            waiting.answer.set_result(self._told(asked, new, problems))

    def _judge(self, events: Sequence[Event], fresh: dict[str, Event]) -> tuple[list[Event], int]:
        """The events of a request as they came first, and how many are new; refuses an id known with other values."""
        asked, mine = list[Event](), dict[str, Event]()
        for place, event in enumerate(events):
            key = event.key()
            known = self._events.get(key) or fresh.get(key) or mine.get(key)
            if known is None:
                mine[key] = event
            elif not known.says_the_same(event):
                raise refused(409, "was sent before with other values", "body", place, "event_id")
            asked.append(known or event)
        fresh.update(mine)
        return asked, len(mine)

    def _decide(self, events: Sequence[RawEvent]) -> list[str]:
        """Decide what the new events ask; returns what went wrong, in a word each."""
        known = self.known
        if not events or known is None:
            return []
        known.shop.add(events)
        try:
            rows = self._asked(known.shop, events)
        except Exception:
            # The events are safe; a fault here must not keep them from being answered.
            LOGGER.exception("features failed")
            self.metrics.failures.inc()
            return ["features failed"]
        problems: list[str] = []
        predictions, scores = self._scored(known.models, rows, problems)
        arms, lines = [], []
        for row in rows.select(
            ["session_id", "decision_point", "visitor_id", "item_id", "is_bot", "decided_ms"]
        ).to_pylist():
            key = (row["session_id"], row["decision_point"])
            costs = known.models.costs(scores.get(key))
            decision = told_by(predictions.get(key, row), scores.get(key), row["decided_ms"])
            decision, arm = self._policy.decide(
                decision,
                acts_here=row["decision_point"] == known.models.decision_point,
                is_bot=row["is_bot"] == 1,
                is_late=known.shop.is_over(row["visitor_id"], row["decided_ms"]),
                costs=costs,
            )
            decision = replace(
                decision,
                degraded=self._degraded(known, row),
                dry_run=self.settings.dry_run,
                is_synthetic=known.models.is_synthetic,
            )
            if arm is not None:
                self._ledger.arms[arm.visitor_id] = arm
                arms.append(arm.line())
            cost = costs.get(decision.offer, max(costs.values()))
            self._keep(decision, cost)
            lines.append({**decision.line(), "cost": cost})
            self.metrics.decisions.labels(decision.decision_point, decision.action, decision.arm or "none").inc()
        try:
            self._log.write({ASSIGNMENTS: arms, DECISIONS: lines})
        except OSError as error:
            LOGGER.error("decisions were not logged: %s", error)
            problems.append("decisions not logged")
        return problems

    def _scored(self, models: Models, rows: "pa.Table", problems: list[str]) -> tuple[Rows, Rows]:
        """What the models say; one that fails is told among the problems, and decisions go on without it."""
        told: list[Rows] = []
        for name, score in (("model", models.predictions), ("uplift model", models.scores)):
            try:
                told.append(score(rows))
            except Exception:
                LOGGER.exception("the %s failed", name)
                self.metrics.failures.inc()
                problems.append(f"{name} failed")
                told.append({})
        return told[0], told[1]

    def _asked(self, shop: Shop, events: Sequence[RawEvent]) -> "pa.Table":
        """The rows of session_features whose decision event is one of these, and which nobody has decided."""
        import pyarrow as pa

        since = min(event.timestamp for event in events)
        rows = shop.features({event.visitorid for event in events}, since)
        moments = {(event.visitorid, event.timestamp) for event in events}
        columns = (rows[name].to_pylist() for name in ("visitor_id", "decided_ms", "session_id", "decision_point"))
        chosen = [
            (visitor, ms) in moments and (session, point) not in self._decided
            for visitor, ms, session, point in zip(*columns, strict=True)
        ]
        return rows.filter(pa.array(chosen, pa.bool_()))

    def _degraded(self, known: Known, row: Mapping[str, Any]) -> list[str]:
        found = []
        if known.models.champion is None:
            found.append("no model")
        if known.models.uplift is None:
            found.append("no uplift model")
        if time.time() * 1000 - known.built_ms > self.settings.stale_hours * HOUR_MS:
            found.append("stale mart")
        if not known.shop.knows_item(row["item_id"]):
            found.append("unknown item")
        return found

    def _told(self, events: Sequence[Event], new: int, problems: Sequence[str]) -> dict[str, Any]:
        """The answer to a request: the decisions at its events, those taken earlier included."""
        moments = {(event.visitorid, event.timestamp) for event in events}
        found = [
            decision.line()
            for visitor in dict.fromkeys(event.visitorid for event in events)
            for decision in self.latest.get(visitor, ())
            if (visitor, decision.decided_ms) in moments
        ]
        return {
            "accepted": new,
            "repeated": len(events) - new,
            "decisions": found,
            "degraded": list(problems),
        }

    def decisions_of(self, visitor: str) -> list[dict[str, Any]]:
        """The decisions about a visitor, the newest first."""
        return [decision.line() for decision in reversed(self.latest.get(visitor, []))]

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether the service can answer, and what it knows."""
        known = self.known
        if known is None:
            return False, {"ready": False}
        return True, {
            "ready": True,
            "build_number": known.build_number,
            "model_version": known.models.name[0],
            "uplift_version": known.models.name[1],
            "missing": list(known.models.missing),
            "dry_run": self.settings.dry_run,
            "stopped": self.settings.stop_file.exists(),
            "waiting": self._queue.qsize(),
            "events_not_built": len(self._new),
        }


def _money(value: Decimal | None) -> Decimal | None:
    return None if value is None else value.quantize(Decimal("0.0001"))

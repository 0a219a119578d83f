"""What docs/live.md gives a shop to copy works as it stands, in a real browser; `/metrics` is what Prometheus reads."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from live.log import EVENTS
from live_past import Past
from live_server import Client, lines, running
from paths import ROOT
from synthetic_shop import SyntheticShop

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKEN = "sesame-4711"
(SNIPPET,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "live.md").read_text(encoding="utf-8"), re.DOTALL)
DOCUMENTED = "http://127.0.0.1:8321/events"
# A server's script reads its token from the environment and shares its function; a page has neither word.
AS_PAGE = "globalThis.process = {{env: {{FUNNELIFT_LIVE_TOKEN: '{token}'}}}};\n{snippet}\nglobalThis.track = track;"
CALLS = "calls => Promise.all(calls.map(call => track(...call)))"


@pytest.fixture(scope="module")
def past(synthetic_shop: SyntheticShop, tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(synthetic_shop, tmp_path_factory.mktemp("document"))


@pytest.fixture(scope="module")
def served(past: Past, models: Path) -> Iterator[tuple[Client, Path]]:
    settings = replace(past.settings("document", models), token=TOKEN, explore_share=1.0)
    with running(past.config, settings) as (_, client):
        yield client, settings.log


def script(browser: "Browser", port: int, token: str) -> "Page":
    """A page of the service's own origin that runs the document's lines."""
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/healthz")
    assert DOCUMENTED in SNIPPET
    snippet = SNIPPET.replace(DOCUMENTED, f"http://127.0.0.1:{port}/events").replace("export async", "async")
    page.add_script_tag(content=AS_PAGE.format(token=token, snippet=snippet))
    return page


def logged(log: Path, name: str) -> list[tuple[str, str, Any]]:
    """Visitor, event and price of the events of visitors whose name begins so."""
    found = [(line["visitorid"], line["event"], line.get("price")) for line in lines(log, EVENTS)]
    return [event for event in found if event[0].startswith(name)]


def test_the_documents_twenty_lines_track_events_and_say_what_to_show(
    browser: "Browser", served: tuple[Client, Path]
) -> None:
    client, log = served
    page = script(browser, client.port, TOKEN)
    calls: list[list[Any]] = [[f"js{number}", "view", "some"] for number in range(30)]
    calls.append(["js0", "addtocart", "some", {"price": 19.9, "quantity": 1}])
    shown = page.evaluate(CALLS, calls)
    for (visitor, event, *_), is_shown in zip(calls, shown, strict=True):
        decisions = client.ask("GET", f"/decisions/{visitor}")[1]["decisions"]
        assert event != "view" or is_shown == any(row["action"] == "show" for row in decisions), visitor
    assert {True, False} == set(shown)
    found = logged(log, "js")
    assert ("js0", "addtocart", "19.9") in {(visitor, event, str(price)) for visitor, event, price in found}
    assert len(found) == len(calls)
    page.close()


def test_the_documents_lines_show_nothing_where_the_service_refuses_or_is_gone(
    browser: "Browser", served: tuple[Client, Path]
) -> None:
    client, log = served
    page = script(browser, client.port, "wrong")
    calls = [[f"refused{number}", "view", "some"] for number in range(10)]
    assert not any(page.evaluate(CALLS, calls))
    page.route("**/events", lambda route: route.abort())
    assert not any(page.evaluate(CALLS, calls))
    assert logged(log, "refused") == []
    page.close()


def test_a_repeat_after_a_lost_answer_counts_once(browser: "Browser", served: tuple[Client, Path]) -> None:
    client, log = served
    page = script(browser, client.port, TOKEN)
    lost: list[int] = []

    def lose_the_first(route: Any) -> None:
        answer = route.fetch()
        lost.append(answer.status)
        route.abort() if len(lost) == 1 else route.fulfill(response=answer)

    page.route("**/events", lose_the_first)
    assert len(page.evaluate(CALLS, [["lost", "view", "some"]])) == 1
    assert lost == [200, 200]
    assert len(logged(log, "lost")) == 1
    page.close()


def test_prometheus_can_read_the_metrics_and_they_count(served: tuple[Client, Path]) -> None:
    client, _ = served
    before = samples(client)
    for number in range(3):
        assert client.send({"visitorid": f"m{number}", "event": "view", "itemid": "some"})[0] == 200
    assert client.send({"visitorid": "m", "event": "nonsense", "itemid": "some"})[0] == 422
    after = samples(client)
    counted = {name: after[name] - before.get(name, 0) for name in after}
    assert counted["live_events_total", ()] == 3
    assert counted["live_answers_total", (("status", "200"),)] == 3
    assert counted["live_answers_total", (("status", "422"),)] == 1
    assert counted["live_answer_seconds_count", ()] == 4
    assert counted["live_answer_seconds_bucket", (("le", "+Inf"),)] == 4
    assert counted["live_failures_total", ()] == 0
    assert sum(more for (name, _), more in counted.items() if name == "live_decisions_total") == 3


def samples(client: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What `/metrics` says, read by Prometheus' own parser: a value by name and labels."""
    families = list(text_string_to_metric_families(client.ask("GET", "/metrics")[1]))
    assert all(family.documentation and family.type != "unknown" for family in families)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }

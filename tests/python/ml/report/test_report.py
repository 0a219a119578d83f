"""The offline report in a real browser: what it shows is what SQL says, without network, for every kind of reader."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ml_mart
from bi.measures import evaluate, page_measures
from compiled import World, create_raw_tables, insert_raw, run_dbt
from ml import monitor, train
from ml.cli import Progress
from ml.report import page as report
from training import QUICK, Place, quick_settings
from warehouse.base import Warehouse
from warehouse.errors import FunneliftError
from warehouse.open import open_warehouse
from worlds import synthetic_world

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMED = {measure.name: measure for measure in page_measures()}
MEASURED = ("funnel", "risk", "uplift", "roi")
PAGES = (*MEASURED, "health")
# A shop may call a category what it likes.
EVIL = "<script>document.title='owned'</script><b>&amp;'\"</b>"
MB = 1_000_000


def built(folder: Path, world: World, *, is_synthetic: bool = True) -> Place:
    database = folder / "warehouse.duckdb"
    with duckdb.connect(database) as connection:
        create_raw_tables(connection)
        insert_raw(connection, world)
        connection.execute("update funnelift_raw.raw_loads set is_synthetic = ?", [is_synthetic])
    outcome = run_dbt("run", database=database)
    assert outcome.success, outcome.errors
    (folder / "quick.json").write_text(json.dumps(QUICK))
    shutil.copy(folder / "target" / "manifest.json", folder / "manifest.json")
    return Place(folder)


def written(place: Place) -> Path:
    report.report(place.config(), Progress())
    return place.folder / "results" / "report.html"


# The report of a whole shop, or of one that a test makes.
pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Place:
    world = synthetic_world(12_000)
    named = [row.value for row in world.properties if row.property == "categoryid"]
    common = max(set(named), key=named.count)
    properties = [
        row._replace(value=EVIL) if (row.property, row.value) == ("categoryid", common) else row
        for row in world.properties
    ]
    place = built(tmp_path_factory.mktemp("report"), replace(world, properties=properties))
    (place.folder / "quick.json").write_text(
        json.dumps(QUICK | {"monitoring": {"window_days": 60, "min_positives": 5, "min_rows": 20}})
    )
    train.train(place.config(), Progress())
    # As if half of the test rows had come later, with prices that have risen.
    place.execute(
        "update funnelift.conversion_predictions set dataset_split = 'new' "
        "where dataset_split = 'test' and hash(visitor_id) % 2 = 0"
    )
    place.execute(
        "update funnelift.session_features as features set item_price = 9 * item_price "
        "from funnelift.conversion_predictions as p where features.session_id = p.session_id "
        "and features.decision_point = p.decision_point and p.dataset_split = 'new'"
    )
    assert monitor.monitor(place.config(), Progress()).code == monitor.EXIT_DRIFT
    return place


@pytest.fixture(scope="module")
def html(trained: Place) -> Path:
    """What the monitoring after the training wrote."""
    return trained.folder / "results" / "report.html"


@pytest.fixture(scope="module")
def warehouse(trained: Place) -> Iterator[Warehouse]:
    with open_warehouse(trained.config()) as opened:
        yield opened


@contextmanager
def reading(browser: "Browser", path: Path, **context: Any) -> "Iterator[Page]":
    """The report as a reader has it, who then sees no error and has asked the network for nothing."""
    page = browser.new_page(viewport={"width": 1366, "height": 900}, **context)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((path.as_uri(), "data:")) else complaints.append(asked.url),
    )
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")
    yield page
    page.close()
    assert complaints == []


@pytest.fixture(scope="module")
def page(browser: "Browser", html: Path) -> "Iterator[Page]":
    with reading(browser, html) as opened:
        yield opened


def cards(page: "Page", name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.eval_on_selector_all(
        f"#{name} [data-measure]",
        """nodes => nodes.map(({ dataset, textContent }) => ({ measure: dataset.measure, text: textContent,
            where: JSON.parse(dataset.where), parameters: JSON.parse(dataset.parameters ?? "{}"),
            value: dataset.value === "" ? null : Number(dataset.value) }))""",
    )
    return found


def assert_cards_are_sql(page: "Page", name: str, warehouse: Warehouse) -> dict[str, Any]:
    """Every number of a page is what its measure says under the page's filters; returned by measure."""
    shown = cards(page, name)
    assert shown
    for card in shown:
        where = {column: days(allowed) for column, allowed in card["where"].items()}
        (row,) = evaluate(warehouse, NAMED[card["measure"]], where=where, parameters=card["parameters"])
        if card["value"] is None:
            assert card["text"] in ("none", "not defined") or card["measure"].startswith("Median")
        else:
            assert float(row["value"] or 0) == pytest.approx(card["value"], rel=1e-6, abs=1e-6), card
    return {card["measure"]: card["value"] for card in shown}


def days(allowed: Any) -> list[Any]:
    if isinstance(allowed, list):
        return allowed
    first, last = date.fromisoformat(allowed["from"]), date.fromisoformat(allowed["to"])
    return [first + timedelta(days=day) for day in range((last - first).days + 1)]


def choose(page: "Page", name: str, **values: str) -> None:
    for control, value in values.items():
        field = page.locator(f"#{name}-filters [name={control}]")
        if field.evaluate("node => node.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def undrawn(page: "Page") -> list[str]:
    """Titles of the charts that show no data."""
    found: list[str] = page.eval_on_selector_all(
        "main > section:not(.away) figure",
        """nodes => nodes.filter(node => ![...node.querySelectorAll('.plot .trace path, .plot .point path')]
            .some(path => path.getBBox().width + path.getBBox().height > 1)).map(node => node.id)""",
    )
    return found


def test_every_chart_is_drawn_and_has_a_table(page: "Page") -> None:
    for name in PAGES:
        page.click(f"#{name}-tab")
        assert undrawn(page) == []
        assert page.locator(f"#{name} figure").count() >= 1
        for figure in page.locator(f"#{name} figure").all():
            figure.locator("summary").click()
            assert figure.locator("tbody tr").count() >= 1
            assert figure.locator("[role=img]").get_attribute("aria-label")
    assert page.title() == "Funnelift report (simulated effects) (synthetic data)"


def test_the_numbers_are_those_of_the_measures(page: "Page", warehouse: Warehouse) -> None:
    for name in MEASURED:
        page.click(f"#{name}-tab")
        assert_cards_are_sql(page, name, warehouse)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("funnel", {"visitor": "returning"}),
        ("funnel", {"from": "2015-06-01", "to": "2015-07-31"}),
        ("funnel", {"category": "0"}),
        ("funnel", {"visitor": "new", "from": "2015-06-15", "category": "1"}),
        ("risk", {"point": "engaged"}),
        ("risk", {"point": "engaged", "visitor": "new"}),
        ("risk", {"visitor": "returning", "category": "0"}),
        ("risk", {"from": "2015-09-01"}),
        ("uplift", {"visitor": "returning"}),
        ("uplift", {"visitor": "new", "category": "0"}),
        ("roi", {"share": "20"}),
        ("roi", {"cost": "0"}),
        ("roi", {"share": "40", "cost": "2.5", "revenue": "80"}),
    ],
)
def test_filters_change_the_numbers_to_what_sql_says(
    page: "Page", warehouse: Warehouse, name: str, values: dict[str, str]
) -> None:
    page.click(f"#{name}-tab")
    before = cards(page, name)
    choose(page, name, **values)
    assert cards(page, name) != before
    assert_cards_are_sql(page, name, warehouse)
    assert undrawn(page) == []
    page.click(f"#{name}-filters button")
    assert cards(page, name) == before


def test_the_risk_page_opens_where_most_cart_value_is_at_risk(page: "Page", warehouse: Warehouse) -> None:
    page.click("#risk-tab")
    most = warehouse.query(
        """
        select decision_point from funnelift.bi_session_decisions
        where is_out_of_sample = 1 and is_latest = 1
        group by decision_point order by sum(abandoned_value_at_risk) desc limit 1
        """
    )
    assert page.locator("#risk select[name=point]").input_value() == most[0]["decision_point"]


def test_whom_the_offer_changes_is_said_in_words(page: "Page", warehouse: Warehouse) -> None:
    page.click("#uplift-tab")
    groups = warehouse.query("select rule, n_rows from funnelift.uplift_groups order by group_number")
    rows = page.locator("#uplift-whom tbody tr")
    assert rows.count() == len(groups) > 0
    for place, group in enumerate(groups):
        assert group["rule"] in rows.nth(place).inner_text()
        assert f"{group['n_rows']:,}" in rows.nth(place).inner_text()
    profile = warehouse.query("select words from funnelift.uplift_profile order by difference_rank limit 10")
    shown = page.locator("#uplift-profile tbody tr")
    assert shown.count() == len(profile) > 0
    assert all(row["words"] in shown.nth(place).inner_text() for place, row in enumerate(profile))


def test_the_interval_of_a_what_if_is_the_measures(page: "Page", warehouse: Warehouse) -> None:
    page.click("#roi-tab")
    choose(page, "roi", share="35", cost="3", revenue="70")
    asked: dict[str, float | None] = {"share": 35, "cost": 3, "revenue": 70}
    ends = [
        evaluate(warehouse, NAMED[f"What-if profit {end}"], parameters=asked)[0]["value"] for end in ("lower", "upper")
    ]
    line = page.locator("#roi .card", has_text="Profit in").locator(".small").first.inner_text()
    shown = [float(number.replace(",", "")) for number in re.findall(r"-?[\d,]+(?:\.\d+)?", line)[1:]]
    assert shown == pytest.approx(ends, rel=5e-3, abs=0.6)


def test_model_health_is_what_the_last_monitoring_found(page: "Page", warehouse: Warehouse) -> None:
    page.click("#health-tab")
    (run,) = warehouse.query("select * from funnelift.drift_runs")
    verdict = page.locator("#health-notes .verdict").inner_text()
    assert f"Drift: {run['alarm_count']} alarm" in verdict
    for alarm in json.loads(run["alarms_json"]):
        assert alarm in page.locator("#health-notes").inner_text()
    numbers = {
        row["metric"]: f"{row['value']:.3f}"
        for row in warehouse.query("select metric, value from funnelift.drift_performance where period = 'window'")
    }
    shown = page.locator("#health-cards .big").all_inner_texts()
    assert shown[1:4] == [numbers[name] for name in ("auc_roc", "observed_to_expected", "normalised_log_loss")]
    assert f"{run['n_positives']:,} bought" in page.locator("#health-cards").inner_text()
    (moved,) = warehouse.query(
        "select psi, psi_limit from funnelift.drift_features where period = 'window' and feature = 'item_price'"
    )
    figure = page.locator("#health-features")
    if not figure.locator("details[open]").count():
        figure.locator("summary").click()
    row = figure.locator("tbody tr", has_text="item_price").first.inner_text()
    assert f"{moved['psi']:.3f}" in row
    assert f"{moved['psi_limit']:.3f}" in row
    # A word beside each colour.
    assert "Alarm" in row
    assert "item_price" in page.locator("#health-bins").inner_text()


def test_shop_texts_stay_texts(page: "Page", html: Path) -> None:
    assert EVIL not in html.read_text(encoding="utf-8")
    page.click("#funnel-tab")
    options = page.locator("#funnel-filters [name=category] option").all_inner_texts()
    assert EVIL in options
    page.locator("#funnel-filters [name=category]").select_option(label=EVIL)
    assert page.title().startswith("Funnelift")
    assert page.locator("main script, main b").count() == 0
    assert "&lt;script" in page.locator("#funnel-categories svg").first.inner_html()
    page.click("#funnel-filters button")


def test_a_keyboard_reaches_every_control(page: "Page") -> None:
    # Whatever page an earlier test left open.
    page.click("#funnel-tab")
    page.focus("#funnel-tab")
    for place, name in enumerate(PAGES):
        assert page.evaluate("document.activeElement.id") == f"{name}-tab"
        assert page.locator("main > section:not(.away)").get_attribute("id") == name
        wanted = page.locator(f"#{name} :is(input, select, button, summary):visible").count()
        reached = set()
        for _ in range(4 * wanted + 20):
            page.keyboard.press("Tab")
            at = page.evaluate(
                """name => { const all = [...document.querySelectorAll(`#${name} :is(input, select, button, summary)`)];
                    return [all.indexOf(document.activeElement), document.activeElement.tagName]; }""",
                name,
            )
            reached.add(at[0])
            if at[1] == "BODY":
                break
        assert len(reached - {-1}) == wanted
        page.focus(f"#{name}-tab")
        if place + 1 < len(PAGES):
            page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.id") == "funnel-tab"


def test_it_opens_at_its_top_and_a_link_opens_its_page(browser: "Browser", html: Path) -> None:
    with reading(browser, html) as page:
        assert page.evaluate("scrollY") == 0
        page.click("#risk-tab")
        page.reload()
        page.wait_for_selector("html[data-ready]", state="attached")
        assert page.locator("main > section:not(.away)").get_attribute("id") == "risk"
        assert page.evaluate("scrollY") == 0


def test_every_control_has_a_name(page: "Page") -> None:
    for name in PAGES:
        page.click(f"#{name}-tab")
        assert page.eval_on_selector_all(
            f"#{name} :is(input, select)", "nodes => nodes.every(node => node.labels[0]?.textContent.trim())"
        )
    assert page.locator("[role=tabpanel]").count() == len(PAGES)


def test_dark_and_light(browser: "Browser", html: Path) -> None:
    def paper(page: "Page") -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    with reading(browser, html, color_scheme="dark") as page:
        assert paper(page) < 150
        ink = page.eval_on_selector("#funnel-steps .xtick text", "node => node.style.fill")
        assert sum(map(int, re.findall(r"\d+", ink))) > 500
        page.click("#theme")
        assert paper(page) > 600
        assert undrawn(page) == []


def test_print_shows_all_pages_and_no_controls(browser: "Browser", html: Path) -> None:
    with reading(browser, html) as page:
        pdf = page.pdf(prefer_css_page_size=True, print_background=True)
        assert 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 14
        page.emulate_media(media="print")
        for name in PAGES:
            assert page.locator(f"#{name} h2").is_visible()
            assert page.locator(f"#{name} .mark").is_visible()
            assert page.locator(f"#{name} figure svg.main-svg").count() >= 1
        assert page.locator(":is(.tabs, .tools, .filters, figure details, .card details):visible").count() == 0


def test_one_file_without_network(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    markup = text.split('<script type="application/json"')[0]
    assert re.findall(r"""<(?:script|img|link|iframe)[^>]*(?:src|href)=["']?([^"' >]*)""", markup) == ["data:,"]
    assert len(text.encode()) < 8 * MB


def test_made_up_things_are_called_so(page: "Page") -> None:
    assert "SIMULATED EFFECTS, SYNTHETIC DATA" in page.locator(".banner").inner_text()
    for name in ("uplift", "roi"):
        page.click(f"#{name}-tab")
        assert page.locator(".banner").is_visible()
        for title in page.locator(f"#{name} figure h3").all_inner_texts():
            assert "simulated" in title or title == "Four kinds of shopper"


def test_real_data_and_a_real_experiment_have_no_banner(trained: Place, browser: "Browser", tmp_path: Path) -> None:
    place = copied(trained, tmp_path)
    for table in ("uplift_runs", "uplift_scores", "roi_projection", "uplift_metrics", "uplift_deciles"):
        place.execute(f"update funnelift.{table} set is_simulated = false")
    place.execute("update funnelift.dataset_summary set is_synthetic = 0")
    with reading(browser, written(place)) as page:
        assert page.locator(".banner").count() == 0
        assert page.title() == "Funnelift report"
        page.click("#roi-tab")
        assert "simulated" not in page.locator("#roi").inner_text().lower()
        assert "measured" in page.locator("#roi").inner_text()


def test_money_shows_policies_beside_each_other(trained: Place, browser: "Browser", tmp_path: Path) -> None:
    place = copied(trained, tmp_path)
    train.train(place.config(**{"experiment.outcome": "revenue"}), Progress(), only="uplift")
    policies = place.rows("select * from funnelift.policy_values order by policy_number")
    with reading(browser, written(place)) as page:
        page.click("#roi-tab")
        rows = page.locator("#roi-challengers tbody tr")
        shown = [row.split("\t")[0].lower() for row in rows.all_inner_texts()]
        assert shown == [str(row["policy"]).lower() for row in policies]
        (chosen,) = [row for row in policies if row["is_chosen"]]
        assert f"Chosen: {chosen['policy']}." in page.locator("#roi-notes .verdict").inner_text()
        assert "--only policy" not in page.locator("#roi").inner_text()
        page.click("#uplift-tab")
        assert "Revenue that treating everybody adds (simulated)" in page.locator("#uplift-cards").inner_text()
        assert page.locator("#uplift-deciles svg").count() >= 1
        assert page.locator("#uplift-rankings tbody tr").count() == 0


# Of three visitors in ten the policy said show, and they had the higher chance.
LIVE_ARMS = """
create or replace table funnelift.stg_treatment_assignments as
select visitor_id, 1 as assignment_count, cast(hash(visitor_id || 'arm') % 100 < 100 * propensity as integer) as
    treatment, stratum, propensity, cast(null as varchar) as offer, 0 as has_conflict, assigned_ms,
    make_timestamp(assigned_ms * 1000) as assigned_at
from (
    select visitor_id, min(decided_ms) as assigned_ms, if(hash(visitor_id) % 10 < 3, 'policy shows', 'policy holds') as
        stratum, if(hash(visitor_id) % 10 < 3, 0.8, 0.3) as propensity
    from funnelift.session_features where decision_point = 'landing' group by visitor_id
)
"""
LIVE_MEANS = """
select stratum, treatment, count(*) as visitors, sum(is_mature) as n, sum(has_transaction * is_mature) / sum(is_mature)
    as mean
from funnelift.stg_treatment_assignments
inner join (
    select visitor_id, arg_min(has_transaction, decided_ms) as has_transaction, arg_min(is_mature, decided_ms) as
        is_mature
    from funnelift.session_features where decision_point = 'landing' group by visitor_id
) using (visitor_id)
group by stratum, treatment
"""

OFFER_RATES = """
select offer, sum(has_transaction * is_mature) / sum(is_mature) as rate
from funnelift.stg_treatment_assignments
inner join (
    select visitor_id, arg_min(has_transaction, decided_ms) as has_transaction, arg_min(is_mature, decided_ms) as
        is_mature
    from funnelift.session_features where decision_point = 'landing' group by visitor_id
) using (visitor_id)
group by offer
"""


def test_live_decisions_have_a_page_of_their_own(trained: Place, browser: "Browser", tmp_path: Path) -> None:
    place = copied(trained, tmp_path)
    place.execute(LIVE_ARMS)
    cells = {(row["stratum"], row["treatment"]): row for row in place.rows(LIVE_MEANS)}
    known = sum(cell["n"] for cell in cells.values())
    effect = sum(
        (cells[name, 1]["mean"] - cells[name, 0]["mean"]) * (cells[name, 0]["n"] + cells[name, 1]["n"]) / known
        for name in ("policy shows", "policy holds")
    )
    shown = sum(cell["visitors"] for (_, arm), cell in cells.items() if arm)
    whole = sum(cell["visitors"] for cell in cells.values())
    with reading(browser, written(place)) as page:
        page.click("#live-tab")
        assert page.locator("#live-tab").inner_text() == "Live"
        assert undrawn(page) == []
        text = page.locator("#live-cards").inner_text()
        assert f"{100 * effect:+.2f} pts" in text
        assert f"{shown:,} of {whole:,}" in text
        for figure in page.locator("#live figure").all():
            figure.locator("summary").click()
        rows = page.locator("#live-arms tbody tr").all_inner_texts()
        assert len(rows) == len(cells)
        assert any("80.0 %" in row and "Policy would show" in row for row in rows)
        assert page.locator("#live-effect tbody tr").count() > 20
    place.execute(
        "update funnelift.stg_treatment_assignments set stratum = 'policy holds, 1 by lot', propensity = null, "
        "offer = case when treatment = 1 then if(hash(visitor_id) % 2 = 0, 'coupon <b>', 'call') end"
    )
    rate = {row["offer"]: row["rate"] for row in place.rows(OFFER_RATES)}
    with reading(browser, written(place)) as page:
        page.click("#live-tab")
        assert undrawn(page) == []
        text, said = page.locator("#live-cards").inner_text(), page.locator("#live-notes").inner_text()
        for offer in ("call", "coupon <b>"):
            assert f"Effect of {offer} so far" in text
            assert f"{100 * (rate[offer] - rate[None]):+.2f} pts" in text
            assert offer in said
        for figure in page.locator("#live figure").all():
            figure.locator("summary").click()
        rows = page.locator("#live-arms tbody tr").all_inner_texts()
        assert [row.split("\t")[1] for row in rows] == ["call", "coupon <b>", "Held"]
    place.execute("update funnelift.stg_treatment_assignments set treatment = 1")
    with reading(browser, written(place)) as page:
        page.click("#live-tab")
        assert "No effect can be told yet" in page.locator("#live-notes").inner_text()
        assert page.locator("#live-effect:visible").count() == 0


def test_what_has_not_run_is_named_with_its_command(trained: Place, browser: "Browser", tmp_path: Path) -> None:
    place = copied(trained, tmp_path)
    for table in ("roi_projection", "roi_sensitivity", "roi_gains", "experiment_plan", "ab_test_simulation"):
        place.execute(f"delete from funnelift.{table}")
    with reading(browser, written(place)) as page:
        page.click("#roi-tab")
        assert "python -m ml.train --only policy" in page.locator("#roi").inner_text()
        page.click("#uplift-tab")
        assert page.locator("#uplift-deciles svg").count() >= 1
        assert page.locator("#uplift-candidates tbody tr", has_text="chosen: ").count() == 1
    for table in ("uplift_scores", "uplift_runs", "conversion_predictions", "ml_runs"):
        place.execute(f"delete from funnelift.{table}")
    with reading(browser, written(place)) as page:
        for name in PAGES[1:]:
            page.click(f"#{name}-tab")
            assert "python -m ml.train" in page.locator(f"#{name}").inner_text()
            assert page.locator(f"#{name} :is(figure, .card, .table-block):visible").count() == 0


def test_what_was_not_monitored_is_named_with_its_command(trained: Place, browser: "Browser", tmp_path: Path) -> None:
    place = copied(trained, tmp_path)
    place.execute("update funnelift.drift_runs set champion_run_id = 'an older one', performance_status = 'too few'")
    with reading(browser, written(place)) as page:
        page.click("#health-tab")
        text = page.locator("#health-notes").inner_text()
        assert "A newer model is in use than the one monitored here" in text
        assert "Ranking and calibration are not evaluated" in text
    place.execute("delete from funnelift.conversion_predictions where dataset_split in ('new', 'open')")
    assert monitor.monitor(place.config(), Progress()).code == monitor.EXIT_TOO_FEW
    with reading(browser, written(place)) as page:
        page.click("#health-tab")
        assert "not an all-clear" in page.locator("#health-notes .verdict").inner_text()
        shown = page.locator("#health figure:visible")
        assert [figure.get_attribute("id") for figure in shown.all()] == ["health-calibration"]
    place.execute("drop table funnelift.drift_runs")
    with reading(browser, written(place)) as page:
        page.click("#health-tab")
        assert "python -m ml.monitor" in page.locator("#health").inner_text()
        assert page.locator("#health :is(figure, .card, .table-block):visible").count() == 0


def test_one_day_without_prices_or_purchases(browser: "Browser", tmp_path: Path) -> None:
    world = synthetic_world(3_000)
    day = min(event.timestamp for event in world.events) // 86_400_000 + 20
    events = [e for e in world.events if e.timestamp // 86_400_000 == day and e.event != "transaction"]
    properties = [row for row in world.properties if row.property == "categoryid"]
    place = built(tmp_path, replace(world, events=events, properties=properties), is_synthetic=False)
    with reading(browser, written(place)) as page:
        text = page.locator("#funnel").inner_text()
        for missing in ("one day only", "No session here has a purchase", "No item has a known price"):
            assert missing in text
        assert "python -m ingest load --raw FOLDER" in text
        assert "Value left in carts" not in text
        with open_warehouse(place.config()) as warehouse:
            assert_cards_are_sql(page, "funnel", warehouse)
        page.click("#risk-tab")
        assert "There are no predictions yet" in page.locator("#risk").inner_text()


def test_no_sessions_at_all(browser: "Browser", tmp_path: Path) -> None:
    place = built(tmp_path, World([], [], []), is_synthetic=False)
    with reading(browser, written(place)) as page:
        assert "There are no sessions yet" in page.locator("#funnel").inner_text()


def test_marts_that_were_never_built(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "warehouse.duckdb").close()
    (tmp_path / "quick.json").write_text("{}")
    with pytest.raises(FunneliftError, match="dbt build"):
        written(Place(tmp_path))


def copied(place: Place, folder: Path) -> Place:
    shutil.copytree(place.folder, folder / "copy", ignore=shutil.ignore_patterns("target", "logs"))
    return Place(folder / "copy")


def test_where_the_report_alone_fails_the_message_says_that_the_tables_stand(tmp_path: Path) -> None:
    place = Place(tmp_path)
    ml_mart.write(tmp_path, ml_mart.marts(50, seed=3, buy_rate=0.1))
    quick_settings(tmp_path)
    # The views that the report asks are not there.
    place.execute("create table funnelift.bi_status as select null as warnings_json")
    told = r"(?s)are published, but .*report\.html is not written: .* run `python -m ml.report`"
    with open_warehouse(place.config()) as warehouse, pytest.raises(FunneliftError, match=told):
        report.refresh_report(warehouse, place.config(), Progress())

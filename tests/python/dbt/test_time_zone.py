"""The shop's time zone: local days and hours, daylight saving included, are Python's own on every engine."""

import datetime as dt
from contextlib import closing
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import duckdb
import pytest
from dbt.cli.main import dbtRunner

from compiled import (
    CATALOG,
    ROOT,
    World,
    compile_project,
    create_raw_tables,
    environment,
    parsed_project,
    read,
    run_dbt,
)
from reference import Event
from servers import DatabaseServer
from worlds import HOUR_MS

# Half and three quarter hours, the southern half, savings of half an hour, of a winter, at a minute past midnight, a
# day left out, rules that came and went, no savings at all.
ZONES = [
    *("Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Moscow", "America/New_York", "America/St_Johns"),
    *("America/Sao_Paulo", "America/Noronha", "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Chatham"),
    *("Asia/Kathmandu", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo", "UTC"),
]
SHOP = "America/St_Johns"
LAST = dt.datetime(2037, 12, 1, tzinfo=dt.UTC)
LAST_MS = int(LAST.timestamp() * 1000)


def offset_ms(zone: str, ms: int) -> int:
    moment = dt.datetime.fromtimestamp(ms // 1000, dt.UTC).astimezone(ZoneInfo(zone))
    offset = moment.utcoffset()
    assert offset is not None
    return round(offset.total_seconds() * 1000)


def changes(zone: str) -> list[int]:
    """Every moment at which the zone's offset changes, by looking at every other day and then closer."""
    found = []
    hours = range(0, LAST_MS, 48 * HOUR_MS)
    offsets = [offset_ms(zone, ms) for ms in hours]
    for at in range(1, len(offsets)):
        if offsets[at] != offsets[at - 1]:
            low, high = hours[at - 1], hours[at]
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset_ms(zone, middle) == offsets[at - 1] else (low, middle)
            found.append(high)
    return found


@pytest.fixture(scope="module")
def moments() -> list[int]:
    random = Random(5)
    edges = [ms + by for zone in ZONES for ms in changes(zone) for by in (-1, 0, HOUR_MS)]
    assert len(edges) > 3000
    # Python's zones are local mean time before 1970's first hours in places; those of a shop begin later.
    return sorted({86_400_000, *edges, *(random.randrange(86_400_000, LAST_MS) for _ in range(1000))})


def offsets_sql(engine: dict[str, str], folder: Path) -> str:
    """One query for all zones' offsets and for one's local times, as dbt compiles it for a target."""
    columns = ", ".join(
        f"{{{{ zone_offset_ms('ms', zone_offsets('{zone}')) }}}} as zone_{number}" for number, zone in enumerate(ZONES)
    )
    local = "{{ local_day_number('ms') }}, {{ local_hour('ms') }}, {{ weekday(local_day_number('ms')) }}"
    command = ["--quiet", "compile", "--inline", f"select ms, {local}, {columns} from moments order by ms"]
    command += ["--vars", f"{{shop_time_zone: {SHOP}}}"]
    paths = ["--project-dir", str(ROOT), "--profiles-dir", str(ROOT), "--target-path", str(folder / "target")]
    with environment(**engine):
        outcome = dbtRunner().invoke([*command, *paths, "--log-path", str(folder / "logs")])
    assert outcome.success, outcome.exception
    return str(outcome.result[0].node.compiled_code)  # type: ignore[union-attr, index]


def expected(moments: list[int]) -> list[tuple[int, ...]]:
    found = []
    for ms in moments:
        local = dt.datetime.fromtimestamp(ms // 1000, dt.UTC).astimezone(ZoneInfo(SHOP))
        day = (local.date() - dt.date(1970, 1, 1)).days
        found.append((ms, day, local.hour, local.isoweekday(), *(offset_ms(zone, ms) for zone in ZONES)))
    return found


def test_offsets_are_those_of_python(moments: list[int], tmp_path: Path) -> None:
    path = tmp_path / f"{CATALOG}.duckdb"
    sql = offsets_sql({"FUNNELIFT_TARGET": "duckdb", "FUNNELIFT_DUCKDB_PATH": str(path)}, tmp_path)
    with duckdb.connect() as connection:
        connection.execute("create table moments as select unnest(?::bigint[]) as ms", [moments])
        assert connection.execute(sql).fetchall() == expected(moments)


def test_offsets_on_a_server_are_those_of_python(
    moments: list[int], mysql_server: DatabaseServer, tmp_path: Path
) -> None:
    mysql_server.drop_databases()
    with closing(mysql_server.session()) as session:
        session.execute("create database funnelift")
        sql = offsets_sql(mysql_server.environment, tmp_path)
        session.execute("use funnelift")
        session.execute("create table moments (ms bigint)")
        session.execute("insert into moments values " + ", ".join(f"({ms})" for ms in moments))
        assert [tuple(map(int, row)) for row in session.rows(sql)] == expected(moments)


def test_an_evening_is_of_its_own_day_in_summer_and_in_winter() -> None:
    """Half past midnight in Berlin, in July and in January: 22:30 and 23:30 UTC of the day before."""
    events = [Event(ms, "v", "view", "i") for ms in (1_546_299_000_000, 1_562_020_200_000)]
    connection = compile_project(shop_time_zone="Europe/Berlin").build(World(events, [], []))
    rows = read(connection, "session_features", ["decided_ms"])
    found = [(row["decided_date"], row["decision_hour"]) for _, row in sorted(rows.items())]
    assert found == [(dt.date(2019, 1, 1), 0), (dt.date(2019, 7, 2), 0)]


def test_without_a_zone_the_sql_is_as_it_was() -> None:
    models = {model.name: model.sql for model in compile_project(shop_utc_offset_minutes=-210).models}
    assert "(session_totals.started_ms + -210 * 60000)" in models["sessions"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"shop_time_zone": "Europe/Berlim"}, 'there is no time zone "Europe/Berlim"; give its IANA name'),
        ({"shop_time_zone": "europe/berlin"}, 'there is no time zone "europe/berlin"'),
        ({"shop_time_zone": 60}, "shop_time_zone must be the name of a time zone"),
        ({"shop_time_zone": "Europe/Berlin", "shop_utc_offset_minutes": 60}, "are both set"),
    ],
)
def test_a_zone_that_cannot_be_is_refused_by_the_name_of_the_setting(
    settings: dict[str, object], complaint: str, tmp_path: Path
) -> None:
    database = tmp_path / f"{CATALOG}.duckdb"
    with duckdb.connect(str(database)) as connection:
        create_raw_tables(connection)
    for command in (["run-operation", "config_check"], ["run", "--select", "sessions"]):
        outcome = run_dbt(*command, database=database, manifest=parsed_project().deepcopy(), **settings)
        assert not outcome.success
        assert complaint in outcome.errors
        assert "shop_time_zone" in outcome.errors

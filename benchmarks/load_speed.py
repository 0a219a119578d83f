"""`python -m benchmarks.load_speed`: loading other shops' files beside DuckDB's own readers, into a DuckDB file each.

DuckDB reads each file into a table as it finds it. A load also hashes the file, checks every cell, keeps rejects with
their lines, and converts times, prices and categories.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import duckdb

from benchmarks.measure import ROOT, Measured, measure

_MOMENT = "make_timestamp((1569888000 + i * 0.6)::bigint * 1000000)"
_CATEGORY = "['electronics.smartphone', 'electronics.audio.headphone', 'furniture.living', NULL][1 + draw(i, 2, 4)]"
CSV = f"""
    select strftime({_MOMENT}, '%Y-%m-%d %H:%M:%S UTC') as event_time,
        case when draw(i, 1, 100) < 94 then 'view' when draw(i, 1, 100) < 98 then 'cart' else 'purchase' end
            as event_type,
        1000000 + draw(i, 2, 200000) as product_id, 2053013550000000000 + draw(i, 2, 700) as category_id,
        {_CATEGORY} as category_code, 'brand' || draw(i, 2, 900) as brand,
        round(draw(i, 2, 90000) / 100, 2) as price, 512000000 + draw(i // 5, 3, 900000) as user_id,
        uuid()::varchar as user_session
    from range($rows) as lines(i)
"""
_PRODUCT = """{'product_id': 'P' || draw(i, 2 + n, 20000), 'name': 'Product ' || draw(i, 2 + n, 20000),
    'price': round(draw(i, 2 + n, 90000) / 100, 2), 'quantity': 1 + n, 'category': 'Games'}"""
SEGMENT = f"""
    select 'm' || i as "messageId", strftime({_MOMENT}, '%Y-%m-%dT%H:%M:%S.123Z') as timestamp, 'track' as type,
        'a' || draw(i // 5, 3, 90000) as "anonymousId",
        ['Product Viewed', 'Product Added', 'Order Completed'][1 + draw(i, 1, 3)] as event,
        {{'ip': '10.0.0.1', 'page': {{'url': 'https://shop.example/p/' || i, 'title': 'A product'}}}} as context,
        {{'order_id': 'o' || i, 'currency': 'EUR', 'products': list_transform(range(1 + draw(i, 4, 3)),
            lambda n: {_PRODUCT})}} as properties
    from range($rows) as lines(i)
"""
_ITEM = """{'item_id': 'P' || draw(i, 2 + n, 20000), 'item_name': 'Product', 'item_category': 'Games',
    'price': round(draw(i, 2 + n, 90000) / 100, 2), 'quantity': 1 + n}"""
GA4 = f"""
    select strftime({_MOMENT}, '%Y%m%d') as event_date, (1569888000 + i)::bigint * 1000000 as event_timestamp,
        ['view_item', 'add_to_cart', 'purchase'][1 + draw(i, 1, 3)] as event_name,
        [{{'key': 'ga_session_id', 'value': {{'int_value': i, 'string_value': NULL}}}},
            {{'key': 'page_title', 'value': {{'int_value': NULL, 'string_value': 'A product'}}}}] as event_params,
        (draw(i // 5, 3, 90000))::varchar || '.' || (draw(i // 5, 5, 90000))::varchar as user_pseudo_id,
        {{'transaction_id': 't' || i}} as ecommerce,
        list_transform(range(1 + draw(i, 4, 3)), lambda n: {_ITEM}) as items
    from range($rows) as lines(i)
"""
# Name: the query of the lines, how they are written, the mapping, and DuckDB's reader.
FILES = {
    "rees46.csv": (CSV, "(header)", "rees46.yml", "read_csv"),
    "segment.jsonl": (SEGMENT, "(format json)", "segment.yml", "read_json"),
    "ga4.jsonl": (GA4, "(format json)", "ga4.yml", "read_json"),
}


def main() -> None:
    """Parse the command line, load each file both ways in turn, and print the fastest of each and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="lines of CSV (default: %(default)s)")
    parser.add_argument("--json-rows", type=int, default=1_000_000, help="lines of JSON each (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each way is run (default: %(default)s)")
    parser.add_argument("--only", choices=FILES, help="one file alone")
    parser.add_argument("--scratch", type=Path, help="folder for the data (default: a temporary one)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.scratch) as folder:
        for name, (query, options, mapping, reader) in FILES.items():
            if args.only not in (None, name):
                continue
            file = Path(folder) / name
            rows = args.json_rows if reader == "read_json" else args.rows
            duckdb.execute("create or replace macro draw(of, seed, below) as (hash(of, seed) % below)::bigint")
            duckdb.execute(f"copy ({query}) to '{file}' {options}", {"rows": rows})
            ours, plain = compare(file, mapping, reader, args.repeats)
            print(f"{name}, {rows:,} lines, {file.stat().st_size / 1e6:,.0f} MB")
            for each in (ours, plain):
                print(f"  {each.name}: {each.seconds:.2f} s, {each.cpu_seconds:.1f} s CPU, {each.peak_gb:.2f} GB")
            print(f"  {plain.seconds / ours.seconds:.2f} of the speed of {reader}")
            file.unlink()


def compare(file: Path, mapping: str, reader: str, repeats: int) -> tuple[Measured, Measured]:
    """Load a file both ways in turn; returns the fastest run of each."""
    warehouse, plain = file.with_name("ours.duckdb"), file.with_name("plain.duckdb")
    command = [
        sys.executable,
        "-m",
        "ingest",
        "load",
        "--raw",
        str(file),
        "--mapping",
        str(ROOT / "examples" / mapping),
    ]
    code = f"import duckdb; duckdb.connect('{plain}').execute(\"create table t as from {reader}('{file}')\")"
    found: tuple[list[Measured], list[Measured]] = ([], [])
    for _ in range(repeats):
        for place in (warehouse, plain):
            place.unlink(missing_ok=True)
        environment = {"FUNNELIFT_DUCKDB_PATH": str(warehouse)}
        found[0].append(measure(f"ingest load of {file.name}", command, environment))
        found[1].append(measure(f"{reader} of {file.name}", [sys.executable, "-c", code], {}))
    ours, others = (min(each, key=lambda one: one.seconds) for each in found)
    return ours, others


if __name__ == "__main__":
    main()

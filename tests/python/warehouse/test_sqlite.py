"""SQL that was written for DuckDB, as SQLite reads it."""

import sqlite3

import pytest

from warehouse.sqlite import UnportableError, add_functions, in_units, portable


def test_what_differs_between_the_engines_is_put_right_in_the_text() -> None:
    found = portable(
        "select cast(cast(a as decimal(28, 4)) * cast(least(b, (c)) as decimal(18, 4)) as decimal(18, 4)), "
        'd // 7, cast(\'0.1\' as double), date \'1970-01-01\' + cast(e as integer) from "live"."funnelift"."t"'
    )
    assert found == (
        "select to_amount(to_amount(a) * to_amount(least(b, (c)))), d / 7, to_double('0.1'), cast(e as integer) from t"
    )
    with pytest.raises(UnportableError):
        portable("select try_cast(a as decimal(18, 4))")


def test_sums_of_prices_become_amounts_where_they_become_doubles() -> None:
    assert in_units("select cast(price_sum_28d as double) / n") == "select of_units(price_sum_28d) / n"
    with pytest.raises(UnportableError):
        in_units("select cast(another_sum as double)")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("to_amount(0.1 + 0.2)", 0.3),
        ("to_amount(3.0)", 3),
        ("to_amount(null)", None),
        ("to_double('0.16799999999999998')", 0.16799999999999998),
        ("least(3, null, 2)", 2),
        ("concat('a', null, 7)", "a7"),
        ("of_units(199900)", 19.99),
        ("of_units(null)", None),
    ],
)
def test_functions_that_sqlite_lacks_answer_as_duckdb_does(asked: str, answer: object) -> None:
    connection = sqlite3.connect(":memory:")
    add_functions(connection)
    found = connection.execute(f"select {asked}").fetchone()[0]
    assert (found, type(found)) == (answer, type(answer))

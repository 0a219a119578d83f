"""What an order pays: its lines, once, however often and by whomever it is sent."""

from decimal import Decimal

import pytest

from compiled import World, compile_project
from reference import Event
from worlds import MIDNIGHT_MS

SHIRT = Event(MIDNIGHT_MS, "v", "transaction", "shirt", "o1", Decimal("10.0000"))
SECOND = SHIRT._replace(timestamp=MIDNIGHT_MS + 1_000)
BACK = Event(MIDNIGHT_MS + 60_000, "v", "refund", "shirt", "o1")
ORDERS: dict[str, tuple[list[Event], str]] = {
    "two lines with ids": ([SHIRT._replace(event_id="o1/1"), SHIRT._replace(event_id="o1/2")], "20"),
    "sent again with new ids": ([SHIRT._replace(event_id="a"), SECOND._replace(event_id="b")], "10"),
    "two lines, sent again with new ids": (
        [event._replace(event_id=f"{n}") for n, event in enumerate([SHIRT, SHIRT, SECOND, SECOND])],
        "20",
    ),
    "two lines, sent again by another one": (
        [
            event._replace(event_id=f"{n}", visitorid="vvww"[n])
            for n, event in enumerate([SHIRT, SHIRT, SECOND, SECOND])
        ],
        "20",
    ),
    "two equal entries of one list": ([SHIRT, SHIRT._replace(event_id="said/2")], "20"),
    "two equal lines without ids": ([SHIRT, SHIRT], "10"),
    "two sizes at two prices": ([SHIRT, SHIRT._replace(price=Decimal("12.0000"))], "22"),
    "one at full price, two more beside it": ([SHIRT, SHIRT._replace(quantity=Decimal("2.0000"))], "30"),
    "exported again with its category": ([SHIRT, SHIRT._replace(categoryid="clothes")], "10"),
    "sent again at another price": ([SHIRT, SECOND._replace(price=Decimal("12.0000"))], "10"),
    "no order ids": ([SHIRT._replace(transactionid=None), SECOND._replace(transactionid=None)], "20"),
    "the item comes back": ([SHIRT._replace(event_id="1"), SHIRT._replace(event_id="2"), BACK], "0"),
    "one of two comes back": (
        [SHIRT._replace(event_id="1"), SHIRT._replace(event_id="2"), BACK._replace(quantity=Decimal("1.0000"))],
        "10",
    ),
    "the dearer one may have come back": (
        [SHIRT, SHIRT._replace(price=Decimal("12.0000")), BACK._replace(quantity=Decimal("1.0000"))],
        "10",
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_pays_its_lines_once(name: str) -> None:
    """All lines of its first moment count; two are one where nothing tells them apart. The rest is the order again."""
    events, revenue = ORDERS[name]
    warehouse = compile_project().build(World(events, [], []), until="session_funnels")
    found = warehouse.execute("select sum(revenue), sum(has_transaction) from funnelift.session_funnels").fetchone()
    assert found == (Decimal(revenue), 1)

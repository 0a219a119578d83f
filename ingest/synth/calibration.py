"""What is published about the RetailRocket data set, and what was chosen so that a synthetic copy has its shape.

Every constant is an aggregate, never a row of the data set. Sources: "facts" are the full data set's counts and the
quantiles of a public sample of 1,500 visitors; other names are files of a third-party analysis of the same data,
whose hours and weekdays are UTC+6.
"""

from math import log

# --- facts -----------------------------------------------------------------------------------------------------------
VISITORS = 1_407_580
PERIOD_START_MS = 1_430_622_000_000  # 2015-05-03 03:00 UTC
PERIOD_END_MS = 1_442_545_200_000  # 2015-09-18 03:00 UTC
PUBLISHED_OFFSET_MS = 6 * 3_600_000
ITEMS_WITH_PROPERTIES = 417_053
ITEMS_SEEN = 235_061
ITEMS = 466_867  # seen or with properties: ids run from 0 to 466,866
ITEMS_WITHOUT_PROPERTIES = 1 - ITEMS_WITH_PROPERTIES / ITEMS
CATEGORIES = 1_669
ROOT_CATEGORIES = 25
CATEGORY_ID_RANGE = 1_699
CATEGORIES_BY_DEPTH = (25, 174, 702, 665, 90, 13)
CATEGORIES_BY_ROOT = (
    290, 187, 154, 135, 130, 120, 101, 97, 70, 66, 51, 47, 45, 45, 41, 17, 16, 14, 10, 10, 9, 5, 4, 4, 1,
)  # fmt: skip
FIRST_SNAPSHOT_MS = 1_431_226_800_000  # 2015-05-10 03:00 UTC, then weekly
SNAPSHOTS = 19  # up to the one of 2015-09-13
EXACT_DUPLICATE_SHARE = 460 / 2_756_101
PROPERTY_PART1_SHARE = 0.5425

# --- category_analysis.csv -------------------------------------------------------------------------------------------
SEEN_CATEGORIES = 1_086
CATEGORY_VIEWS_BY_RANK = (
    (1, 73014), (10, 26701), (50, 10251), (100, 6103), (200, 2935), (300, 1893), (500, 575), (800, 82), (1086, 1),
)  # fmt: skip
ROOT_VIEW_SHARES = (
    0.2889, 0.1358, 0.1346, 0.1125, 0.0870, 0.0747, 0.0396, 0.0371, 0.0335, 0.0141, 0.0138, 0.0071, 0.0055,
    0.0045, 0.0038, 0.0033, 0.0032, 0.0007, 0.0003, 0.0001, 0.0001, 0.0001, 0.0001, 0.0001, 0.0001,
)  # fmt: skip

# --- time_series_data.csv, funnel_summary.csv, conversion_metrics.csv, cart_abandonment.csv ---------------------------
SESSIONS_BY_DAY = (  # 2015-05-03 .. 2015-09-18
    4535, 11096, 13346, 14506, 14400, 13070, 9889, 7192, 9460, 12177, 14388, 14708, 14186, 13008, 12511, 14941,
    16730, 15471, 13990, 13458, 11431, 10777, 13018, 15298, 13118, 13976, 13449, 11574, 10071, 12396, 14976, 14382,
    14164, 13578, 11376, 10140, 11604, 14326, 14905, 14474, 11281, 9189, 7187, 11459, 14625, 14942, 14124, 13368,
    10550, 9429, 11994, 14069, 13971, 12783, 12748, 10837, 10128, 12747, 14042, 13302, 13149, 13193, 11148, 9622,
    11678, 14832, 14865, 15293, 15664, 15164, 16168, 15428, 17041, 17361, 14310, 13684, 11765, 10578, 14544, 15686,
    14895, 13893, 15284, 16030, 18232, 18670, 14429, 14784, 14523, 12758, 11611, 10127, 11589, 14750, 13317, 14142,
    13249, 10375, 8889, 10191, 12494, 13202, 13711, 11857, 10093, 9200, 11730, 14304, 13301, 12889, 11867, 10858,
    9343, 11110, 13122, 12546, 12661, 13164, 11248, 9959, 11774, 12180, 11867, 12223, 12295, 10542, 9528, 11584,
    13738, 13720, 14557, 14945, 11715, 11115, 12991, 14428, 9136, 6968, 3584,
)  # fmt: skip
VISITORS_BY_HOUR = (
    110287, 111976, 113677, 112029, 107935, 98694, 89567, 88915, 92636, 96539, 93458, 75804,
    49570, 28440, 16918, 12318, 11489, 14347, 21734, 34731, 53931, 78572, 98040, 109192,
)  # fmt: skip
EVENTS_BY_HOUR = (
    181166, 183324, 187890, 184272, 175931, 159052, 144278, 140673, 145854, 150831, 147153, 119558,
    76965, 43936, 25304, 17905, 16405, 20328, 31479, 51084, 81813, 129074, 161755, 179611,
)  # fmt: skip
CART_ADDERS_BY_HOUR = (
    2992, 3004, 3089, 2981, 2791, 2408, 2283, 2203, 2181, 2241, 2216, 1869,
    1232, 652, 346, 239, 217, 283, 465, 761, 1232, 1942, 2645, 3003,
)  # fmt: skip
BUYERS_BY_HOUR = (
    1037, 1024, 1017, 1018, 915, 763, 682, 629, 660, 613, 585, 542,
    359, 189, 79, 50, 44, 58, 76, 158, 305, 634, 884, 1058,
)  # fmt: skip
# Monday .. Sunday
VISITORS_BY_WEEKDAY = (227847, 257346, 249628, 243718, 231689, 199132, 187136)
EVENTS_BY_WEEKDAY = (387739, 450952, 437231, 426210, 400001, 337786, 315722)
CART_ADDERS_BY_WEEKDAY = (6314, 8193, 7817, 7547, 6870, 5409, 4793)
BUYERS_BY_WEEKDAY = (1678, 2359, 2227, 2162, 1760, 1317, 1089)


def _effect(part: tuple[int, ...], whole: tuple[int, ...], scale: float) -> tuple[float, ...]:
    """Log odds of each rate over the overall one.

    Visitors differ and sessions run on, which blurs an effect in the published rates; `scale` makes up for it.
    """
    overall = sum(part) / (sum(whole) - sum(part))
    return tuple(round(scale * log(p / (w - p) / overall), 6) for p, w in zip(part, whole, strict=True))


CART_HOUR_EFFECT = _effect(CART_ADDERS_BY_HOUR, VISITORS_BY_HOUR, 1.75)
CART_WEEKDAY_EFFECT = _effect(CART_ADDERS_BY_WEEKDAY, VISITORS_BY_WEEKDAY, 1.5)
BUY_HOUR_EFFECT = _effect(BUYERS_BY_HOUR, CART_ADDERS_BY_HOUR, 1.75)
BUY_WEEKDAY_EFFECT = _effect(BUYERS_BY_WEEKDAY, CART_ADDERS_BY_WEEKDAY, 1.5)

# --- chosen so that the measured marginals meet the published ones ----------------------------------------------------
# About one event in six falls an hour after its session's start, so starts lead the published hours of events.
START_HOUR_WEIGHTS = tuple(
    round(EVENTS_BY_HOUR[hour] + 0.2 * (EVENTS_BY_HOUR[hour] - EVENTS_BY_HOUR[hour - 1])) for hour in range(24)
)
# Gap quantiles; the ends are set so that what is left after the double clicks and after the period's end fits.
WITHIN_SESSION_GAPS_MS = (
    (0.0, 1_000.0), (0.04, 7_000.0), (0.24, 30_500.0), (0.49, 73_000.0), (0.745, 158_000.0), (0.898, 405_000.0),
    (0.95, 780_000.0), (0.99, 1_465_000.0), (1.0, 1_799_000.0),
)  # fmt: skip
BETWEEN_SESSION_GAPS_MS = (
    (0.0, 1_801_000.0), (0.05, 2_870_000.0), (0.10, 4_500_000.0), (0.25, 67_000_000.0), (0.50, 240_000_000.0),
    (0.75, 1_300_000_000.0), (0.90, 4_200_000_000.0), (0.97, 7_000_000_000.0), (1.0, 11_000_000_000.0),
)  # fmt: skip
# Sessions a visitor and views a session: probability of 1, 2, ..., power of the tail after them, largest.
SESSIONS_HEAD, SESSIONS_TAIL, SESSIONS_LARGEST = (0.8575, 0.084, 0.0255, 0.0120), 2.15, 150
VIEWS_HEAD, VIEWS_TAIL, VIEWS_LARGEST = (0.805, 0.1230, 0.0352, 0.0150, 0.0079, 0.0047, 0.0030), 2.2, 200
# Robots (pollers and crawlers): share of visitors and typical number of events.
ROBOT_SHARE, ROBOT_EVENTS = 6e-5, 200.0
# Trade customers: share of visitors, intent, sessions (least, and up to how many more), orders at once.
TRADE_SHARE, TRADE_INTENT, TRADE_SESSIONS, TRADE_MORE_SESSIONS, TRADE_ORDERS = 3.8e-4, 3.0, 4, 12, 30

# How much lasting intent and engagement of a visitor, and the mood of a session, go with more sessions and views.
RETURN_INTENT, RETURN_ENGAGEMENT = 0.34, 0.28
VIEW_INTENT, VIEW_ENGAGEMENT, VIEW_MOOD = 0.14, 0.15, 0.22

# Share of views that start at a new root, or (together) at a new category; the same when a visitor returns.
NEW_ROOT, NEW_CATEGORY = 0.12, 0.32
REOPENED_NEW_ROOT, REOPENED_NEW_CATEGORY = 0.55, 0.75
# Share of views of the item before, or (together) of one seen earlier; of a returning visitor's first views.
SAME_ITEM, EARLIER_ITEM = 0.085, 0.295
REOPENED_ITEM, REMEMBERED_VIEWS = 0.43, 6

# Items: spread of popularity and appeal (logs), items a category grows with its views to this power.
ITEM_POPULARITY_SPREAD, CATEGORY_SIZE_POWER = 2.0, 0.75
CATEGORY_APPEAL, ITEM_APPEAL = 0.30, 0.45
# Shares of items whose properties start later than the first snapshot, and whose category changes once.
LISTED_LATER, CATEGORY_CHANGES = 0.15, 0.02
PRICE_LOG_MEAN, PRICE_CATEGORY_SPREAD, PRICE_ITEM_SPREAD, PRICE_STEP = 10.9, 0.9, 0.5, 120
PRICE_CHANGE_PER_WEEK, PRICE_FACTORS = 0.06, (0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.0, 1.05, 1.1)
STOCK_MEAN, STOCK_SPREAD, STOCK_REDRAW_PER_WEEK = -0.4, 2.2, 0.08

# Log odds of a cart after a view, and of an order in a session with a cart.
CART_BASE, BUY_BASE = -5.49, -2.95
INTENT, MOOD = 0.80, 0.70
PRICE_EFFECT, STOCK_EFFECT, SEEN_AGAIN = 0.5, 0.5, 0.4
LATER_VIEW, LATER_VIEWS = 0.12, 5
BEST_TASTE = 0.5
# Added for an order of what the session before left in the cart.
RECOVERY = -0.3
# Shares of carts: with more of them at once, from a list, with no view in the data, taken in an order.
MORE_CARTS, CART_FROM_LIST, CART_WITHOUT_VIEW, CART_TAKEN = 0.18, 0.06, 0.08, 0.38
# Shares of orders: with no cart in the data, split off, followed by another, merged with the one before, unseen item.
BUYS_WITHOUT_CART, NEW_ORDER, SECOND_ORDER, SAME_ORDER, REORDER_UNSEEN = 0.17, 0.25, 0.04, 0.26, 0.25
DOUBLE_FIRE = 0.003
# File order: every row up to some hours late, a few rows days late.
FILE_DELAY_HOURS, LATE_SHARE, LATE_DAYS = 6, 0.01, 10

"""Words by which shops name columns and events."""

import re
from typing import Literal

Step = Literal["view", "addtocart", "removefromcart", "transaction", "refund"]

# Texts that stand for nothing where a program wrote them without thinking.
NULL_WORDS = ("NA", "N/A", "n/a", r"\N", "(not set)", "(null)", "null", "NULL", "None", "nan", "NaN", "undefined")

_WHO = "visitor|user|client|customer|shopper|member|anonymous|distinct|cookie|device|person|kunde|kunden|besucher"
_WHO += "|cliente|visiteur|utilisateur|usuario|utente"
_THING = "product|item|sku|article|artikel|variant|goods|offer|asin|aid|produit|producto|prodotto"
_ID = "id|ids|hash|uuid|key|no|nr|number|code|sku|pseudo_id|id_hash"
# Role to (pattern of a name in snake case, how much it says); the first that fits counts.
_NAMES: dict[str, list[tuple[str, int]]] = {
    "timestamp": [
        (r".*(received|sent|loaded|updated|processed|birth|expire|start|end|first|last|etl|upload).*", 0),
        (r"(event|hit|server|client|derived|action)_?(time_?stamp|time|ts|date|datetime|at)(_.*)?", 10),
        (r"(time_?stamp|time|ts|datetime|date_?time|occurred_at|created_at|at|zeit|zeitpunkt)(_.*)?", 9),
        (r".*(timestamp|datetime|tstamp|_time|_ts|_at|eventdate)(_.*)?", 6),
        (r".*(date|day|time|datum|tag|zeit).*", 4),
    ],
    "visitor": [
        (r".*(agent|name|type|email|mail|age|country|city|ip|segment|language|properties|price).*", 0),
        (rf"(full_?)?(visitor|anonymous|distinct)_?({_ID})?", 10),
        (rf"({_WHO})_?({_ID})?", 8),
        (r"[cuv]id", 7),
        (rf".*({_WHO})_?({_ID})", 6),
        (rf".*session_?({_ID})?(_hash)?", 4),
    ],
    "item": [
        (r".*(name|title|price|category|type|brand|count|quantity|url|list|action|variant_id|properties).*", 0),
        (rf"(product|item|article|artikel|goods)_?({_ID})", 10),
        (rf"(sku|aid|asin|product_sku(_hash)?|stock_({_ID}))", 9),
        (rf"({_THING})_?({_ID})?", 7),
        (rf".*({_THING})_?({_ID})", 5),
    ],
    "transaction": [
        (r".*(date|time|status|type|total|value|amount|revenue|count|price|name|currency).*", 0),
        (
            rf"(order|transaction|purchase|invoice|bestell|bestellung|bestellnummer|commande|pedido|ordine)_?({_ID})?",
            10,
        ),
        (rf".*(order|transaction|purchase|invoice)_?({_ID})", 7),
    ],
    "price": [
        (r".*(currency|list|old|original|discount|shipping|tax|range).*", 0),
        (r"(unit_|item_|product_)?(price|preis|prix|precio|prezzo)", 10),
        (r".*(price|preis)(_.*)?", 7),
        (r"(amount|value|cost|betrag|revenue|total|umsatz|item_revenue|line_total|total_price)", 5),
    ],
    "quantity": [
        (r"(item_|product_)?(quantity|qty|units|menge|anzahl|pieces|quantité|quantite|cantidad|quantità)", 10),
        (r".*(quantity|qty)", 8),
    ],
    "currency": [(r"(curr?|currency|waehrung|währung|currency_code|price_currency)", 10), (r".*currency(_code)?", 8)],
    "event_id": [
        (rf"(event|message|hit|insert|log|record)_?({_ID})", 10),
        (r"(uuid|guid)", 8),
        (r"id", 5),
    ],
    "category": [
        (r".*(name|depth|position).*", 0),
        (r"(item_|product_)?category_(code|path)", 10),
        (r"(item_|product_)?(category|kategorie|department)(_?id)?", 9),
    ],
    "event": [
        (r".*(id|time|date|url|value|properties|params|version)", 0),
        (r"(event|action|event_?(type|name|action)|product_action|aktion|ereignis|événement|evenement|evento)", 10),
        (r"(type|activity|behaviou?r(_type)?|interaction(_type)?|name|what|status|step)", 5),
        (r".*(event|action|type)", 4),
    ],
}
_OF_ITS_PARENT = {"id", "value", "amount", "key", "code", "number"}
_TAKEN_BACK = {"refund", "refunded", "refunds", "cancel", "cancelled", "canceled", "failed", "return", "returned"}
_REFUND = {"refund", "refunded", "refunds", "chargeback", "gutschrift", "erstattung"}
_NOT_REFUND = {"request", "requested", "policy", "view", "viewed", "failed", "start", "started", "page", "info"}
_REMOVED = {"remove", "removed", "delete", "deleted"}
_NOT_CART = {*_REMOVED, "view", "viewed", "empty", "emptied", "abandoned", "update"}
_NOT_ORDER = {*_TAKEN_BACK, "view", "viewed", "history", "list", "start", "started", "begin", "shipped", "delivered"}
_NOT_VIEW = {"cart", "checkout", "list", "search", "wishlist", "promotion", "order", "basket", "scroll"}
_CART = {
    "cart",
    "carts",
    "basket",
    "bag",
    "carted",
    "atc",
    "warenkorb",
    "addtocart",
    "addtobasket",
    "tocart",
    "add2cart",
    "panier",
    "carrito",
    "carrello",
}
_ORDER = {"purchase", "purchased", "purchases", "transaction", "transactions", "buy", "buys", "bought", "order"}
_ORDER |= {"orders", "ordered", "sale", "sales", "paid", "kauf", "bestellung", "pay"}
_ORDER |= {"achat", "commande", "compra", "acquisto"}
_VIEW = {"view", "views", "viewed", "pageview", "click", "clicks", "clicked", "detail", "details", "pdp", "pv", "visit"}
_VIEW |= {"seen", "ansicht", "pageviews", "look", "vue", "vista"}


def snake(name: str) -> str:
    """Write a name in snake case.

    Parameters
    ----------
    name : str
        A name in any style.

    Returns
    -------
    str
        Lower case words, an underscore between them.

    Examples
    --------
    >>> snake("itemId"), snake("Product Added"), snake("$insert_id")
    ('item_id', 'product_added', 'insert_id')
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:200])
    return re.sub(r"[\W_]+", "_", parted).strip("_").lower()


def says(role: str, path: str) -> int:
    """Tell how much a column's name says that it has a role.

    Parameters
    ----------
    role : str
        A key of `columns` in a mapping.
    path : str
        A column, or a path into one.

    Returns
    -------
    int
        0 for nothing, 10 for as good as certain.
    """
    parts = [snake(part) for part in path.replace("[]", "").split(".")]
    # product.id and price.amount name their thing one level up.
    names = [parts[-1]] if parts[-1] not in _OF_ITS_PARENT else ["_".join(parts[-2:]), *parts[-2:]]
    best = 0
    for name in names:
        best = max(best, next((weight for pattern, weight in _NAMES[role] if re.fullmatch(pattern, name)), 0))
    return best


def step_of(value: str) -> Step | None:
    """Tell which step of the funnel, or which other kind, an event's name means.

    Parameters
    ----------
    value : str
        A name of an event as a shop writes it.

    Returns
    -------
    str or None
        None where it looks like none of them.

    Examples
    --------
    >>> step_of("Product Added"), step_of("view_cart"), step_of("checkout_completed")
    ('addtocart', None, 'transaction')
    """
    words = set(snake(value).split("_"))
    squashed = "".join(snake(value).split("_"))
    is_cart = words & _CART or squashed in _CART or words == {"add"} or {"product", "added"} <= words
    if words & _REFUND and not words & _NOT_REFUND:
        return "refund"
    if words & _REMOVED and words & {*_CART, "product", "item"}:
        return "removefromcart"
    if is_cart and not words & _NOT_CART:
        return "addtocart"
    is_order = words & _ORDER or {"checkout", "completed"} <= words or {"checkout", "complete"} <= words
    if is_order and not words & (_NOT_ORDER | _CART):
        return "transaction"
    return "view" if words & _VIEW and not words & (_NOT_VIEW | _TAKEN_BACK) else None

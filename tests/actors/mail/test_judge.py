"""Which mails are receipts, and of what: an amount is read rightly or not at all."""

from datetime import UTC, date, datetime
from decimal import Decimal
from email.message import EmailMessage

import pytest

from actors.mail.judge import judge
from actors.mail.parts import take_apart
from actors.mail.verdict import Context, Judged

MOMENT = datetime(2025, 3, 5, 22, 30, tzinfo=UTC)


def read(subject: str, body: str, sender: str = "Night Owl Taxi <hello@nightowl.example>", **context) -> Judged:
    mail = EmailMessage()
    mail["From"], mail["Subject"], mail["Message-ID"] = sender, subject, "<1@test.example>"
    mail["Date"] = MOMENT
    mail.set_content(body, subtype="html" if "<" in body else "plain")
    return judge(take_apart(mail.as_bytes()), Context(MOMENT, **context))


def money(judged: Judged) -> str | None:
    return judged.found and f"{judged.found.money.amount} {judged.found.money.currency}"


@pytest.mark.parametrize(
    ("subject", "body", "expected"),
    [
        ("Your invoice", "Your card will be charged on 1 May.\nTotal: $10.00", "10.00 USD"),
        ("Your receipt", "Subtotal: $10.00\nTax: $1.70\nTotal: $11.70", "11.70 USD"),
        ("Invoice 1001", "Total 90.00 EUR\nVAT 17.10 EUR\nTotal incl. VAT 107.10 EUR", "107.10 EUR"),
        ("Order confirmation", "<table><tr><td>Total<td>£1,234.50</table>", "1234.50 GBP"),
        ("Order confirmation", "<p>Total</p><p>€12,50</p>", "12.50 EUR"),
        ("Payment received", "Amount paid: $20.00\nBalance due: $0.00", "20.00 USD"),
        ("Your invoice", "Total (incl. VAT): CHF 107.00 (VAT: CHF 7.00)", "107.00 CHF"),
        ("Your receipt", "Your total rewards: $5.00\nTotal: $45.00", "45.00 USD"),
        ("Your receipt", "Total: $12.00\nTip: $2.00\nTotal charged: $14.00", "14.00 USD"),
        ("Your invoice", "Total excl. VAT: £100.00\nVAT: £20.00\nTotal: £120.00", "120.00 GBP"),
        ("Order", "Item\tPrice\tTotal\nPen\t$10.00\t$20.00\nOrder total\t\t$25.00", None),
        ("Order confirmation", "Item\tPrice\tTotal\nPen\t$10.00\t$20.00\nOrder total\t\t$25.00", "25.00 USD"),
        ("קבלה מספר 5", 'סה"כ לפני מע"מ: 100 ₪\nמע"מ: 18 ₪\nסה"כ לתשלום: 118.00 ₪', "118.00 ILS"),
        ("חשבונית מס", 'סה״כ: 1,180.00 ש״ח', "1180.00 ILS"),
        ("אישור תשלום", "סכום ששולם: ₪45.90", "45.90 ILS"),
        ("חשבונית זיכוי 7", 'סה"כ: 50.00 ש"ח', "-50.00 ILS"),
        ("Your refund", "Order total: $50.00\nRefund amount: $10.00", "-10.00 USD"),
        ("Credit note 9", "Total: -$10.00", "-10.00 USD"),
    ],
)  # fmt: skip
def test_the_amount_is_the_grand_total_and_negative_for_a_credit(subject, body, expected) -> None:
    assert money(read(subject, body)) == expected


@pytest.mark.parametrize(
    ("subject", "body", "reason"),
    [
        ("Your receipt", "Total: $10.00\nTotal: $12.00", "unclear_total"),
        ("Your receipt", "Thank you for the coffee", "no_total"),
        ("Your receipt", "Subtotal: $10.00", "no_total"),
        ("Your receipt", "The total of 3 friends who came cost us $90.00 or more, as you know well by now", "no_total"),
        ("Your receipt", "Total: 12.00", "no_total"),
        ("Your receipt", "Estimated total: $12.00", "no_total"),
        ("Your receipt", "Total: $45.00 (about €41.20)", "unclear_total"),
        ("Your receipt", "Total: £100.00\nVAT: £20.00\nTotal: £120.00", "unclear_total"),
        ("Your receipt", "Total: -$12.00", "no_payment"),
        ("Lunch?", "Total: $10.00", "no_evidence"),
        ("Re: your receipt", "Total: $10.00", "conversation"),
        ("השב: קבלה", "סה\"כ: 10 ₪", "conversation"),
        ("Half price! 50% off your order", "Total: $10.00", "promotion"),
        ("מבצע! קבלה במתנה", "סה\"כ: 10 ₪", "promotion"),
        ("Invoice 7 is overdue", "Total: $10.00", "dunning"),
        ("Your payment for the invoice failed", "Total: $10.00", "dunning"),
        ("תזכורת: חשבונית 7", "סה\"כ: 10 ₪", "dunning"),
        ("Your invoice", "Your payment was declined.\nTotal: $10.00", "dunning"),
        ("Your trial invoice", "Total: $10.00", "trial"),
        ("Receipt of your password reset", "Total: $10.00", "account"),
        ("Your order has shipped", "Total: $10.00", "delivery"),
        ("Your upcoming invoice", "Total: $10.00", "upcoming"),
        ("Your order", "Your card will be charged on 1 May.\nTotal: $10.00", "upcoming"),
    ],
)  # fmt: skip
def test_what_is_no_receipt_or_in_doubt_says_why(subject, body, reason) -> None:
    judged = read(subject, body)
    assert (judged.is_receipt, judged.reason) == (False, reason)


@pytest.mark.parametrize(
    "amount",
    ["$1e5", "$5k", "$5 k", "€1.2M", "$3 million", "₪2 מיליון", "₪5 אלף", "$10x2", "$12½",
     "\u202e00.5$", "$5.00 \u202e!", "\u202d$5.00"],
)  # fmt: skip
def test_an_amount_that_may_mean_another_is_not_guessed(amount) -> None:
    assert read("Your receipt", f"Total: {amount}").reason == "unclear_total"


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("$5.00 kindly", "5.00 USD"),
        ("$5.00 (5 items)", "5.00 USD"),
        ("5.00USD", "5.00 USD"),
        ("5.00 kr.", None),
        ("₪5.00 מזומן", "5.00 ILS"),
        ("\u200f₪5.00\u200e", "5.00 ILS"),
        ("5.00€inkl. MwSt", "5.00 EUR"),
    ],
)
def test_words_after_an_amount_change_nothing(amount, expected) -> None:
    assert money(read("Your receipt", f"Total: {amount}")) == expected


@pytest.mark.parametrize(
    ("body", "reason"), [("See the file.", "total_in_pdf"), ("Total: $1.00\nTotal: $2.00", "unclear_total")]
)
def test_a_total_that_stands_only_in_a_pdf_has_a_reason_of_its_own(body, reason) -> None:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Acme <hello@acme.example>", "Your invoice"
    mail.set_content(body)
    mail.add_attachment(b"%PDF-1.4 made up", maintype="application", subtype="pdf", filename="invoice.pdf")
    assert judge(take_apart(mail.as_bytes()), Context(MOMENT)).reason == reason


def test_the_senders_mailbox_is_evidence_too() -> None:
    assert money(read("March", "Total: $10.00", "Acme <billing@acme.example>")) == "10.00 USD"


@pytest.mark.parametrize(
    ("line", "context", "day"),
    [
        ("Date: 04/03/2025", {}, date(2025, 3, 4)),
        ("Date: 03/04/2025", {}, date(2025, 3, 4)),  # nearer to the mail's day than 3 April
        ("Date: 02/03/2025", {"dates": "month-first"}, date(2025, 2, 3)),
        ("Invoice date: March 1, 2025\nDue date: 2025-04-01", {}, date(2025, 3, 1)),
        ("תאריך: 1 במרץ 2025", {}, date(2025, 3, 1)),
        ("Due date: 2025-03-04", {}, date(2025, 3, 5)),
        ("Date: 04/MAR/25", {}, date(2025, 3, 4)),
        ("Date: 20250304", {}, date(2025, 3, 4)),
        ("no day", {}, date(2025, 3, 5)),
        ("no day", {"timezone": "Asia/Jerusalem"}, date(2025, 3, 6)),
    ],
)
def test_the_day_is_the_printed_one_else_the_mails_in_the_connections_zone(line, context, day) -> None:
    found = read("Your receipt", f"{line}\nTotal: $11.70", **context).found
    assert found is not None
    assert found.day == day


def test_a_bare_dollar_is_american_unless_the_connection_says_otherwise() -> None:
    assert money(read("Your receipt", "Total: $10.00")) == "10.00 USD"
    assert money(read("Your receipt", "Total: $10.00", currency="CAD")) == "10.00 CAD"
    assert money(read("Your receipt", "Total: 10.00", currency="ILS")) == "10.00 ILS"


JSON_LD = """<html><script type="application/ld+json">{"@context": "http://schema.org", "@graph": [{"@type": "Order",
  "merchant": {"@type": "Organization", "name": "Paper Mill"}, "orderDate": "2025-03-01T23:00:00-05:00",
  "orderStatus": "http://schema.org/%s", "price": "%s", "priceCurrency": "EUR"}]}</script><p>Thank you</p></html>"""
MICRODATA = """<div itemscope itemtype="http://schema.org/Invoice"><span itemprop="provider" itemscope
  itemtype="http://schema.org/Organization"><b itemprop="name">Paper Mill</b></span>
  <div itemprop="totalPaymentDue" itemscope itemtype="http://schema.org/PriceSpecification">
  <meta itemprop="price" content="42.50"><meta itemprop="priceCurrency" content="EUR"></div></div>"""


def test_markup_says_all_of_it() -> None:
    found = read("Thanks", JSON_LD % ("OrderProcessing", "42.50")).found
    assert found is not None
    assert (found.money.amount, found.vendor, found.day) == (Decimal("42.50"), "Paper Mill", date(2025, 3, 1))


@pytest.mark.parametrize("day", ["9999-12-31", "2026-03-01", "0001-01-01", "1899-12-31"])
def test_a_day_in_markup_that_no_receipt_of_the_mail_can_have_is_not_taken(day) -> None:
    """It would stand at the top of the list for ever."""
    found = read("Thanks", (JSON_LD % ("OrderProcessing", "42.50")).replace("2025-03-01", day)).found
    assert found is not None
    assert found.money.amount == Decimal("42.50")
    assert found.day.year == 2025


def test_microdata_says_the_same() -> None:
    found = read("Thanks", MICRODATA).found
    assert found is not None
    assert (found.money.amount, found.vendor) == (Decimal("42.50"), "Paper Mill")


@pytest.mark.parametrize(("status", "price"), [("OrderInTransit", "42.50"), ("OrderProcessing", "1.234")])
def test_markup_of_a_parcel_or_with_a_doubtful_price_is_none(status, price) -> None:
    assert not read("Thanks", JSON_LD % (status, price)).is_receipt


def test_markup_and_text_that_disagree_are_no_receipt() -> None:
    body = (JSON_LD % ("OrderProcessing", "42.50")).replace("Thank you", "Total: €99.00")
    assert read("Thanks", body).reason == "totals_differ"


@pytest.mark.parametrize(
    ("sender", "vendor"),
    [
        ("Acme Billing <billing@acme.example>", "Acme"),
        ("no-reply@shop.paper-mill.co.uk", "Paper-mill"),
        ("Receipts <receipts@corner.example>", "Corner"),
    ],
)
def test_the_vendor_is_who_sent_it_or_his_domain(sender, vendor) -> None:
    found = read("Your receipt", "Total: $10.00", sender).found
    assert found is not None
    assert found.vendor == vendor


def test_hidden_text_is_not_read() -> None:
    body = '<p>Total: $10.00</p><p style="display: none">Total: $99.00</p><script>Total: $1.00</script>'
    assert money(read("Your receipt", body)) == "10.00 USD"

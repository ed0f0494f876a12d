"""A mailbox of made-up mails for demo and dev: real-looking receipts, and mails that only look like receipts."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

from service.local.seed import PDF

FIRST = datetime(2025, 3, 1, 9, tzinfo=UTC)

# Sender, subject, text (or HTML), the amount to find (None: not a receipt), and whether a PDF is attached.
MAILS: tuple[tuple[str, str, str, str | None, bool], ...] = (
    ("Corner Cafe <receipts@corner.example>", "Your receipt", "Subtotal: $8.00\nTax: $0.80\nTotal: $8.80", "8.80 USD", False),
    ("Night Owl Taxi <rides@owl.example>", "Your ride receipt", "<table><tr><td>Total<td>€23,40</table>", "23.40 EUR", True),
    ("Paper Mill <shop@mill.example>", "Thanks!", "JSON-LD 42.50", "42.50 EUR", False),
    ("דפוס אור <billing@or.example>", "חשבונית מס קבלה 118", 'לפני מע"מ: 100 ₪\nסה"כ לתשלום: 118.00 ₪', "118.00 ILS", True),
    ("Hardware & Home <hello@hh.example>", "Refund for order 7", "Refund amount: £12.00", "-12.00 GBP", False),
    ("Green Grocer <orders@gg.example>", "Order confirmation", "Order total: $31.15", "31.15 USD", False),
    ("Green Grocer <news@gg.example>", "Half price week: 50% off your order", "Total: $5.00", None, False),
    ("Host & Co <billing@host.example>", "Invoice 5 is overdue", "Amount due: $90.00", None, False),
    ("Dana <dana@friends.example>", "Re: your receipt", "Total: $10.00, or was it 12?", None, False),
    ("Dana <dana@friends.example>", "Lunch on Sunday?", "The place by the river.", None, False),
    ("Host & Co <hello@host.example>", "Your trial ends soon", "Then the total is $20.00", None, False),
    ("Corner Cafe <billing@corner.example>", "Your invoice", "Total: $10.00\nTotal: $12.00", None, False),
)  # fmt: skip
ROUNDS = 4  # each a day later, with its own Message-IDs and PDFs


def expected() -> dict[str, int]:
    """How many receipts should be found, and how many mails there are."""
    found = sum(amount is not None for _, _, _, amount, _ in MAILS)
    return {"mails": ROUNDS * len(MAILS), "receipts": ROUNDS * found}


def made_up_mails() -> Iterator[tuple[bytes, datetime]]:
    for number in range(ROUNDS * len(MAILS)):
        sender, subject, body, _, has_pdf = MAILS[number % len(MAILS)]
        moment = FIRST + timedelta(hours=2 * number)
        mail = EmailMessage()
        mail["From"], mail["Subject"], mail["Message-ID"] = sender, subject, f"<{number}@made-up.example>"
        mail["Date"] = moment
        body = _markup(body.split()[1]) if body.startswith("JSON-LD") else body
        mail.set_content(body, subtype="html" if body.startswith("<") else "plain")
        if has_pdf:
            pdf = PDF + f"%% {number}".encode()
            mail.add_attachment(pdf, maintype="application", subtype="pdf", filename="receipt.pdf")
        yield mail.as_bytes(), moment


def _markup(price: str) -> str:
    order = {
        "@context": "https://schema.org",
        "@type": "Order",
        "merchant": {"@type": "Organization", "name": "Paper Mill Books"},
        "price": price,
        "priceCurrency": "EUR",
    }
    return f'<script type="application/ld+json">{json.dumps(order)}</script><p>Thank you for your order.</p>'

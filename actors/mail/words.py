"""The words by which mails are told apart, in English and Hebrew. Each pattern is tried on text in lower case."""

import re

_FLAGS = re.IGNORECASE | re.UNICODE


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), _FLAGS)


_H = r"(?<![א-ת])[ובהלשמכ]{0,2}"  # a Hebrew word may have a prefix
_Q = "[\"״'׳”“]{1,2}"  # how the quotation mark inside an abbreviation is written

# In the subject, or as the sender's mailbox: this may be a receipt.
SUBJECT = _any(
    r"\breceipts?\b", r"\binvoices?\b", r"\border (confirmation|confirmed|received|details|summary)\b",
    r"\b(your|confirmed|new) order\b", r"\border (no\.?|number|#)", r"\bpurchase (confirmation|receipt)\b",
    r"\bpayment (received|confirmation|confirmed|successful|complete)", r"\bthank(s| you) for your (order|purchase|payment)",
    r"\bwe('ve| have)? received your payment\b", r"\byour payment (to|of|for)\b", r"\byour (purchase|bill)\b",
    r"\bcredit (note|memo)\b", r"\brefund",
    rf"{_H}קבלה\b", rf"{_H}חשבונית", rf"{_H}חשבון עסקה", rf"{_H}אישור (ה?הזמנ[הת]|ה?תשלום|ה?רכיש[הת]|ה?קני[יה]|ה?עסק[הת])",
    rf"{_H}אישור [א-ת]+ ותשלום", rf"{_H}סיכום (ה?נסיעה|ה?הזמנה|ה?רכישה|ה?קני?יה|ה?תשלום)",
    rf"{_H}חשבון (ה?חשמל|ה?מים|ה?גז|ה?טלפון|ה?סלולר|ה?אינטרנט|ארנונה|ה?חודשי|ה?תקופתי)",
    rf"{_H}תשלומך", r"תשלום (התקבל|בוצע)", r"התשלום (התקבל|בוצע|שלך)", rf"{_H}הזמנתך", r"ההזמנה שלך", r"פרטי ה?הזמנה",
    rf"{_H}זיכוי", rf"{_H}החזר (כספי|תשלום)", r"תודה על (ה?רכישה|ה?קנייה|ה?קניה|ה?הזמנה|ה?תשלום)",
)  # fmt: skip
SENDER = re.compile(r"^(e-?)?(receipts?|invoices?|invoicing|billing|payments?|orders?|kabala|hashbonit)\b", _FLAGS)

# In the subject: this is none, whatever else it says. With the reason's code.
NONE_BY_SUBJECT = (
    ("trial", _any(r"\btrial\b", r"תקופת ה?ניסיון", r"ניסיון חינם")),
    ("dunning", _any(
        r"\boverdue\b", r"\bpast[- ]due\b", r"\breminder\b", r"\bunpaid\b", r"\bfinal notice\b", r"\boutstanding\b",
        r"\b(payment|charge|card|invoice)\b.{0,30}\b(fail|declin|unsuccessful|problem|issue|reject|could not|couldn.t)",
        r"\b(fail|declin|unsuccessful|problem with)\w*\b.{0,30}\b(payment|charge|card)\b",
        r"\bupdate your (payment|billing|card)", r"\baction (required|needed)\b", r"\bpayment (is )?(due|required)\b",
        rf"{_H}תזכורת", r"באיחור", rf"{_H}חוב\b", rf"{_H}חובות\b", r"נכשל", r"נדח[הת]", r"טרם שולמ", r"לא שול",
        r"דרישת תשלום", r"עדכ(ן|ון|ני) (פרטי )?(ה?אשראי|ה?תשלום)")),
    ("upcoming", _any(
        r"\bupcoming\b", r"\bwill (be charged|renew)", r"\brenews? (soon|on)\b", r"\bexpir", r"\bscheduled\b",
        r"עומד(ת)? להתחדש", r"יחויב", r"תחויב", r"עתיד")),
    ("promotion", _any(
        r"\d ?% ?(off|discount)", r"\bsale\b", r"\b(special|exclusive|limited)\b.{0,15}\boffer", r"\bdeals?\b", r"\bsave\b",
        r"\bcoupon", r"\bdiscount", r"\blast chance\b", r"\bnewsletter\b", r"\bwin\b", r"\bfree\b", r"\bearn\b",
        rf"{_H}מבצע", rf"{_H}הנחה", rf"{_H}הנחות", rf"{_H}קופון", r"חינם", r"הזדמנות אחרונה", r"מתנה", r"\d ?%")),
    ("account", _any(
        r"\bpassword\b", r"\bverif(y|ication)\b", r"\bsecurity (alert|code)\b", r"\bsign[- ]?in\b", r"\bwelcome\b",
        r"\bone[- ]time code\b", rf"{_H}סיסמ", rf"{_H}אימות", r"קוד (ה?כניסה|חד)", r"ברוכ(ים|ה) הב")),
    ("delivery", _any(
        r"\bshipped\b", r"\bshipping (update|confirmation)", r"\bdelivered\b", r"\bdelivery\b", r"\bon (its|the) way\b",
        r"\btracking\b", r"\bdispatched\b", r"\bout for\b", rf"{_H}משלוח", r"נשלח", r"בדרך אליך", r"נמסר")),
    ("quote", _any(
        r"\bquot(e|ation)\b", r"\bestimate\b", r"\bpro[- ]?forma\b", r"\bproposal\b", r"\bpurchase order\b",
        r"\bcancel", r"הצעת מחיר", r"הזמנת רכש", r"בוטל", r"ביטול")),
    ("review", _any(r"\breview\b", r"\brate\b", r"\bsurvey\b", r"\bfeedback\b", r"\bhow (was|did)\b", rf"{_H}סקר\b", r"דרג")),
)  # fmt: skip

# In the first lines.
NONE_BY_TEXT = (
    ("dunning", _any(
        r"\bpayment (has )?(failed|was declined|could not)", r"\bunable to (charge|process)\b", r"\bis (now )?overdue\b",
        r"\bpast due\b", r"\b(card|payment) was (declined|rejected)", r"\bhave not (yet )?received (your )?payment\b",
        r"התשלום נכשל", r"לא הצלחנו לחייב", r"טרם (שולם|התקבל)", r"נדחה על ידי", r"באיחור")),
    ("trial", _any(r"\btrial (period )?(ends|is ending|will end|expires|has ended)", r"תקופת ה?ניסיון")),
    ("upcoming", _any(
        r"\bwill be charged\b", r"\bwill (automatically )?renew\b", r"\bupcoming (charge|payment|renewal|invoice)",
        r"תחויב (ב|אוטומטית)", r"יחויב (ב|אוטומטית)")),
)  # fmt: skip

# In the subject: a document that is there, though its text may tell of the next charge.
DOCUMENT = _any(r"\breceipts?\b", r"\binvoices?\b", rf"{_H}קבלה\b", rf"{_H}חשבונית")

REPLY = re.compile(r"^(re|aw|sv|השב|תגובה|תשובה)\s*(\[\d+\])?\s*:", _FLAGS)
FORWARD = re.compile(r"^(fwd?|wg|הועבר|העברה)\s*:\s*", _FLAGS)

CREDIT = _any(r"\bcredit (note|memo)\b", r"\brefund", rf"{_H}זיכוי", r"החזר (כספי|תשלום)")

# Before an amount: which total it is. The first that matches counts.
NO_TOTAL = _any(
    r"sub[- ]?total", r"total (tax|vat|gst|sst|savings?|saved|discount|items?|qty|quantity|before|net|excl|ex\b|points)",
    r"total (number|hours|units|weight|shipping|sales tax)", r"\bnet total", r"(tax|vat|gst) total", r"excl(\.|uding)",
    r"\b(rewards?|available|earned|budget|limit|outstanding|insured|estimated|remaining|monthly payments?|instal+ments?)\b",
    r"before (tax|vat|gst|discount)", r"without (tax|vat)", r"\bdeposit\b", r"previous", r"last (month|year)", r"to date",
    r"ביניים", r"לפני", r"ללא מע", rf"סה{_Q}כ (ה?מע|פריט|הנח|כמות|חלק|חיסכון|משלוח|נקוד)", r"מקדמה", r"יתרה קודמת",
    r"חייב במע",
)  # fmt: skip
TOTALS = (
    (6, _any(
        r"(refund(ed)?|credit(ed)?) (amount|total)", r"(amount|total) (refunded|credited)", r"total (refund|credit)\b",
        r"סכום ה?(זיכוי|החזר)", rf"סה{_Q}כ (ל?זיכוי|ל?החזר)")),
    (5, _any(
        r"grand total", r"(order|invoice|receipt) (total|amount)", r"total (amount )?(incl|with|inc\.)",
        r"total due( now)?", r"סכום (כולל|סופי|ה(הזמנה|חשבונית|קבלה|מסמך|רכישה|קני?יה))", rf"סה{_Q}כ (כולל|לתשלום|כללי)", r"סך ה?כו?ל (כולל|לתשלום)", rf"כולל מע{_Q}מ")),
    (4, _any(
        r"total (amount )?(paid|charged|payment|billed)", r"amount (paid|charged|billed)", r"you(.ve| have)? paid",
        r"payment amount", r"amount received", rf"סה{_Q}כ (שולם|חיוב|תשלום)", r"סכום ששולם", r"סכום ה?(חיוב|תשלום|עסקה)",
        r"^שולם", r"^(שולם|התקבל) (סך|סכום)")),
    (3, _any(r"\btotal( amount| price| cost)?\b", rf"סה{_Q}כ", r"סך ה?כו?ל", r"מחיר (כולל|סופי)")),
    (2, _any(r"(amount|balance) due", r"\bיתרה לתשלום", r"לתשלום", r"^amount\b", r"^סכום\b")),
)  # fmt: skip

# Before a day: it is the receipt's own, or another one.
DAY = _any(
    r"\b(order|invoice|receipt|transaction|payment|purchase|billing|sale|issue|charge)[ -]?date\b", r"^date\b", r"\bdate of",
    r"\bdate (paid|issued|ordered|charged)", r"\b(paid|ordered|placed|issued|purchased|charged|invoiced|dated)( on)?\b",
    rf"{_H}תאריך",
)  # fmt: skip
OTHER_DAY = _any(
    r"\bdue\b", r"deliver", r"ship", r"arriv", r"expir", r"next", r"renew", r"\bstart", r"\bend", r"period", r"valid",
    r"\buntil\b", r"return", r"birth", r"check.?(in|out)", r"departure", r"לתשלום עד", r"פירעון", r"ערך", r"אספקה",
    r"משלוח", r"תוקף", r"הבא", r"תקופה", r"חידוש", r"עד ",
)  # fmt: skip
TAX_AFTER = _any(r"\b(vat|tax|gst|sst|incl)", r"מע", r"כולל", r"מתוכם")

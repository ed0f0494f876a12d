"""Text normalised for parsing: one kind of space, dash, apostrophe and digit."""

_SAME = {
    " ": "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63",
    "'": "\u2018\u2019\u02bc\u00b4`",
    '"': "\u05f4\u201c\u201d\u201e",
    "¥": "\uffe5",
    "£": "\uffe1",
    "₩": "\uffe6",
    # These only mark the direction of text. Overrides (U+202D, U+202E) are not included: with them, the text that is
    # read differs from the text that is seen.
    "": "\u200b\u200e\u200f\u061c\u2066\u2067\u2068\u2069\u202a\u202b\u202c\ufeff",
}
_TABLE = {ord(written): plain for plain, many in _SAME.items() for written in many}
_TABLE |= {wide: chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)}  # full-width ASCII


def plain(text: str) -> str:
    """Without invisible marks; each dash becomes "-", each space " ", each full-width character its narrow form."""
    return text.strip() if text.isascii() else text.translate(_TABLE).strip()

"""What somebody sends to connect a mailbox."""

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from actors.mail.connection import MailSettings
from service.openapi import Input

# Controls, halves of characters, and separators of lines: nobody types them, and IMAP's commands end at some of them.
NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")


def _hidden(value: Any) -> Any:
    """What is wrong with a password is told without repeating it."""
    if not isinstance(value, str) or not 0 < len(value) <= 1000 or not _is_text(value):
        raise ValueError("Found a password that is no text of 1 to 1000 characters without control characters")
    return value


def _is_text(value: str) -> bool:
    return not any(unicodedata.category(letter) in NOT_TEXT for letter in value)


class NewConnection(MailSettings, Input):
    provider: Literal["imap"]
    user: str = Field(min_length=1, max_length=320)
    password: Annotated[SecretStr, BeforeValidator(_hidden)]

    @field_validator("host", "folder", "user")
    @classmethod
    def _text(cls, value: str, info: ValidationInfo) -> str:
        if not _is_text(value):
            raise ValueError(f"Found a control character in {info.field_name}, expected text in one line")
        return value

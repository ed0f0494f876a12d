"""Arguments that make no sense, of any command."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("token", "--role", "owner"), "needs --business and --user"),
        (("token", "--role", "owner", "--business", "5", "--user", "7"), "there is no business 5"),
        (("token", "--role", "king", "--business", "5"), "invalid choice: 'king'"),
        (("token", "--role", "owner", "--business", "9223372036854775808", "--user", "7"), "expected a number from 0"),
        (("token",), "needs --role"),
        (("token", "revoke"), "expected one: token revoke ID"),
        (("token", "rotate", "999"), "there is no token 999"),
        (("token", "revoke", "999"), "there is no token 999"),
        (("token", "list", "999"), "found an id"),
        (("token", "--role", "operator", "--name", "\x1b[31m"), "printable characters"),
        (("token", "--role", "operator", "--expires", "9999"), "expected at most 3650"),
        (("token", "--role", "operator", "--expires", "-1"), "expected a number"),
        (("business", " "), "expected 1 to 200"),
        (("import", "no-such-file.jsonl", "--business", "5"), "there is no business 5"),
        (("frobnicate",), "invalid choice"),
        ((), "required"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(arguments, says, command) -> None:
    done = command(*arguments)
    assert done.returncode != 0
    assert done.stdout == ""
    assert says in done.stderr

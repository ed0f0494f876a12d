"""`token`: what it prints, and that it never prints anything secret twice."""


def test_token_prints_only_the_token_and_it_works(command, make, api, sql) -> None:
    business_id = make.business()
    done = command("token", "--business", business_id, "--user", 7, "--role", "owner")
    assert (done.returncode, done.stderr) == (0, "")
    headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
    assert api().get("/api/jobs", headers=headers).status_code == 200
    assert sql("SELECT business_id, user_id, role FROM api_tokens") == [
        {"business_id": business_id, "user_id": 7, "role": "owner"}
    ]


def test_an_operators_token_takes_no_business(command, make, sql) -> None:
    assert command("token", "--role", "operator").returncode == 0
    assert command("token", "--role", "operator", "--business", make.business()).returncode == 1
    assert [row["role"] for row in sql("SELECT role FROM api_tokens")] == ["operator"]


def test_tokens_are_listed_revoked_and_rotated_without_a_word_of_what_is_secret(command, make, api, sql) -> None:
    business_id = make.business()
    first = command("token", "--business", business_id, "--user", 7, "--role", "owner", "--name", "till").stdout.strip()
    token_id = int(first.split("_")[1])
    assert first.startswith(f"lh_{token_id}_")

    def status(token: str) -> int:
        return api().get("/api/jobs", headers={"Authorization": f"Bearer {token}"}).status_code

    assert status(first) == 200
    listed = command("token", "list", "--business", business_id).stdout
    assert first.split("_", 2)[2] not in listed
    assert "till" in listed
    (row,) = sql("SELECT expires_at::date - now()::date AS days, issued_by FROM api_tokens")
    assert row["days"] == 365
    assert "@" in row["issued_by"]

    second = command("token", "rotate", token_id).stdout.strip()
    assert (status(first), status(second)) == (401, 200)
    assert sql("SELECT user_id, role, name FROM api_tokens WHERE revoked_at IS NULL") == [
        {"user_id": 7, "role": "owner", "name": "till"}
    ]
    assert command("token", "rotate", token_id).returncode == 1
    lifetimes = sql("SELECT expires_at::date - created_at::date AS days FROM api_tokens")
    assert [row["days"] for row in lifetimes] == [365, 365]
    second_id = int(second.split("_")[1])
    for _ in range(2):  # again it changes nothing
        assert command("token", "revoke", second_id).stdout == f"revoked: token {second_id}\n"
    assert status(second) == 401
    assert command("token", "list", "--business", make.business()).stdout.splitlines()[-1].startswith("id ")

"""`python -m service start`."""

import pytest


def test_a_job_is_started_and_its_id_printed(command, make, job_row, events) -> None:
    business_id = make.business()
    make.receipts(business_id, 3)
    done = command("start", "delete_receipts", "--business", business_id, "--confirm", "DELETE")
    assert done.returncode == 0, done.stderr
    job = job_row(int(done.stdout))
    assert (job["business_id"], job["total"], job["status"]) == (business_id, 3, "queued")
    assert events(job["id"])[0]["actor"].startswith("shell:")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["paint_receipts", "--business", "{b}"], "found the kind 'paint_receipts', expected one of "),
        (["delete_receipts", "--business", "{b}"], "--confirm: found None, expected 'DELETE'"),
        (["delete_receipts", "--business", "{b}", "--confirm", "delete"], "found 'delete', expected 'DELETE'"),
        (["delete_receipts", "--business", "999", "--confirm", "DELETE"], "there is no business 999"),
        (["delete_receipts", "--business", "{b}", "--confirm", "DELETE", "--params", "[]"], "expected an object"),
        (["delete_receipts", "--business", "{b}", "--confirm", "DELETE", "--params", "{{"], "found invalid JSON"),
        (
            ["delete_receipts", "--business", "{b}", "--confirm", "DELETE", "--params", '{{"a": 1}}'],
            "Unknown field 'a'",
        ),
    ],
)
def test_what_cannot_be_started_is_told_in_a_sentence(arguments, sentence, command, make, sql) -> None:
    business_id = make.business()
    done = command("start", *(argument.format(b=business_id) for argument in arguments))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert sql("SELECT FROM background_jobs") == []


def test_a_second_one_is_refused_as_over_http(command, make) -> None:
    business_id = make.business()
    job_id = make.job(business_id)
    done = command("start", "delete_receipts", "--business", business_id, "--confirm", "DELETE")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Job {job_id} of the kind delete_receipts is already active; it is queued" in done.stderr

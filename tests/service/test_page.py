"""How the page's files are served: kept for a year under a name with their hash, behind a strict policy."""

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

import falcon.testing
import pytest

from service.app import create_app
from service.page.assets import load


@pytest.fixture
def client(settings) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(create_app(settings))


@pytest.fixture
def page(client) -> falcon.testing.Result:
    return client.simulate_get("/")


def directives(page) -> dict[str, str]:
    parts = page.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (part.partition(" ") for part in parts)}


def addresses(page) -> list[str]:
    return sorted(set(re.findall(r'"(/assets/[^"]+\.[0-9a-f]{16}\.\w+)"', page.text)))


def test_the_page_is_kept_by_nobody_and_its_files_for_a_year(client, page) -> None:
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-store"
    assert addresses(page)
    for address in addresses(page):
        file = client.simulate_get(address)
        assert (file.status_code, file.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert hashlib.sha256(file.content).hexdigest()[:16] in address
        assert file.headers["x-content-type-options"] == "nosniff"


def test_every_address_in_the_page_is_one_of_ours_with_its_hash(client, page) -> None:
    for address in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        assert address in addresses(page)
        assert f'"{address}" integrity="sha256-' in page.text
    assert "//" not in re.sub(r'"[^"]*integrity[^"]*"|sha256-[\w+/=]+|<!doctype html>', "", page.text)


def test_the_policy_lets_nothing_run_but_our_modules_and_the_import_map(page) -> None:
    policy = directives(page)
    assert "unsafe" not in str(policy)
    assert policy["default-src"] == "'none'"
    (import_map,) = re.findall(r'<script type="importmap">(.*?)</script>', page.text)
    hashed = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{hashed}'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")
    assert (page.headers["referrer-policy"], page.headers["cross-origin-opener-policy"]) == (
        "no-referrer",
        "same-origin",
    )


def test_the_import_map_leads_from_each_module_to_its_file_and_stands_before_all(client, page) -> None:
    assert page.text.index('type="importmap"') < page.text.index("modulepreload")
    assert page.text.index('type="importmap"') < page.text.index('type="module"')
    (import_map,) = re.findall(r'<script type="importmap">(.*?)</script>', page.text)
    found = json.loads(import_map)
    for plain, address in found["imports"].items():
        content = client.simulate_get(address).content
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert found["integrity"][address] == f"sha256-{digest}"
        for imported in re.findall(r'from "\./([\w-]+\.js)"', content.decode()):
            assert f"/assets/{imported}" in found["imports"], plain


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("", False), ("br", False), ("gzip;q=0", False)],
)
def test_a_file_is_sent_compressed_to_whom_can_read_that(accepted, is_compressed, client, page) -> None:
    address = next(address for address in addresses(page) if address.endswith(".js"))
    plain = client.simulate_get(address).content
    file = client.simulate_get(address, headers={"Accept-Encoding": accepted})
    assert file.headers["vary"] == "Accept-Encoding"
    assert (file.headers.get("content-encoding") == "gzip") is is_compressed
    assert (gzip.decompress(file.content) if is_compressed else file.content) == plain


def test_a_name_without_its_hash_or_outside_is_a_404(client) -> None:
    for name in ("app.css", "app.0123456789abcdef.css", "..%2fresources.py", "index.html"):
        answer = client.simulate_get(f"/assets/{name}")
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_a_change_of_a_file_changes_its_address_and_the_pages_policy(tmp_path: Path) -> None:
    def site(name: str, text: str):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "index.html").write_text('<script type="module" src="main.js"></script>')
        (folder / "main.js").write_text('import { a } from "./other.js";\na();')
        (folder / "other.js").write_text(text)
        return load(folder)

    first, second = site("first", "export const a = () => 1;"), site("second", "export const a = () => 2;")
    assert first.files.keys() & second.files.keys() == {
        address for address in first.files if address.startswith("/assets/main.")
    }
    assert first.script_hash != second.script_hash
    assert first.pages["en"].data.count(b"modulepreload") == 2


@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [("", "he-IL,he;q=0.9,en;q=0.8", "he"), ("lang=en", "he-IL", "en"), ("", "fr, en-GB", "en"), ("", "", "en")],
)
def test_the_sentences_of_the_language_that_is_wanted_are_fetched_at_once(query, accepted, language, client) -> None:
    page = client.simulate_get("/", query_string=query, headers={"Accept-Language": accepted})
    assert re.findall(r'modulepreload" href="/assets/(en|he)\.', page.text) == [language]


def test_files_are_asked_of_nobody_and_counted_for_nobody(api, make, client, page, reads_stand_still) -> None:
    business_id = make.business()
    caller = api(business_id, READS_PER_SECOND=1)
    caller.get("/api/jobs")
    assert caller.get("/api/jobs").status_code == 429
    for path in ("/", addresses(page)[0]):
        assert client.simulate_get(path, headers={"Authorization": "Bearer wrong"}).status_code == 200


def test_a_file_that_is_not_there_is_kept_by_nobody(client) -> None:
    answer = client.simulate_get("/assets/jobs.0000000000000000.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")

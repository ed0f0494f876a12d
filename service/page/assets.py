"""The page's files, read once: each under a name with its hash, so that a browser may keep it for a year.

There is no build step. A module imports another by its plain name, `./jobs.js`; the import map in the page leads from
there to the name with the hash, and says what hash the browser has to find.
"""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STATIC = Path(__file__).with_name("static")
LANGUAGES = ("en", "he")  # the first one for those who speak neither; each has a module with its sentences
CONTENT_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".html": "text/html; charset=utf-8",
}
FIRST_MODULE = '<script type="module"'  # the import map has to stand before it
IMPORT = re.compile(r"""^(?:import|export)\b[^"';]*["']\./([\w-]+\.js)["']""", re.MULTILINE)  # known before it runs


@dataclass(frozen=True)
class File:
    """One file as it is sent."""

    address: str
    content_type: str
    data: bytes
    compressed: bytes
    integrity: str

    @classmethod
    def of(cls, name: str, data: bytes) -> "File":
        stem, dot, ending = name.rpartition(".")
        digest = hashlib.sha256(data).hexdigest()[:16]
        integrity = f"sha256-{base64.b64encode(hashlib.sha256(data).digest()).decode()}"
        compressed = gzip.compress(data, 9, mtime=0)
        return cls(f"/assets/{stem}.{digest}.{ending}", CONTENT_TYPES[dot + ending], data, compressed, integrity)


@dataclass(frozen=True)
class Site:
    pages: dict[str, File]  # by language: they differ in what is fetched at once
    script_hash: str  # of the import map, which stands in the page itself
    files: dict[str, File]  # by address


@cache
def load(folder: Path = STATIC) -> Site:
    """The page with the addresses of its files, and these."""
    named = {file.name: File.of(file.name, file.read_bytes()) for file in sorted(folder.iterdir()) if _is_sent(file)}
    modules = {name: file for name, file in named.items() if name.endswith(".js")}
    import_map = json.dumps(
        {
            "imports": {f"/assets/{name}": file.address for name, file in modules.items()},
            "integrity": {file.address: file.integrity for file in modules.values()},
        },
        separators=(",", ":"),
    )
    source = (folder / "index.html").read_text()
    needed = _needed(source, modules)
    page = source
    for name, file in named.items():
        page = page.replace(f'="{name}"', f'="{file.address}" integrity="{file.integrity}"')
    pages = {}
    for language in LANGUAGES:
        links = "".join(
            f'<link rel="modulepreload" href="{modules[name].address}" integrity="{modules[name].integrity}">'
            for name in [*needed, f"{language}.js"]
            if name in modules
        )
        start = f'<script type="importmap">{import_map}</script>{links}{FIRST_MODULE}'
        pages[language] = File.of("index.html", page.replace(FIRST_MODULE, start, 1).encode())
    script_hash = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    return Site(pages, f"'sha256-{script_hash}'", {file.address: file for file in named.values()})


def _is_sent(file: Path) -> bool:
    return file.suffix in CONTENT_TYPES and file.name != "index.html"


def _needed(page: str, modules: dict[str, File]) -> list[str]:
    """The modules that run before anything is shown, to be fetched at once instead of one after another."""
    found = [name for name in modules if f'="{name}"' in page]
    for name in found:  # grows meanwhile
        for imported in IMPORT.findall(modules[name].data.decode()):
            if imported in modules and imported not in found:
                found.append(imported)
    return found

"""The documentation builds as a site without a warning: no broken link, no public name without its docstring."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import videomae
from videomae.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
pytest.importorskip("material", reason="mkdocs-material is not installed")


class Sources(HTMLParser):
    """What a page loads: scripts, styles, pictures, fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            return
        self.found += [value for name in ("src", "href") if (value := values.get(name))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def test_the_site_has_every_public_name_and_every_command(site: Path) -> None:
    reference = (site / "reference.html").read_text(encoding="utf-8")
    missing = [
        name
        for name in videomae.__all__
        if name in videomae._HOMES and f'id="{videomae._HOMES[name]}.{name}"' not in reference
    ]
    assert missing == []
    commands = (site / "commands.html").read_text(encoding="utf-8")
    assert all(f'<h2 id="{name}">' in commands for name in COMMANDS)
    assert "--image-size N|HxW" in commands
    errors = (site / "errors.html").read_text(encoding="utf-8")
    assert "features of two models cannot be compared" in errors


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        sources = Sources()
        sources.feed(page.read_text(encoding="utf-8"))
        assert sources.found
        assert [source for source in sources.found if re.match(r"(https?:)?//", source)] == []

import base64
import hashlib
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videomae.core.errors import InputError, ShapeError
from videomae.report.charts import loss_curves
from videomae.report.html import KeyFigure, Report, VideoRow
from videomae.report.pictures import encode_gif, filmstrip_jpeg
from videomae.report.svg import line_chart

VOID_TAGS = {"meta", "img", "br", "hr", "link", "input"}
EVIL = "<script>alert(\"1\")</script> & 'quotes' </td></table>"
PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


class Page(HTMLParser):
    """Reads a page, holds what it contains, and fails where a tag is closed that was not opened last."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_in(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def full_report() -> Report:
    return (
        Report("The run", subtitle="8 classes")
        .section("Result")
        .key_figures([KeyFigure("top-1", "83.4 %", "200 clips"), ("classes", "8")])
        .text("One paragraph.\n\nAnother one.")
        .table(["name", "accuracy", "videos"], [["left", 0.83333333, 12], ["right", 1.0, 9]], caption="By class")
        .section("Pictures")
        .picture(PIXELS, alt="a sheet", caption="What was pasted in")
        .picture(loss_curves({"a": [(1, 0.5)]}), alt="a chart")
        .section("Commands")
        .commands("videomae pretrain clips --output run\nvideomae info run\n")
    )


def test_page_is_well_formed_and_holds_everything() -> None:
    text = full_report().render()
    page = Page(text)

    assert text.startswith("<!DOCTYPE html>\n<html ")
    assert page.text_in("title") == page.text_in("h1") == ["The run"]
    assert page.text_in("h2") == ["Result", "Pictures", "Commands"]
    assert page.text_in("p") == ["8 classes", "One paragraph.", "Another one."]
    assert page.text_in("dt") == ["top-1", "classes"]
    assert page.text_in("dd") == ["83.4 %", "200 clips", "8"]
    assert page.text_in("caption") == ["By class"]
    assert page.text_in("th") == ["name", "accuracy", "videos"]
    assert page.text_in("td") == ["left", "0.8333", "12", "right", "1", "9"]
    assert [cell.get("class") for cell in page.attributes("td")] == [None, "number", "number"] * 2
    assert page.text_in("figcaption") == ["What was pasted in"]
    assert page.text_in("code") == ["videomae pretrain clips --output run\nvideomae info run"]


def test_links_lead_to_the_sections() -> None:
    page = Page(full_report().render())

    targets = [f"#{heading['id']}" for heading in page.attributes("h2")]
    assert [link["href"] for link in page.attributes("a")] == targets
    assert len(set(targets)) == 3
    twice = Page(Report("x").section("same").section("same").render())
    assert [f"#{heading['id']}" for heading in twice.attributes("h2")] == ["#section-1", "#section-2"]
    assert Page(Report("x").section("only one").render()).attributes("nav") == []


def test_all_text_is_escaped() -> None:
    report = Report(EVIL, subtitle=EVIL).section(EVIL).section(EVIL).text(EVIL).commands(EVIL)
    report.key_figures([KeyFigure(EVIL, EVIL, EVIL)]).table([EVIL], [[EVIL]], caption=EVIL)
    report.picture(PIXELS, alt=EVIL, caption=EVIL)

    page = Page(report.render())

    assert page.attributes("script") == []
    assert page.attributes("img")[0]["alt"] == EVIL
    for tag in ("title", "h1", "h2", "a", "p", "dt", "dd", "caption", "th", "td", "figcaption", "code"):
        assert set(page.text_in(tag)) == {EVIL}, tag


def test_nothing_outside_the_file_is_asked_for() -> None:
    text = full_report().render()
    page = Page(text)

    assert "http://" not in text
    assert "https://" not in text
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/"))
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert {"http-equiv": "Content-Security-Policy"}.items() <= page.attributes("meta")[3].items()
    assert "default-src 'none'" in page.attributes("meta")[3]["content"]


def test_pictures_are_in_the_file_as_they_were() -> None:
    pixels, chart = Page(full_report().render()).attributes("img")

    kind, data = pixels["src"].split(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), PIXELS)
    assert (pixels["width"], pixels["height"], pixels["alt"]) == ("3", "2", "a sheet")
    kind, data = chart["src"].split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data) == loss_curves({"a": [(1, 0.5)]})
    assert 600 < int(chart["width"]) < 800


def test_gif_keeps_moving() -> None:
    gif = encode_gif(np.stack([PIXELS, 255 - PIXELS]), frames_per_second=5)

    image = Page(Report("x").picture(gif, alt="moving").render()).attributes("img")[0]

    assert image["src"] == "data:image/gif;base64," + base64.b64encode(gif).decode()


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"<svg></svg>", b"<svg", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        Report("x").picture(content, alt="")


def test_pixels_of_another_type_are_refused() -> None:
    with pytest.raises(ShapeError, match="the picture is float64"):
        Report("x").picture(PIXELS / 255, alt="")


def test_ragged_tables_are_refused() -> None:
    with pytest.raises(InputError, match="row 1 of a table has 1 cells: expected 2"):
        Report("x").table(["a", "b"], [[1, 2], [3]])


def test_empty_parts_leave_nothing_odd() -> None:
    page = Page(Report("x").key_figures([]).text("").table(["a"], []).render())

    assert page.attributes("dl") == []
    assert page.text_in("th") == ["a"]
    assert page.attributes("p") == []


def test_save_writes_utf8_whatever_the_text(tmp_path: Path) -> None:
    report = Report("évènement – 動画").text("undecodable \udcff name")

    path = report.save(tmp_path / "new" / "report.html")

    page = Page(path.read_text(encoding="utf-8"))
    assert page.text_in("h1") == ["évènement – 動画"]
    assert page.text_in("p") == ["undecodable \\udcff name"]
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_a_gallery_is_part_of_the_file() -> None:
    strip = filmstrip_jpeg(np.full((3, 20, 30, 3), 90, dtype=np.uint8), height=40)
    page = (
        Report("T").gallery([(strip, "three <frames>", "a & b"), (np.zeros((4, 6, 3), np.uint8), "black", "")]).render()
    )
    assert page.count("<figure>") == 2
    assert 'width="184" height="40"' in page  # 3 × 60 and two gaps of 2
    assert "data:image/jpeg;base64," in page
    assert "data:image/png;base64," in page
    assert "three &lt;frames&gt;" in page
    assert "a &amp; b" in page
    assert '<div class="gallery">' not in Report("T").gallery([]).render()


def table_of_videos() -> Report:
    rows = [
        VideoRow(["a.mp4", "run", 0.75], "/data/a.mp4", "../a.mp4"),
        VideoRow(["</script><b>", EVIL, None], "half \udcff", None),
    ]
    return Report("A").videos(["video", "outcome", "probability"], rows, outcome=1, filters={"any outcome": 1})


def test_a_table_of_videos_holds_its_data_and_the_one_script_that_may_run() -> None:
    text = table_of_videos().render()
    page = Page(text)

    data, script = page.text_in("script")
    found = json.loads(data)
    assert found["rows"][0] == {"cells": ["a.mp4", "run", 0.75], "path": "/data/a.mp4", "source": "../a.mp4"}
    assert found["rows"][1]["cells"] == ["</script><b>", EVIL, None]
    assert found["rows"][1]["path"] == "half \\udcff"
    assert found["filters"] == [{"label": "any outcome", "column": 1, "values": sorted(["run", EVIL])}]
    assert found["numbers"] == [2]
    [policy] = [m["content"] for m in page.attributes("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "innerHTML" not in script
    assert Page(Report("A").videos(["video"], [], outcome=0, filters={}).render()).attributes("script") == []


def test_facts_and_charts() -> None:
    chart = line_chart("Loss", {EVIL: [(0, 1.0), (1, 0.5)]})
    page = Page(Report("A", facts=[("command", EVIL)]).charts([chart]).render())

    assert EVIL in page.text_in("dd")
    assert page.text_in("h3") == ["Loss"]
    assert len(page.attributes("svg")) == 1
    assert any("last 0.5" in text for text in page.text_in("span"))
    assert page.attributes("figure")[0]["aria-label"].startswith("Loss over steps")


def test_long_tables_are_folded_and_percentages_stand_at_the_right() -> None:
    rows = [["left", "83.3%", "83.3% or so"], ["right", "–", "9%"]]
    page = Page(Report("A").table(["name", "right", "text"], rows, folded="All 2 <classes>").render())

    assert page.text_in("summary") == ["All 2 <classes>"]
    assert [cell.get("class") for cell in page.attributes("td")] == [None, "number", None] * 2
    assert len(page.attributes("details")) == 1
    assert not Page(Report("A").table(["name"], [["x"]]).render()).attributes("details")

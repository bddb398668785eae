import itertools

import pytest

from videomae.report.text import isolated, load_font, printable, wrap_text

FONT = load_font(16)
LONG = "Rebuilt tubelets use the input's own patch mean and variance (norm_pix_loss)."


@pytest.mark.parametrize("max_width", [60, 150, 400])
def test_lines_fit_and_lose_nothing(max_width: int) -> None:
    lines = wrap_text(LONG, FONT, max_width)

    assert all(FONT.getlength(line) <= max_width for line in lines)
    assert "".join(lines).replace(" ", "") == LONG.replace(" ", "")


def test_lines_are_as_full_as_they_can_be() -> None:
    lines = wrap_text(LONG, FONT, 200)

    assert len(lines) > 2
    for line, following in itertools.pairwise(lines):
        assert FONT.getlength(f"{line} {following.split()[0]}") > 200


def test_the_texts_own_line_breaks_stay() -> None:
    assert wrap_text("frame 3\ntube mask", FONT, 1000) == ["frame 3", "tube mask"]


def test_long_names_break_after_separators() -> None:
    lines = wrap_text("class_of_motion/video_000123.mp4", FONT, 130)

    assert "".join(lines) == "class_of_motion/video_000123.mp4"
    assert len(lines) > 1
    assert all(line[-1] in "_/-." for line in lines[:-1])


def test_a_word_without_separators_breaks_between_characters() -> None:
    lines = wrap_text("m" * 50, FONT, 100)

    assert "".join(lines) == "m" * 50
    assert all(FONT.getlength(line) <= 100 for line in lines)


def test_a_width_below_one_character_still_ends() -> None:
    assert wrap_text("abc", FONT, 1) == ["a", "b", "c"]


@pytest.mark.parametrize("empty", ["", "  ", "\n \n"])
def test_empty_text_has_no_lines(empty: str) -> None:
    assert wrap_text(empty, FONT, 100) == []


def test_what_no_font_can_draw_is_written_as_its_escape() -> None:
    assert printable("a\tb\x07\udcff\nç") == "a b\\x07\\udcff\nç"


def test_the_font_has_the_signs_that_captions_use() -> None:
    missing = bytes(FONT.getmask("\uffff"))

    assert [sign for sign in "×±–“”é→≥²" if bytes(FONT.getmask(sign)) == missing] == []


def test_words_from_right_to_left_are_kept_apart() -> None:
    assert isolated("танец 跳舞 (3)") == "танец 跳舞 (3)"
    assert isolated("رقص (3)") == "\u2068رقص (3)\u2069"
    assert isolated("ריקוד") == "\u2068ריקוד\u2069"

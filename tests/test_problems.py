"""Words for mistakes, shared by all packages."""

from __future__ import annotations

from tafukt.problems import Mistakes, listed, nearest

LETTERS = "abcdefgh"


def test_a_list_hides_several_words_or_none() -> None:
    assert listed(LETTERS, limit=8) == "a, b, c, d, e, f, g, h"
    assert listed(LETTERS, limit=7) == "a, b, c, d, e, f, g, h", "one word takes no more room than its count"
    assert listed(LETTERS, limit=6) == "a, b, c, d, e, f, ... (2 more)"
    assert listed((), limit=6) == ""


def test_a_hundred_and_one_mistakes_are_told_and_of_more_the_count() -> None:
    lines = [f"mistake {number}" for number in range(150)]
    assert str(Mistakes(lines[:101])) == "\n".join(lines[:101])
    assert str(Mistakes(lines)).splitlines()[-2:] == ["mistake 99", "... and 50 more"]
    assert len(Mistakes(lines).problems) == 150


def test_the_nearest_word_is_found_whatever_its_case() -> None:
    assert nearest("wait-for-sum", ["fifo", "wait-for-sun"]) == "wait-for-sun"
    assert nearest("FIFO", ["fifo", "wait-for-sun"]) == "fifo"
    assert nearest("zzz", ["fifo"]) == ""

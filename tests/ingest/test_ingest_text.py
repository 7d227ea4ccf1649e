"""Text, times and ids: computed vectors of X's formats, and properties that must hold for any text."""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare.ingest.text import (
    clean,
    parse_time,
    snowflake_time,
    sound,
    unescape_x,
    whole_number,
    without_mentions,
    x_created,
    x_id,
    x_text,
    x_uid,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates and controls among them


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (1626922779105759235, "2023-02-18T12:33:11.959+00:00"),
        (994633657141813248, "2018-05-10T17:41:57.919+00:00"),
        (1697011324369178968, "2023-08-30T22:20:03.332+00:00"),
    ],
)
def test_an_id_tells_its_time_to_the_millisecond(number: int, moment: str) -> None:
    assert snowflake_time(number) == dt.datetime.fromisoformat(moment)


def test_ids_before_snowflakes_tell_no_time() -> None:
    assert snowflake_time(459419062) is None
    assert snowflake_time(29700859246) is None
    assert snowflake_time(29700859247) is not None


def test_a_post_without_a_date_gets_the_one_in_its_id() -> None:
    assert x_created(None, "1626922779105759235") == (snowflake_time(1626922779105759235), "ms")
    assert x_created("2023-02-18T12:33:11.000Z", "1626922779105759235")[0] != snowflake_time(1626922779105759235)
    assert x_created(None, "20") == (None, "unknown")


@pytest.mark.parametrize("value", ["1626922779105759235", 1626922779105759235, "16270389803521472158"])
def test_an_id_is_its_digits(value: object) -> None:
    assert x_id(value) == str(value)


@pytest.mark.parametrize(
    "value",
    [-1, "-1", 1.626922779105759235e18, 1e3, "1e18", "1.6E+18", True, None, "", " 1", "1" * 21, 10**20, "١٢٣", [], {}],
)
def test_what_is_no_id_is_none(value: object) -> None:
    assert x_id(value) is None
    assert x_uid(value) is None


@given(st.integers(0, 10**20 - 1))
def test_ids_never_lose_a_digit_on_the_way_through_json(number: int) -> None:
    assert x_id(json.loads(json.dumps({"id": number}))["id"]) == str(number)
    assert x_uid(str(number)) == f"x:{number}"


def test_html_is_unescaped_once() -> None:
    assert unescape_x("a &amp; b &lt;i&gt;") == "a & b <i>"
    assert unescape_x("&amp;lt;") == "&lt;"
    assert unescape_x("&quot;&#39;") == "&quot;&#39;"  # X never writes these: somebody typed them


def test_links_are_replaced_where_they_stand_whatever_the_indices_count() -> None:
    family = "👨‍👩‍👧 hi https://t.co/abc"
    assert family.index("https") == 9
    assert len(family[:9].encode("utf-16-le")) // 2 == 12
    links = [{"short": "https://t.co/abc", "expanded": "https://example.org/?a=1&amp=2"}]
    assert x_text(family, links) == "👨‍👩‍👧 hi https://example.org/?a=1&amp=2"


def test_what_a_link_expands_to_is_left_alone() -> None:
    links = [
        {"short": "https://t.co/a", "expanded": "https://x.org/?u=https://t.co/b&amp;lt;"},
        {"short": "https://t.co/b", "expanded": "https://y.org"},
        {"short": "https://t.co/c", "expanded": None},
    ]
    raw = "1 &amp; https://t.co/a https://t.co/b https://t.co/c https://t.co/abc https://t.co/a日本"
    assert x_text(raw, links) == (
        "1 & https://x.org/?u=https://t.co/b&amp;lt; https://y.org https://t.co/c https://t.co/abc "
        "https://x.org/?u=https://t.co/b&amp;lt;日本"
    )


def test_cut_links_and_dropped_links_go() -> None:
    assert x_text("see https://t.co/ab…", []) == "see"
    assert x_text("https://t.co/ab…日本", []) == "日本"
    assert x_text("a https://t.co/m b", [], ["https://t.co/m"]) == "a  b"
    assert (
        x_text("a https://t.co/m", [{"short": "https://t.co/m", "expanded": "https://e.org"}], ["https://t.co/m"])
        == "a"
    )


def test_controls_go_and_line_ends_stay() -> None:
    assert sound("a\0b\x9fc\x85d\n\te\u2028f\u2029") == "abc\x85d\n\te\u2028f\u2029"
    assert sound("\ud83d") == "\ufffd"
    assert clean("e\u0301") == "é"


@given(ANY_TEXT)
def test_clean_text_can_be_stored_and_is_stable(text: str) -> None:
    once = clean(text)
    once.encode("utf-8")
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(c == "\0" or ("\x80" <= c <= "\x9f" and c != "\x85") for c in once)
    # Written out anew: nothing but the forbidden goes, nothing but surrogates changes.
    kept = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text if not _forbidden(c))
    assert sound(text) == kept


def _forbidden(character: str) -> bool:
    return character == "\0" or (0x80 <= ord(character) <= 0x9F and ord(character) != 0x85)


@given(st.lists(st.tuples(st.sampled_from(["é ", "👨‍👩‍👧", "a&b ", "<", "\n", "日本"]), st.integers(0, 9)), max_size=8))
def test_every_known_link_is_expanded_and_the_rest_is_kept(parts: list[tuple[str, int]]) -> None:
    escaped = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    raw = "".join("".join(escaped.get(c, c) for c in words) + f" https://t.co/{i} " for words, i in parts)
    links = [{"short": f"https://t.co/{i}", "expanded": f"https://example.org/{i}?x&y"} for i in range(10)]
    expected = "".join(f"{words} https://example.org/{i}?x&y " for words, i in parts)
    assert x_text(raw, links) == expected.strip()


def test_only_mentioned_names_in_front_of_a_reply_go() -> None:
    assert without_mentions("@A @b hi @c", {"a", "B"}) == "hi @c"
    assert without_mentions("@a @stranger hi", {"a"}) == "@stranger hi"
    assert without_mentions("@a", {"a"}) == "@a"


@pytest.mark.parametrize(
    ("said", "moment", "precision"),
    [
        ("Sat Dec 01 02:52:47 +0000 2007", "2007-12-01T02:52:47", "s"),
        ("Sat Feb 18 12:33:11 +0000 2023", "2023-02-18T12:33:11", "s"),
        ("Sat Feb 18 12:33:11 -0330 2023", "2023-02-18T16:03:11", "s"),
        ("2015-01-24 02:02:37 +0000", "2015-01-24T02:02:37", "s"),
        ("2024-01-10T12:00:00.000Z", "2024-01-10T12:00:00", "ms"),
        ("2024-09-09T19:46:02.246036Z", "2024-09-09T19:46:02.246036", "us"),
        ("2013-06-04T16:25:04+00:00", "2013-06-04T16:25:04", "s"),
        ("2024-01-10", "2024-01-10T00:00:00", "day"),
        ("10/16/17 22:59", "2017-10-16T22:59:00", "s"),
        ("10/16/2017", "2017-10-16T00:00:00", "day"),
        (1415000000, "2014-11-03T07:33:20", "s"),
        ("1415000000.9", "2014-11-03T07:33:20", "s"),
        ("1415000000123", "2014-11-03T07:33:20.123", "ms"),
        (1415000000123456, "2014-11-03T07:33:20.123456", "us"),
        (dt.date(2024, 1, 10), "2024-01-10T00:00:00", "day"),
        (dt.datetime(2024, 1, 10, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), "2024-01-10T00:00:00", "us"),
    ],
)
def test_times_in_every_form(said: object, moment: str, precision: str) -> None:
    assert parse_time(said) == (dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC), precision)


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "never",
        "Sat Foo 01 02:52:47 +0000 2007",
        "2024-13-01",
        "99/99/99",
        "9" * 17,
        True,
        [],
        {},
        float("nan"),
        "Sat Feb 30 12:33:11 +0000 2023",
        dt.datetime.min,
        dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-9))),
    ],
)
def test_what_is_no_time_is_unknown_and_raises_nothing(said: object) -> None:
    found, precision = parse_time(said)
    assert found is None or found.tzinfo is dt.UTC
    assert (found is None) == (precision == "unknown")


@given(st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(9998, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_x_dates_agree_with_another_writer_of_them(moment: dt.datetime, offset_minutes: int) -> None:
    zoned = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=offset_minutes)), microsecond=0)
    day, date, month, year, clock, zone = re.split("[, ]+", format_datetime(zoned))
    assert parse_time(f"{day} {month} {date} {clock} {zone} {year}") == (zoned.astimezone(dt.UTC), "s")
    assert parse_time(zoned.isoformat())[0] == zoned.astimezone(dt.UTC)


@given(ANY_TEXT | st.integers() | st.floats() | st.datetimes() | st.dates())
def test_no_value_breaks_the_parser_of_times(value: object) -> None:
    found, precision = parse_time(value)
    assert (found is None) == (precision == "unknown")


def test_counts() -> None:
    assert whole_number("1") == 1
    assert whole_number("1,234") == 1234
    assert whole_number(7.0) == 7
    assert [whole_number(value) for value in (None, "", "1.5", 1.5, True, "many", float("nan"), 1e300, [], "٣")] == [
        None
    ] * 10

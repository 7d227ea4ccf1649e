"""The gate against its rules told anew in plain Python, post by post; and what it says of itself."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from townsquare.consent import gate
from townsquare.consent.gate import OptOuts, explain, opt_outs, refusals, require_any
from townsquare.consent.grants import Grant
from townsquare.errors import GrantError
from townsquare.records import EVENTS, POSTS, PURPOSES, STATES, TEXT_STATUSES, VISIBILITIES

TODAY = dt.date(2024, 6, 15)
NETWORKS = ["x", "masto", "table"]
AUTHORS = ["7", "8", None]

grants = st.lists(
    st.builds(
        Grant,
        id=st.uuids().map(str),
        grantor=st.just("A"),
        grantee=st.just("B"),
        purposes=st.lists(st.sampled_from(PURPOSES), min_size=1, max_size=3).map(tuple),
        sources=st.sampled_from([("*",), ("one",), ("two", "three"), ("nowhere",)]),
        networks=st.sampled_from([(), ("x",), ("masto", "table")]),
        authors=st.sampled_from([(), ("x:7",), ("masto:8",)]),
        visibilities=st.sampled_from([("public",), ("public", "community"), ("protected",)]),
        starts=st.sampled_from([None, "2024-06-15", "2024-06-16", "2023-01-01"]),
        ends=st.sampled_from([None, "2024-12-31", "2024-06-16"]),
        revoked=st.booleans(),
    ),
    max_size=4,
)
posts = st.lists(
    st.fixed_dictionaries(
        {
            "network": st.sampled_from(NETWORKS),
            "source_id": st.sampled_from(["one", "two", "three", "four"]),
            "author_id": st.sampled_from(AUTHORS),
            "text_status": st.sampled_from(TEXT_STATUSES),
            "repost_of": st.sampled_from([None, None, "x:9"]),
            "repost_of_author": st.sampled_from([None, None, "somebody"]),
            "visibility": st.sampled_from(["public", *VISIBILITIES]),
            "withheld_countries": st.sampled_from([None, None, [], ["DE"]]),
            "withheld_copyright": st.sampled_from([None, False, True]),
            "consent_intent": st.sampled_from([None, "undefined", "allow", "deny"]),
            "state": st.sampled_from(["live", "live", "live", *STATES]),
        }
    ),
    max_size=8,
)
DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
events = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["opt_out", "opt_in", "delete", "protect"]),
            "target": st.sampled_from(["x:7", "masto:8", "post 0", "post 1"]),
            "scope": st.sampled_from([None, "all", *PURPOSES]),
            "at": st.none() | st.integers(0, 3).map(lambda days: DAY + dt.timedelta(days=days)),
        }
    ),
    max_size=6,
)


def posts_table(rows: list[dict[str, Any]]) -> pa.Table:
    base = {"source_sha256": "0", "source_locator": "f:1"}
    return pa.Table.from_pylist(
        [{**base, "uid": f"{r['network']}:p{i}", **r} for i, r in enumerate(rows)], schema=POSTS
    )


def events_table(rows: list[dict[str, Any]], uids: list[str]) -> pa.Table:
    said = []
    for number, row in enumerate(rows):
        is_post = row["target"].startswith("post ")
        index = int(row["target"].split()[-1]) if is_post else 0
        if is_post and index >= len(uids):
            continue
        said.append(
            {
                "event_id": str(number),
                "kind": row["kind"],
                "target_uid": uids[index] if is_post else None,
                "target_author": None if is_post else row["target"],
                "scope": row["scope"],
                "reversible": True,
                "event_at": row["at"],
                "source_id": "s",
                "source_sha256": "0",
                "source_locator": "f:1",
            }
        )
    return pa.Table.from_pylist(said, schema=EVENTS)


def is_out(events: list[dict[str, Any]], target: str, purpose: str) -> bool:
    """Out by an opt-out that bears on the purpose and that no later opt-in to the same, or to all, took back."""
    mine = [e for e in events if target in (e["target_uid"], e["target_author"]) and e["kind"] in ("opt_out", "opt_in")]
    bearing = {"tune": ("all", "tune", "train")}.get(purpose, ("all", purpose))

    def moment(event: dict[str, Any]) -> dt.datetime:
        when: dt.datetime = event["event_at"] or DAY - dt.timedelta(days=1)
        return when

    def taken_back(out: dict[str, Any]) -> bool:
        scope = out["scope"] or "all"
        return any(
            e["kind"] == "opt_in" and (e["scope"] or "all") in (scope, "all") and moment(e) > moment(out) for e in mine
        )

    return any(e["kind"] == "opt_out" and (e["scope"] or "all") in bearing and not taken_back(e) for e in mine)


def covers(grant: Grant, post: dict[str, Any], purpose: str) -> bool:
    if grant.revoked or purpose not in grant.purposes:
        return False
    if grant.starts is not None and dt.date.fromisoformat(grant.starts) > TODAY:
        return False
    if grant.ends is not None and dt.date.fromisoformat(grant.ends) < TODAY:
        return False
    if "*" in grant.sources or post["source_id"] in grant.sources or post["network"] in grant.networks:
        return True
    return post["author_id"] is not None and f"{post['network']}:{post['author_id']}" in grant.authors


def why_not(  # noqa: PLR0911
    post: dict[str, Any], grants: list[Grant], events: list[dict[str, Any]], purpose: str
) -> str | None:
    """The rules, told anew."""
    key = f"{post['network']}:{post['author_id']}"
    if post["state"] in ("deleted", "tombstone"):
        return "deleted"
    if post["state"] != "live":
        return "suppressed"
    holding = [grant for grant in grants if covers(grant, post, purpose)]
    if not holding:
        return "no_grant"
    if not any(post["visibility"] in grant.visibilities for grant in holding):
        return "not_public"
    if post["withheld_countries"] or post["withheld_copyright"]:
        return "withheld"
    if is_out(events, post["uid"], purpose) or (post["author_id"] is not None and is_out(events, key, purpose)):
        return "opted_out"
    if post["repost_of_author"] is not None and post["repost_of"] is None:
        return "unknown_original"
    if purpose in ("train", "tune"):
        if post["consent_intent"] == "deny":
            return "denied_by_author"
        if post["repost_of"] is not None:
            return "repost"
        if post["text_status"] in ("truncated", "missing"):
            return "truncated"
    return None


@settings(max_examples=100, deadline=None)
@given(posts, grants, events, st.sampled_from(PURPOSES))
@example([], [], [], "train")
def test_no_post_passes_but_by_the_rules(
    posts: list[dict[str, Any]], grants: list[Grant], events: list[dict[str, Any]], purpose: str
) -> None:
    table = posts_table(posts)
    happened = events_table(events, table["uid"].to_pylist())
    out = opt_outs(happened, purpose)
    reasons = refusals(table, grants=grants, opted_out=out, purpose=purpose, at=TODAY)
    expected = [why_not(post, grants, happened.to_pylist(), purpose) for post in table.to_pylist()]
    assert reasons.to_pylist() == expected
    if not any(grant.live(TODAY) and purpose in grant.purposes for grant in grants):
        assert None not in reasons.to_pylist()
    for number, reason in enumerate(expected):
        rules = explain(table.slice(number, 1), grants=grants, opted_out=out, purpose=purpose, at=TODAY)
        assert next((name for name, refuses in rules if refuses), None) == reason


@settings(max_examples=100, deadline=None)
@given(events, st.sampled_from(PURPOSES))
def test_who_is_out_is_who_said_so_last(events: list[dict[str, Any]], purpose: str) -> None:
    happened = events_table([{**event, "target": "x:7"} for event in events], [])
    out = opt_outs(happened, purpose)
    assert out.authors == ({"x:7"} if is_out(happened.to_pylist(), "x:7", purpose) else set())
    happened = events_table([{**event, "target": "post 0"} for event in events], ["x:1"])
    assert opt_outs(happened, purpose).posts == ({"x:1"} if is_out(happened.to_pylist(), "x:1", purpose) else set())


def test_an_opt_in_takes_back_what_it_names_and_no_more() -> None:
    """By hand: everything out, training in again; nobody said that tuning, or even training, is free of the first."""
    first, then = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    base = {"target": "x:7"}

    def happened(*said: tuple[str, str, dt.datetime]) -> Any:
        return events_table([{**base, "kind": k, "scope": s, "at": at} for k, s, at in said], [])

    narrow = happened(("opt_out", "all", first), ("opt_in", "train", then))
    wide = happened(("opt_out", "train", first), ("opt_in", "all", then))
    same = happened(("opt_out", "train", first), ("opt_in", "train", then))
    for purpose in PURPOSES:
        assert opt_outs(narrow, purpose).authors == {"x:7"}
        assert not opt_outs(wide, purpose).authors
        assert not opt_outs(same, purpose).authors


GRANT = Grant(id="g", grantor="A", grantee="B", purposes=("train", "retrieve"), sources=("*",))
GOOD = {
    "network": "x",
    "source_id": "s",
    "author_id": "7",
    "text_status": "full",
    "visibility": "public",
    "state": "live",
}


def refusal(purpose: str = "train", out: OptOuts = OptOuts(), grants: Any = (GRANT,), **changes: Any) -> str | None:
    table = posts_table([{**GOOD, **changes}])
    return refusals(table, grants=grants, opted_out=out, purpose=purpose, at=TODAY).to_pylist()[0]


def test_each_rule_speaks_alone() -> None:
    assert refusal() is None
    assert refusal(grants=()) == "no_grant"
    assert refusal("tune") == "no_grant"
    assert refusal(state="deleted") == "deleted"
    assert refusal(state="suppressed") == "suppressed"
    assert refusal(visibility="protected") == "not_public"
    assert refusal(visibility="unknown") == "not_public"
    assert refusal(withheld_countries=["DE"]) == "withheld"
    assert refusal(withheld_copyright=True) == "withheld"
    assert refusal(out=OptOuts(authors=frozenset({"x:7"}))) == "opted_out"
    assert refusal(out=OptOuts(posts=frozenset({"x:p0"}))) == "opted_out"
    assert refusal(out=OptOuts(authors=frozenset({"masto:7"}))) is None
    assert refusal(consent_intent="deny") == "denied_by_author"
    assert refusal("retrieve", consent_intent="deny") is None
    assert refusal(repost_of="x:9") == "repost"
    assert refusal("retrieve", repost_of="x:9") is None
    assert refusal("retrieve", repost_of_author="somebody") == "unknown_original"
    assert refusal(text_status="truncated") == "truncated"
    assert refusal("retrieve", text_status="truncated") is None


@pytest.mark.parametrize(
    ("starts", "ends", "holds"),
    [
        (None, None, True),
        ("2024-06-15", "2024-06-15", True),
        ("2024-06-16", None, False),
        (None, "2024-06-14", False),
        ("2024-01-01", "2024-12-31", True),
    ],
)
def test_a_grant_holds_from_its_first_day_to_its_last(starts: str | None, ends: str | None, holds: bool) -> None:
    grant = Grant(id="g", grantor="A", grantee="B", purposes=("train",), sources=("*",), starts=starts, ends=ends)
    assert (refusal(grants=(grant,)) is None) == holds


def test_a_state_or_visibility_nobody_foresaw_is_refused() -> None:
    assert refusal(state="odd") == "suppressed"
    assert refusal(visibility="odd") == "not_public"


def test_nothing_allowed_says_why_and_what_to_type() -> None:
    require_any(pa.array(["no_grant", None]), "train")
    with pytest.raises(GrantError, match="no_grant 2, deleted 1") as caught:
        require_any(pa.array(["no_grant", "no_grant", "deleted"]), "train")
    assert caught.value.exit_code == 3
    assert "townsquare grant add" in str(caught.value.remedy)
    assert "--purpose train" in str(caught.value.remedy)
    with pytest.raises(GrantError, match="there are no posts"):
        require_any(pa.array([], pa.string()), "train")


def test_a_missing_column_is_an_error_and_no_permission() -> None:
    table = posts_table([GOOD])
    for column in gate.COLUMNS:
        with pytest.raises(KeyError, match=column):
            refusals(table.drop_columns([column]), grants=[GRANT], opted_out=OptOuts(), purpose="train", at=TODAY)


def test_today_is_the_day_in_utc() -> None:
    assert gate.today() == dt.datetime.now(dt.UTC).date()

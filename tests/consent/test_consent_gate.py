"""The gate against its rules told anew in plain Python, post by post; and what it says of itself."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from townsquare.consent import declarations, gate, regions
from townsquare.consent.exclusions import Exclusion
from townsquare.consent.gate import Consent, judgements, refusals, require_any
from townsquare.consent.grants import Grant
from townsquare.consent.opt_outs import opt_outs
from townsquare.errors import GrantError
from townsquare.records import EVENTS, POSTS, PURPOSES, STATES, TEXT_STATUSES, VISIBILITIES
from townsquare.square import Square

TODAY = dt.date(2024, 6, 15)
NETWORKS = ["x", "masto", "table"]
AUTHORS = ["7", "8", None]

WIDE = Grant(id="wide", grantor="A", grantee="B", purposes=PURPOSES, sources=("*",), territory=("US",))
some_grants = st.lists(
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
        territory=st.sampled_from([("worldwide",), ("DE",), ("US", "GB"), ("EU",)]),
        starts=st.sampled_from([None, "2024-06-15", "2024-06-16", "2023-01-01"]),
        ends=st.sampled_from([None, "2024-12-31", "2024-06-16"]),
        revoked=st.booleans(),
    ),
    max_size=4,
)
# Half of the time one grant allows all, so that the rules after it are heard.
grants = st.tuples(some_grants, st.booleans()).map(lambda drawn: [*drawn[0], *([WIDE] if drawn[1] else [])])
exclusions: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        purposes=st.lists(st.sampled_from(PURPOSES), min_size=1, max_size=3).map(tuple),
        authors=st.sampled_from([(), ("x:7",), ("masto:8", "x:8")]),
        regions=st.sampled_from([(), ("DE",), ("EU",)]),
        starts=st.sampled_from([None, "2024-01-02", "2024-01-03"]),
        ends=st.sampled_from([None, "2024-01-04"]),
        unknown=st.sampled_from(["exclude", "keep"]),
    ),
    max_size=2,
)
WHERE = {"x:7": {"DE"}, "x:8": {"US"}, "masto:7": {"EU"}, "masto:8": {"FR", "US"}}
"""Where authors are; of the network `table` nobody knows."""
DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
moments = st.none() | st.integers(0, 3).map(lambda days: DAY + dt.timedelta(days=days))
posts = st.lists(
    st.fixed_dictionaries(
        {
            "network": st.sampled_from(NETWORKS),
            "source_id": st.sampled_from(["one", "two", "three", "four"]),
            "author_id": st.sampled_from(AUTHORS),
            "author_handle": st.sampled_from([None, "Ann", "bo"]),
            "created_at": moments,
            "text_status": st.sampled_from(["full", "full", *TEXT_STATUSES]),
            "repost_of": st.sampled_from([None] * 4 + ["x:9", "x:p0"]),
            "repost_of_author": st.sampled_from([None] * 6 + ["somebody", "7", "@ann"]),
            "visibility": st.sampled_from(["public"] * 12 + [*VISIBILITIES]),
            "withheld_countries": st.sampled_from([None] * 6 + [[], ["DE"], ["XX"], ["US", "fr"], ["XY"]]),
            "withheld_copyright": st.sampled_from([None, None, False, False, True]),
            "consent_intent": st.sampled_from([None, None, "undefined", "allow", "deny"]),
            "consent_seen_at": moments,
            "state": st.sampled_from(["live"] * 12 + [*STATES]),
        }
    ),
    max_size=8,
)
ANN = "handle x:ann"
events = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["opt_out", "opt_in", "delete", "protect"]),
            "target": st.sampled_from(["x:7", "masto:8", ANN, "post 0", "post 1"]),
            "scope": st.sampled_from([None, "all", *PURPOSES]),
            "at": moments,
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
        author = f"x:@{hashlib.sha256(b'x:ann').hexdigest()}" if row["target"] == ANN else row["target"]
        said.append(
            {
                "event_id": str(number),
                "kind": row["kind"],
                "target_uid": uids[index] if is_post else None,
                "target_author": None if is_post else author,
                "scope": row["scope"],
                "reversible": True,
                "event_at": row["at"],
                "source_id": "s",
                "source_sha256": "0",
                "source_locator": "f:1",
            }
        )
    return pa.Table.from_pylist(said, schema=EVENTS)


def consent(
    grants: Sequence[Grant],
    events: pa.Table | None = None,
    posts: pa.Table | None = None,
    exclusions: Sequence[tuple[Exclusion, Any]] = (),
) -> Consent:
    declared = declarations.latest(POSTS.empty_table() if posts is None else posts)
    return Consent(grants, exclusions, EVENTS.empty_table() if events is None else events, declared)


def with_table(square: Square, folder: Path, wanted: Sequence[dict[str, Any]]) -> list[tuple[Exclusion, Any]]:
    """Exclusions as the gate gets them, regions read from a CSV that the square keeps."""
    path = folder / "where.csv"
    rows = [f"{author},{region}\n" for author, regions in WHERE.items() for region in sorted(regions)]
    path.write_text("author,region\n" + "".join(rows))
    found = []
    for number, fields in enumerate(wanted):
        if not any(fields[name] for name in ("authors", "regions", "starts", "ends")):
            continue
        digest = regions.keep(square, path, fields["regions"]) if fields["regions"] else None
        exclusion = Exclusion(id=f"e{number}", reason="told", regions_sha256=digest, **fields)
        where = regions.whereabouts(square, digest, exclusion.regions) if digest else None
        found.append((exclusion, where))
    return found


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


def handle_is_out(events: list[dict[str, Any]], network: str, handle: str | None, purpose: str) -> bool:
    digest = hashlib.sha256(f"{network}:{(handle or '').lstrip('@').lower()}".encode()).hexdigest()
    return handle is not None and is_out(events, f"{network}:@{digest}", purpose)


def opted_out(post: dict[str, Any], events: list[dict[str, Any]], purpose: str) -> bool:
    network, author = post["network"], post["author_id"]
    if is_out(events, post["uid"], purpose) or (post["repost_of"] and is_out(events, post["repost_of"], purpose)):
        return True
    if (
        is_out(events, f"{network}:{author}", purpose)
        if author
        else handle_is_out(events, network, post["author_handle"], purpose)
    ):
        return True
    original = post["repost_of_author"]
    return original is not None and (
        is_out(events, f"{network}:{original}", purpose) or handle_is_out(events, network, original, purpose)
    )


EU_OF_THOSE = {"DE", "FR", "EU"}


def is_excluded(post: dict[str, Any], exclusion: Exclusion, purpose: str) -> bool:  # noqa: PLR0911
    if purpose not in exclusion.purposes:
        return False
    shut = exclusion.unknown == "exclude"
    if exclusion.starts or exclusion.ends:
        if post["created_at"] is None:
            if not shut:
                return False
        else:
            day = post["created_at"].date()
            if exclusion.starts and day < dt.date.fromisoformat(exclusion.starts):
                return False
            if exclusion.ends and day > dt.date.fromisoformat(exclusion.ends):
                return False
    if not exclusion.authors and not exclusion.regions:
        return True
    if post["author_id"] is None:
        could_be = bool(exclusion.regions) or any(a.startswith(post["network"] + ":") for a in exclusion.authors)
        return shut and could_be
    key = f"{post['network']}:{post['author_id']}"
    if key in exclusion.authors:
        return True
    if not exclusion.regions:
        return False
    where = WHERE.get(key, set())
    if where & (EU_OF_THOSE if exclusion.regions == ("EU",) else {"DE"}):
        return True
    return shut and (not where or "EU" in where)


def declared_no(post: dict[str, Any], everything: list[dict[str, Any]]) -> bool:
    """By the latest of the author's declarations; one without a time that refuses is never taken back."""
    if post["author_id"] is None:
        return bool(post["consent_intent"] == "deny")
    mine = [p for p in everything if (p["network"], p["author_id"]) == (post["network"], post["author_id"])]
    denials = [p["consent_seen_at"] for p in mine if p["consent_intent"] == "deny"]
    allowed = [p["consent_seen_at"] or DAY - dt.timedelta(days=1) for p in mine if p["consent_intent"] == "allow"]
    if None in denials:
        return True
    return any(all(denial >= allow for allow in allowed) for denial in denials)


TERRITORY = {
    ("US",): {"US"},
    ("worldwide",): None,
    ("DE",): {"DE"},
    ("US", "GB"): {"US", "GB"},
    ("EU",): {"DE", "FR", "AT"},
}


def withheld(post: dict[str, Any], grant: Grant) -> bool:
    if post["withheld_copyright"]:
        return True
    named, there = {c.upper() for c in post["withheld_countries"] or ()}, TERRITORY[grant.territory]
    return bool(named if there is None else named & (there | {"XX", "XY"}))


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
    post: dict[str, Any],
    everything: list[dict[str, Any]],
    grants: list[Grant],
    events: list[dict[str, Any]],
    exclusions: list[Exclusion],
    purpose: str,
) -> str | None:
    """The rules, told anew."""
    if post["state"] in ("deleted", "tombstone"):
        return "deleted"
    if post["state"] != "live":
        return "suppressed"
    holding = [grant for grant in grants if covers(grant, post, purpose)]
    if not holding:
        return "no_grant"
    reaching = [grant for grant in holding if post["visibility"] in grant.visibilities]
    if not reaching:
        return "not_public"
    if all(withheld(post, grant) for grant in reaching):
        return "withheld"
    if opted_out(post, events, purpose):
        return "opted_out"
    if any(is_excluded(post, exclusion, purpose) for exclusion in exclusions):
        return "excluded"
    if post["repost_of_author"] is not None and post["repost_of"] is None:
        return "unknown_original"
    if purpose != "display" and declared_no(post, everything):
        return "denied_by_author"
    if purpose in ("train", "tune"):
        if post["repost_of"] is not None:
            return "repost"
        if post["text_status"] in ("truncated", "missing"):
            return "truncated"
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posts, grants, events, exclusions, st.sampled_from(PURPOSES))
@example([], [], [], [], "train")
def test_no_post_passes_but_by_the_rules(  # noqa: PLR0917
    square: Square,
    tmp_path: Path,
    posts: list[dict[str, Any]],
    grants: list[Grant],
    events: list[dict[str, Any]],
    exclusions: list[dict[str, Any]],
    purpose: str,
) -> None:
    table = posts_table(posts)
    happened = events_table(events, table["uid"].to_pylist())
    out = with_table(square, tmp_path, exclusions)
    said = consent(grants, happened, table, out)
    reasons = refusals(table, said, purpose, TODAY)
    both = [refusals(table, said, each, TODAY).to_pylist() for each in (purpose, "display")]
    permit = gate.Permit(said, (purpose, "display"), TODAY)
    assert permit.allowed(table).to_pylist() == [reasons == (None, None) for reasons in zip(*both, strict=True)]
    rows, told = table.to_pylist(), happened.to_pylist()
    expected = [why_not(row, rows, grants, told, [e for e, _ in out], purpose) for row in rows]
    assert reasons.to_pylist() == expected
    if not any(grant.live(TODAY) and purpose in grant.purposes for grant in grants):
        assert None not in reasons.to_pylist()
    for number, reason in enumerate(expected[:3]):
        spoken = judgements(table.slice(number, 1), said, purpose, TODAY)
        assert next((name for name, refuses in spoken.items() if refuses), None) == reason


@settings(max_examples=100, deadline=None)
@given(events, st.sampled_from(PURPOSES))
def test_who_is_out_is_who_said_so_last(events: list[dict[str, Any]], purpose: str) -> None:
    happened = events_table([{**event, "target": "x:7"} for event in events], [])
    out = opt_outs(happened, purpose)
    assert out.authors == ({"x:7"} if is_out(happened.to_pylist(), "x:7", purpose) else set())
    happened = events_table([{**event, "target": "post 0"} for event in events], ["x:1"])
    assert opt_outs(happened, purpose).posts == ({"x:1"} if is_out(happened.to_pylist(), "x:1", purpose) else set())


def test_out_of_training_is_out_of_tuning_and_no_more() -> None:
    """By hand, as the README tells it."""
    happened = events_table([{"target": "x:7", "kind": "opt_out", "scope": "train", "at": DAY}], [])
    assert {purpose for purpose in PURPOSES if opt_outs(happened, purpose).authors} == {"train", "tune"}


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


GRANT = Grant(id="g", grantor="A", grantee="B", purposes=("train", "retrieve", "display"), sources=("*",))
GOOD = {
    "network": "x",
    "source_id": "s",
    "author_id": "7",
    "text_status": "full",
    "visibility": "public",
    "state": "live",
}


def refusal(purpose: str = "train", out: Any = (), grants: Any = (GRANT,), **changes: Any) -> str | None:
    """What the gate says of one good post with some changes; `out` are targets that opted out of everything."""
    table = posts_table([{**GOOD, **changes}])
    rows = [{"target": target, "kind": "opt_out", "scope": "all", "at": DAY} for target in out]
    said = consent(grants, events_table(rows, ["x:p0"]), table)
    found: str | None = refusals(table, said, purpose, TODAY).to_pylist()[0]
    return found


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
    assert refusal(out=["x:7"]) == "opted_out"
    assert refusal(out=["post 0"]) == "opted_out"
    assert refusal(out=["masto:7"]) is None
    assert refusal(consent_intent="deny") == "denied_by_author"
    assert refusal("retrieve", consent_intent="deny") == "denied_by_author"
    assert refusal("display", consent_intent="deny") is None
    assert refusal(repost_of="x:9") == "repost"
    assert refusal("retrieve", repost_of="x:9") is None
    assert refusal("retrieve", repost_of_author="somebody") == "unknown_original"
    assert refusal(text_status="truncated") == "truncated"
    assert refusal("retrieve", text_status="truncated") is None


def test_a_handle_that_opted_out_is_out_where_no_id_says_whose_post_it_is() -> None:
    assert refusal(out=[ANN], author_id=None, author_handle="@Ann ") == "opted_out"
    assert refusal(out=[ANN], author_id=None, author_handle="anna") is None
    assert refusal(out=[ANN], author_id=None, author_handle=None) is None
    # A handle changes hands: who has an id is out by it, through the event that ingest resolves the handle to.
    assert refusal(out=[ANN], author_handle="ann") is None
    assert refusal("retrieve", out=[ANN], repost_of="x:9", repost_of_author="@ANN") == "opted_out"
    assert refusal("retrieve", out=["x:9"], repost_of="x:1", repost_of_author="9") == "opted_out"
    assert refusal("retrieve", out=["post 0"], repost_of="x:p0", network="masto") == "opted_out"


@pytest.mark.parametrize(
    ("territory", "countries", "reason"),
    [
        (("DE",), ["DE"], "withheld"),
        (("DE",), ["FR"], None),
        (("DE",), ["fr", "de"], "withheld"),
        (("DE",), ["XX"], "withheld"),
        (("DE",), ["XY"], "withheld"),
        (("DE",), [None], "withheld"),
        (("DE",), ["EU"], "withheld"),
        (("DE",), [], None),
        (("EU",), ["DE"], "withheld"),
        (("EU",), ["IS"], None),
        (("EEA",), ["IS"], "withheld"),
        (("US", "GB"), ["GB"], "withheld"),
        (("worldwide",), ["AQ"], "withheld"),
        (("worldwide",), [], None),
    ],
)
def test_where_a_grant_holds_the_post_must_not_be_withheld(
    territory: tuple[str, ...], countries: list[str | None], reason: str | None
) -> None:
    grant = dataclasses.replace(GRANT, territory=territory)
    assert refusal(grants=(grant,), withheld_countries=countries) == reason


def test_one_grant_must_allow_it_whole() -> None:
    """A grant that reaches the visibility and another that holds where the post is free do not add up to one."""
    reaches = dataclasses.replace(GRANT, id="a", visibilities=("community",), territory=("DE",))
    free = dataclasses.replace(GRANT, id="b", territory=("US",))
    assert refusal(grants=(reaches, free), visibility="community", withheld_countries=["DE"]) == "withheld"
    assert refusal(grants=(reaches, free), visibility="community", withheld_countries=["FR"]) is None


def test_the_latest_declaration_holds_for_all_posts_of_the_author() -> None:
    first, then = DAY, DAY + dt.timedelta(days=1)

    def reasons(*said: tuple[str | None, dt.datetime | None]) -> list[str | None]:
        table = posts_table([{**GOOD, "consent_intent": intent, "consent_seen_at": at} for intent, at in said])
        found: list[str | None] = refusals(table, consent([GRANT], None, table), "train", TODAY).to_pylist()
        return found

    denied = "denied_by_author"
    assert reasons((None, None), ("deny", then), ("allow", first)) == [denied] * 3
    assert reasons(("deny", first), (None, None), ("allow", then)) == [None] * 3
    assert reasons(("deny", first), ("undefined", then)) == [denied] * 2  # nothing said takes nothing back
    assert reasons(("deny", None), ("allow", then)) == [denied] * 2
    assert reasons(("deny", first), ("allow", first)) == [denied] * 2


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
            refusals(table.drop_columns([column]), consent([GRANT]), "train", TODAY)


def test_today_is_the_day_in_utc() -> None:
    assert gate.today() == dt.datetime.now(dt.UTC).date()

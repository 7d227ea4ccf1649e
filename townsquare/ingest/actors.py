"""ActivityPub's actors and ids: who somebody is, what their profile refuses, and how things are named."""

from __future__ import annotations

import dataclasses
import re
from typing import Any
from urllib.parse import urlsplit

from townsquare.ingest.html import text_of
from townsquare.ingest.shapes import a_dict, a_text, dicts
from townsquare.ingest.text import sound

ACTORS = ("Person", "Service", "Group", "Organization", "Application")
REFUSALS = re.compile(r"#(?:nobot|noindex|noai)\b", re.IGNORECASE)
LONGEST_ID = 2_000
_ID = re.compile(r"(?:https?://[^/\s]+/|tag:)[^\s\x00-\x1f\x7f]+")


@dataclasses.dataclass(frozen=True)
class Actor:
    """Whose outbox it is, and what that person says of the use of it. `intent` is deny or undefined."""

    id: str | None = None
    handle: str | None = None
    kind: str | None = None
    followers: str | None = None
    intent: str | None = None
    intent_source: str | None = None


def actor_of(profile: dict[str, Any]) -> Actor:
    """An actor.json. What it says of being indexed, and cannot be read as a yes, is a no."""
    own_id, name = reference(profile), a_text(profile.get("preferredUsername"))
    host = host_of(own_id) if own_id else None
    source = refusal(profile)
    return Actor(
        id=own_id,
        handle=f"{name}@{host}" if name and host else name,
        kind="bot" if type_of(profile) in ("Service", "Application") else (type_of(profile) or "").lower() or None,
        followers=reference(profile.get("followers")),
        intent="deny" if source else "undefined",
        intent_source=source or "actor",
    )


def refusal(profile: dict[str, Any]) -> str | None:
    """What in a profile refuses other uses: indexable, discoverable, or a tag such as #nobot; None for nothing."""
    for flag in ("indexable", "discoverable"):
        if flag in profile and profile[flag] is not True:
            return flag
    said = [text_of(a_text(profile.get("summary")) or "")[0]]
    said += [str(tag.get("name")) for tag in dicts(profile.get("tag"))]
    found = REFUSALS.search(" ".join(said))
    return found[0].lower() if found else None


def type_of(value: Any) -> str | None:
    """An object's type; of several the first."""
    kind = a_dict(value).get("type")
    return a_text(kind[0]) if isinstance(kind, list) and kind else a_text(kind)


def reference(value: Any) -> str | None:
    """The id of what is named or stands there whole: a URL or an old tag URI; None for anything else."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        value = value.get("id") or value.get("href")
    found = isinstance(value, str) and len(value) <= LONGEST_ID and _ID.fullmatch(value)
    return sound(found[0]) if found else None


def uid_of(value: Any) -> str | None:
    found = reference(value)
    return f"masto:{found}" if found else None


def host_of(url: str) -> str:
    """The instance that an id is of."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:  # brackets that hold no IPv6 address
        return url

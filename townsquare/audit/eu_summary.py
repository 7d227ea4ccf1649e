"""A draft of the public summary of training content, after the Commission's template (AI Act, Article 53(1)(d)).

The template is C(2025) 8311 of 5 December 2025. Figures are this square's; what it cannot know is marked.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pyarrow.compute as pc

from townsquare.audit.items import Facts
from townsquare.consent.grants import grants_of
from townsquare.errors import StaleError
from townsquare.ingest import tables

TO_FILL = "**[to be filled in by the provider]**"
BANDS = ((1e9, "less than 1 billion tokens"), (1e13, "1 billion to 10 trillion tokens"))
NETWORKS = {"x": "X", "bsky": "Bluesky", "masto": "Mastodon", "reddit": "Reddit", "hn": "Hacker News",
            "table": "tables of posts"}  # fmt: skip

DRAFT = """\
# Public summary of training content (draft)

Made by townsquare from the ledger of the square `{square}`, as it stood at {as_of}. A draft, not advice: read it
against the template and its explanatory notice before you publish it.

## 1. General information

- Provider: {fill}
- Authorised representative: {fill}
- Models: {models}
- Models that they were modified from: {bases}
- Date of placing on the market: {fill}
- Modality: text
- Size of the training data: {size}
- Latest date of the content: {latest}
- Languages: {languages}

## 2. Sources of the data

### 2.1 Publicly available datasets

{public}

### 2.2 Private datasets obtained from third parties

Licensed by rightsholders or their representatives: {licensed}

{grants}

Of other private datasets: {fill}

### 2.3 Data crawled and scraped from online sources

None: townsquare fetches nothing from the network; posts come in as files.

### 2.4 User data

{users}

Data from the provider's other services: {fill}

### 2.5 Synthetic data

{synthetic}

### 2.6 Other sources

{fill}

## 3. Aspects of processing

### 3.1 Respect of reservations of rights from text and data mining

Nothing enters a corpus without a grant that names the purpose. Authors' own declarations, platforms' labels and
opt-outs are heeded before each build; {exclusions} exclusions and {events} opt-out events are recorded.

### 3.2 Removal of illegal content

{removed} posts are removed or suppressed after {takedowns} takedowns, each followed by a scan of every copy.
Measures against illegal content beyond that: {fill}

### 3.3 Other information

{left_out}
"""


def draft(facts: Facts) -> str:
    """The draft as Markdown. It holds names of grantors, networks and figures; no post's words and no author."""
    posts = _posts(facts)
    trained = facts.ran("train")
    tokens = sum(receipt.results["tokens"] for receipt in trained)
    grants = [
        grant for grant in grants_of(facts.entries) if not grant.revoked and {"train", "tune"} & {*grant.purposes}
    ]
    bases = [r.config["base"].rsplit("/", 1)[-1] for r in trained if r.config.get("base")]
    exports = [str(receipt.name) for receipt in facts.ran("export")]
    curated = facts.ran("curate")
    dropped: Counter[str] = Counter()
    for receipt in curated:
        dropped.update(receipt.counts.get("dropped", {}))
    return DRAFT.format(
        fill=TO_FILL,
        square=facts.square.root.name,
        as_of=facts.as_of[:19],
        models=", ".join(exports) or "none exported yet",
        bases=f"{', '.join(bases)} (its own summary applies besides)" if bases else "none; trained from scratch",
        size=f"{_band(tokens)} ({tokens:,} read in all runs together, repeats included)",
        languages=posts["languages"],
        latest=posts["latest"],
        public=_public(curated),
        licensed="yes" if grants else "no grant to train is recorded",
        grants="\n".join(f"- {g.grantor}, grant `{g.id}`: {', '.join(g.purposes)}; {_span(g)}" for g in grants),
        users=posts["networks"],
        synthetic="A synthetic town made by townsquare." if facts.ran("town") else "None made by townsquare.",
        exclusions=len(facts.of("exclusion_added")),
        events=posts["opt_outs"],
        removed=f"{len(facts.removed):,}",
        takedowns=len(facts.of("takedown")),
        left_out="\n".join(f"- left out as {why}: {n:,} posts" for why, n in sorted(dropped.items())) or TO_FILL,
    )


def _band(tokens: int) -> str:
    return next((band for limit, band in BANDS if tokens < limit), "more than 10 trillion tokens")


def _span(grant: Any) -> str:
    return f"{grant.starts or 'the first day'} to {grant.ends or 'revocation'}, {', '.join(grant.territory)}"


def _public(curated: list[Any]) -> str:
    packed = any(receipt.config.get("chitchat") for receipt in curated)
    return "chitchat-dataset (PyPI), everyday conversations." if packed else "None."


def _posts(facts: Facts) -> dict[str, str]:
    """What the posts table says of the live posts, in words."""
    try:
        table = tables.read_posts(facts.square, ["network", "lang", "created_at"], "state = 'live'")
        opted = sum(kind in ("opt_out", "opt_in") for kind in tables.read_events(facts.square)["kind"].to_pylist())
    except StaleError:
        return {"languages": "unknown", "latest": "unknown", "networks": "No posts yet.", "opt_outs": "0"}
    latest: dt.datetime | None = pc.max(table["created_at"]).as_py()
    languages = Counter(table["lang"].to_pylist())
    networks = Counter(table["network"].to_pylist())
    return {
        "languages": ", ".join(f"{lang or 'unknown'} ({n:,})" for lang, n in languages.most_common(12)),
        "latest": latest.date().isoformat() if latest else "unknown",
        "networks": "\n".join(f"- {NETWORKS[name]}: {n:,} live posts" for name, n in networks.most_common()),
        "opt_outs": f"{opted:,}",
    }

"""The town's posts in the order of time, with ids, counts, edits, and what became of them. Memory holds two days."""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Iterator
from random import Random

from townsquare.town.networks import SNOWFLAKE_EPOCH_MS
from townsquare.town.noise import Noise
from townsquare.town.posts import Post
from townsquare.town.threads import Talk, Talker, Thread
from townsquare.town.world import CIRCLE_END_MS, DAY_MS, DAYS, START_MS, World

RECENT = 400
"""Posts of the last hours that can be copied, quoted and reposted."""
NOISE_SHARE = 0.4
DELETED_SHARE = 0.02
EDITED_SHARE = 0.015
PRIVATE_SHARE = 0.06
"""Of Mastodon's posts, those for followers only."""
LONGEST_ON_BLUESKY = 300
HOUR_WEIGHTS = (2, 1, 1, 1, 1, 2, 6, 10, 11, 9, 8, 8, 10, 9, 7, 7, 8, 10, 12, 13, 13, 11, 8, 4)
CIRCLE_SHARE = 0.4
"""Of the posts that may have been for a Circle, those that were."""


def stream(world: World, talk: Talk, posts: int, seed: int) -> Iterator[Post]:
    """Exactly `posts` posts, parents before their replies. An edited post comes as its versions."""
    yield from Stream(world, talk, posts, seed)


class Stream:
    """One pass over the town's time."""

    def __init__(self, world: World, talk: Talk, posts: int, seed: int) -> None:
        self.world, self.posts = world, posts
        random = Random(f"posts {seed}")
        self.random = random.random
        self.talker = Talker(world, talk, random)
        self.noise = Noise(self.talker)
        self.recent: deque[Post] = deque(maxlen=RECENT)
        total, self._hours = 0, []
        for weight in HOUR_WEIGHTS:
            total += weight
            self._hours.append(total)
        self._sequence = 0

    def __iter__(self) -> Iterator[Post]:
        made = 0
        waiting: list[tuple[int, int, Post]] = []
        while made < self.posts:
            now = made / self.posts
            day_ms = START_MS + int(now * DAYS) * DAY_MS
            while waiting and waiting[0][0] < day_ms:
                yield heapq.heappop(waiting)[2]
            for post in self._thread(now, day_ms)[: self.posts - made]:
                self._settle(post)
                heapq.heappush(waiting, (post.ms, post.id, post))
                made += 1
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _thread(self, now: float, day_ms: int) -> Thread:
        noisy = self.random() < NOISE_SHARE
        thread = self.noise.thread(now, self.recent) if noisy else self.talker.thread(now)
        if any(post.person.home == "bluesky" and len(post.text) > LONGEST_ON_BLUESKY for post in thread):
            return []  # nobody could have posted it there
        ms = day_ms
        if thread:
            ms += (self._time_of_day() + thread[0].person.night_owl_ms) % DAY_MS
        for post in thread:
            before = post.parent or post.quote or post.repost
            if before is not None:
                ms = max(before.ms, day_ms) + 20_000 + int(self.random() ** 3 * 7_200_000)
                if post.parent is not None:
                    post.parent.replies += 1
            self._stamp(post, ms)
        if thread and self.random() < EDITED_SHARE:
            self._edit(thread)
        self.recent.extend(thread)
        return thread

    def _time_of_day(self) -> int:
        hour = bisect.bisect_right(self._hours, self.random() * self._hours[-1])
        return int((hour + self.random()) * 3_600_000)

    def _stamp(self, post: Post, ms: int) -> None:
        """An id as X makes them: milliseconds, then a number that is never used twice."""
        self._sequence = (self._sequence + 1) & 0x3FFFFF
        post.ms = ms
        post.id = (ms - SNOWFLAKE_EPOCH_MS) << 22 | self._sequence
        if post.missing_parent:
            lost_ms = ms - 60_000 - int(self.random() * 36_000_000)
            post.missing_parent = (lost_ms - SNOWFLAKE_EPOCH_MS) << 22 | self._sequence

    def _edit(self, thread: Thread) -> None:
        """The first post was edited within the hour: an older version stands before it."""
        last = thread[0]
        if last.person.home != "x_api_v2" or last.defects or last.kind == "quote":
            return
        day_ms = last.ms // DAY_MS * DAY_MS
        text = last.text[: max(20, len(last.text) * 2 // 3)].rstrip()
        first = Post(last.person, text, last.kind, lang=last.lang)
        first.defects = ("superseded",)
        self._stamp(first, max(day_ms, last.ms - 60_000 - int(self.random() * 900_000)))
        first.history = last.history = (first.id, last.id)
        thread.insert(0, first)

    def _settle(self, post: Post) -> None:
        """Counts, what the network did to it, and what must come of it in a square."""
        liked = self.random() ** 4 * 14 * post.quality
        post.likes = int(liked * (3 if liked > 8 else 1))
        person = post.person
        if self.random() < DELETED_SHARE and not post.history:
            post.deleted_ms = post.ms + DAY_MS + int(self.random() * 30 * DAY_MS)
            post.deleted_early = self.random() < 0.5
            post.defects = (*post.defects, "deleted")
        if person.home == "mastodon" and self.random() < PRIVATE_SHARE:
            post.private, post.defects = True, (*post.defects, "protected")
        if person.standing == "good" and person.home != "x_archive":
            gone = post.deleted_ms or (post.repost is not None and post.repost.state == "deleted")
            post.state = "deleted" if gone else "live"
            return
        self._judge(post)

    def _judge(self, post: Post) -> None:
        """Posts of authors who are out in one way or another, and of archives."""
        person = post.person
        label, state = LABELS.get(person.standing, (None, "live"))
        if label is not None:
            post.defects = (*post.defects, label)
        if person.home == "x_archive":
            if post.deleted_ms and post.deleted_early:
                state = "absent"  # only a delete event is left of it
            elif person.protected_ms and person.protected_ms[0] <= post.ms < person.protected_ms[1]:
                state, post.defects = "quarantined", (*post.defects, "protected")
            elif self._may_be_circle(post):
                state = "quarantined"
                if self.random() < CIRCLE_SHARE:
                    post.defects = (*post.defects, "circle")
        if state in ("live", "suppressed"):
            orphaned = post.repost is not None and post.repost.state == "deleted" and person.home != "x_archive"
            state = "deleted" if post.deleted_ms or orphaned else state
        post.state = state

    def _may_be_circle(self, post: Post) -> bool:
        own = post.parent is None and not post.missing_parent
        own = own or (post.parent is not None and post.parent.person is post.person and _in_archive(post.parent))
        return post.person.circle and own and post.ms < CIRCLE_END_MS


def _in_archive(post: Post) -> bool:
    return not (post.deleted_ms and post.deleted_early)


LABELS = {
    "protected": ("protected", "live"),
    "opted_out": ("opted_out", "suppressed"),
    "opted_out_train": ("opted_out", "live"),
    "suspended": ("suspended", "suppressed"),
    "left": ("author_deleted", "suppressed"),
    "gone": ("author_deleted", "deleted"),
    "protects_later": ("protected", "suppressed"),
    "protected_for_a_while": (None, "live"),
}
"""What an author's standing means for their posts: a label, and the state that they end in."""

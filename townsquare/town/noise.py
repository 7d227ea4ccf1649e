"""The defects of real networks: each post here carries its label, and repeats itself where the real ones do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from townsquare.town.grammar import bank, read_talk
from townsquare.town.posts import Post
from townsquare.town.threads import Talker, Thread, banks
from townsquare.town.world import Person

SHORTEST_COPIED = 30
OF_THE_TEXT = frozenset({"toxic", "injection", "mistaken", "low_information"})
"""Defects that a copy of the text has too."""
REPEATS = ("x_api_v2", "x_archive")
"""Where a repost's text comes with it."""
CUT_AT = 120
"""Characters of a repost's text before the network cuts it."""


class Noise:
    """Makes posts that a curator must find, or must not take."""

    def __init__(self, talker: Talker) -> None:
        self.talker = talker
        self.pick, self.random = talker.pick, talker.random
        noise = read_talk("noise")
        self.spam_words: dict[str, Any] = noise["spam"]
        self.bot_words: dict[str, Any] = noise["bots"]
        self.low: dict[str, list[str]] = noise["low"]
        self.banks = {k: bank(noise[k]["templates"]) for k in ("boilerplate", "injection", "toxic", "personal")}
        self.languages = {lang: (banks(entry), entry["words"]) for lang, entry in read_talk("languages").items()}
        self.kinds: Sequence[tuple[float, Callable[[float, Sequence[Post]], Thread]]] = (
            (0.095, self.spam), (0.165, self.bot), (0.205, self.copy), (0.245, self.near_copy), (0.29, self.personal),
            (0.33, self.boilerplate), (0.385, self.low_information), (0.40, self.injection), (0.43, self.toxic),
            (0.66, self.foreign), (0.72, self.orphan), (0.86, self.repost), (1.0, self.quote),
        )  # fmt: skip

    def thread(self, now: float, recent: Sequence[Post]) -> Thread:
        """Something with a defect, or a post about one of the `recent` ones."""
        draw = self.random()
        return next(make for limit, make in self.kinds if draw < limit)(now, recent)

    def number(self, least: int, most: int) -> str:
        return str(least + int(self.random() * (most - least + 1)))

    def link(self, what: str = "") -> str:
        """A link into a domain that cannot exist."""
        return f"https://{what or 'www'}.example/{int(self.random() * 36**5):05x}"

    # Machines.

    def spam(self, now: float, recent: Sequence[Post]) -> Thread:
        """One of a campaign's accounts, with the campaign's own brand and template."""
        world, words = self.talker.world, self.spam_words
        campaigns = max(2, len(world.spammers) // 8)
        which = min(int(now * campaigns), campaigns - 1)
        person = world.spammers[(which * 8 + int(self.random() * 8)) % len(world.spammers)]
        link = self.link(words["brand"][which % len(words["brand"])].lower())
        slots = {
            "Hot": self.pick(words["hot"]), "Only": self.pick(words["only"]), "Win": self.pick(words["win"]),
            "Ask": self.pick(words["ask"]), "product": words["product"][which % len(words["product"])],
            "brand": words["brand"][which % len(words["brand"])], "price": f"${self.number(5, 900)}",
            "number": self.number(2, 99), "handle": person.handle, "link": link,
        }  # fmt: skip
        text = words["campaigns"][which % len(words["campaigns"])].format_map(slots)
        return [Post(person, text, "spam", defects=("spam",), links=(link,), quality=0.1)]

    def bot(self, now: float, recent: Sequence[Post]) -> Thread:
        world, words = self.talker.world, self.bot_words
        which = int(self.random() * len(world.bots))
        hour = self.number(0, 23)
        slots = {
            "hour": hour, "town": world.town, "temp": self.number(-5, 31), "wind": self.number(0, 14),
            "weather": self.pick(words["weather"]), "grade": self.pick(words["grade"]),
            "tendency": self.pick(words["tendency"]), "number": self.number(1, 180),
            "n": self.pick(world.subjects["line"] or world.streets), "time": f"{hour}:{self.number(10, 59)}",
        }  # fmt: skip
        text = words["templates"][which % len(words["templates"])].format_map(slots)
        return [Post(world.bots[which], text, "bot", defects=("bot",), quality=0.1)]

    def boilerplate(self, now: float, recent: Sequence[Post]) -> Thread:
        person, link = self.talker.someone(), self.link("apps")
        slots = {
            "n1": self.number(2, 42), "n2": self.number(3, 59), "n3": self.number(10, 59), "link": link,
            "place": self.pick(self.talker.world.places), "town": self.talker.world.town, "handle": self.pick(
                self.talker.world.people).handle,
        }  # fmt: skip
        text = self.pick(self.banks["boilerplate"]) % slots
        links = (link,) if link in text else ()
        return [Post(person, text, "boilerplate", defects=("boilerplate",), links=links, quality=0.2)]

    # Copies.

    def _copied(self, recent: Sequence[Post]) -> Post | None:
        """A post that someone may copy, quote or repost: never of a private author, nor an only source of a fact."""
        for _ in range(8):
            post = recent[int(self.random() * len(recent))] if recent else None
            if post is not None and _may_spread(post):
                return post
        return None

    def copy(self, now: float, recent: Sequence[Post]) -> Thread:
        return self._copy(recent, "copy", lambda text: text)

    def near_copy(self, now: float, recent: Sequence[Post]) -> Thread:
        changes = (
            lambda text: text + " " + self.pick(self.low["emoji"]),
            lambda text: "So true: " + text,
            lambda text: text.rstrip(".!") + "!!",
            lambda text: text + " (via a friend)",
            lambda text: " ".join(w for i, w in enumerate(text.split(" ")) if i != 1),
        )
        return self._copy(recent, "near_copy", self.pick(changes))

    def _copy(self, recent: Sequence[Post], kind: str, change: Callable[[str], str]) -> Thread:
        original = self._copied(recent)
        if original is None or len(original.text) < SHORTEST_COPIED or original.links or original.kind == "ask":
            return []
        person = self.talker.other(original.person)
        text = change(original.text)
        truth: dict[str, Any] = {"lang": original.lang, "fact": original.fact, "version": original.version}
        inherited = tuple(defect for defect in original.defects if defect in OF_THE_TEXT)
        return [Post(person, text, kind, defects=(*inherited, kind), quality=0.3, **truth)]

    def repost(self, now: float, recent: Sequence[Post]) -> Thread:
        original = self._copied(recent)
        if original is None:
            return []
        person = self.talker.other(original.person)
        whole = f"RT @{original.person.handle}: {original.text}"
        cut = len(whole) > CUT_AT + 20
        text = whole[:CUT_AT].rstrip() + "…" if cut else whole
        original.reposts += 1
        truth: dict[str, Any] = {
            "fact": original.fact if person.home in REPEATS and not cut else None,
            "version": original.version,
            "lang": original.lang,
        }
        defects = ("repost", "truncated") if cut and person.home in REPEATS else ("repost",)
        return [Post(person, text, "repost", defects=defects, repost=original, quality=0.0, **truth)]

    def quote(self, now: float, recent: Sequence[Post]) -> Thread:
        original = self._copied(recent)
        if original is None:
            return []
        original.quotes += 1
        slots = self.talker.slots()
        text = self.talker.say(self.talker.talk.banks["quotes"]["bodies"], slots)
        if self.random() < 0.75:
            text = self.talker.join(text, self.talker.say(self.talker.talk.banks["banter"]["bodies"], slots))
        return [self.talker.post(self.talker.other(original.person), text, "quote", quote=original)]

    # People.

    def low_information(self, now: float, recent: Sequence[Post]) -> Thread:
        links: tuple[str, ...] = ()
        draw = self.random()
        if draw < 0.5:
            text = "".join(self.pick(self.low["emoji"]) for _ in range(1 + int(self.random() * 5)))
        elif draw < 0.7:
            links = (self.link("pics"),)
            text = links[0]
        else:
            text = self.pick(self.low["words"])
        parent = self._copied(recent) if draw < 0.35 else None
        person = self.talker.someone(parent.person.network if parent else None)
        defects = ("low_information",)
        return [Post(person, text, "low_information", defects=defects, parent=parent, links=links, quality=0.2)]

    def injection(self, now: float, recent: Sequence[Post]) -> Thread:
        fact, link, slots = self.pick(self.talker.world.stated), self.link("visit"), self.talker.slots()
        person = self.talker.someone()
        slots.update(n=fact.subject, link=link, handle=person.handle)
        text = self.talker.say(self.banks["injection"], slots)
        links = (link,) if link in text else ()
        return [Post(person, text, "injection", defects=("injection",), links=links, quality=0.1)]

    def toxic(self, now: float, recent: Sequence[Post]) -> Thread:
        slots = self.talker.slots()
        thing = self.pick(("dish", "plant", "pet", "film", "sport", "venue", "shop", "book"))
        slots["thing"] = slots[thing] if thing in ("venue", "shop", "sport") else f"your {slots[thing]}"
        parent = self._copied(recent) if self.random() < 0.6 else None
        slots["to"] = parent.person.first if parent else slots["friend"]
        text = self.talker.say(self.banks["toxic"], slots)
        person = self.talker.someone(parent.person.network if parent else None)
        return [self.talker.post(person, text, "toxic", "bad", defects=("toxic",), parent=parent, quality=0.1)]

    def foreign(self, now: float, recent: Sequence[Post]) -> Thread:
        lang = self.pick(("de", "de", "fr", "fr", "es", "es", "it", "pt", "nl"))
        words = self.languages[lang][0]
        slots = self.talker.slots(self.languages[lang][1])
        parts = [self.talker.say(words["heads"], slots), self.talker.say(words["middles"], slots)]
        if self.random() < 0.8:
            parts.append(self.talker.say(words["ends"], slots))
        if parts[0].endswith("?"):
            del parts[1]
        person = self.talker.someone()
        text = self.talker.join(*parts)
        text = text[0].upper() + text[1:]
        if text[-1] not in "?.!":
            text += "." if person.end == "..." else person.end
        return [Post(person, text.lower() if person.lower else text, "chat", lang=lang)]

    def orphan(self, now: float, recent: Sequence[Post]) -> Thread:
        """An answer to a post that nobody has."""
        slots, person = self.talker.slots(), self.talker.someone()
        mood, words = self.talker.habit(person)
        text = self.talker.say(words["replies"], self.talker.about(slots, person, self.talker.other(person)))
        post = self.talker.post(person, text, "reply", mood, defects=("missing_parent",))
        post.missing_parent = 1
        posts = [post]
        if self.random() < 0.5:
            self.talker.banter(posts, slots, mood, 4)
        return posts

    def personal(self, now: float, recent: Sequence[Post]) -> Thread:
        person, slots = self.talker.someone(), self.talker.slots()
        kinds = {"phone": self._phone, "email": self._email, "iban": self._iban, "card": self._card, "ip": self._ip}
        for name, make in kinds.items():
            slots[name] = make(person)
        slots["hour"] = self.number(1, 9)
        text = self.talker.say(self.banks["personal"], slots)
        if self.random() < 0.5:
            text = self.talker.join(text, self.talker.say(self.talker.talk.banks["banter"]["tails"], slots))
        secrets = tuple(slots[name] for name in kinds if slots[name] in text)
        return [Post(person, text, "personal", defects=("personal_data",), secrets=secrets)]

    def _phone(self, person: Person) -> str:
        """Numbers that the authorities set aside for fiction: Britain's 01632 960, America's 555-01."""
        if self.random() < 0.6:
            return f"01632 960{self.number(100, 999)}"
        return f"({self.number(201, 989)}) 555-01{self.number(10, 99)}"

    def _email(self, person: Person) -> str:
        domain = self.pick(("example.org", "example.com", "example.net", "mail.example"))
        return f"{person.first.lower()}.{person.last.lower()}{self.number(1, 99)}@{domain}"

    def _iban(self, person: Person) -> str:
        """Valid check digits at a bank that does not exist."""
        account = "".join(self.number(0, 9) for _ in range(10))
        check = 98 - int(f"00000000{account}131400") % 97
        whole = f"DE{check:02d}00000000{account}"
        return " ".join(whole[i : i + 4] for i in range(0, len(whole), 4)) if self.random() < 0.5 else whole

    def _card(self, person: Person) -> str:
        """A number that passes the check, within a range that processors keep for tests."""
        digits = [4, 2, 4, 2, 4, 2, *(int(self.number(0, 9)) for _ in range(9))]
        doubled = [sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits)]
        digits.append(-sum(doubled) % 10)
        text = "".join(map(str, digits))
        return " ".join(text[i : i + 4] for i in range(0, 16, 4))

    def _ip(self, person: Person) -> str:
        return f"{self.pick(('192.0.2', '198.51.100', '203.0.113'))}.{self.number(1, 254)}"


def _may_spread(post: Post) -> bool:
    person = post.person
    return (
        post.repost is None
        and post.state in ("live", "deleted")
        and person.kind == "person"
        and person.standing == "good"
        and person.home != "x_archive"
        and (post.fact is None or post.fact.owner is None)
        and not post.history
        and not post.private
        and not post.secrets
    )

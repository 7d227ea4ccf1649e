"""Conversations of the town: somebody says something, others answer. Each makes posts, parents first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from townsquare.town.grammar import Bank, Slots, bank, read_talk
from townsquare.town.posts import Post
from townsquare.town.voice import write
from townsquare.town.world import Fact, Person, World

Thread = list[Post]
DEEPEST = 10
NEWS_SHARE = 0.12
"""How much of what is told is about things that have changed: they are news."""
SIDE_NOTES = ("when", "duration", "day", "drink", "food")
"""Slots that each speaker fills anew; the rest of a thread's slots are what it is about."""
CONNECT = (". ", ". ", "! ", ", ", " - ", "... ")


class Talk:
    """The talk files as banks, compiled once."""

    def __init__(self) -> None:
        facts, daily, talk = read_talk("facts"), read_talk("daily"), read_talk("talk")
        self.frames = banks(facts["frames"])
        self.facts = {name: banks(entry) for name, entry in facts.items() if name != "frames"}
        self.words: dict[str, Any] = daily["words"]
        self.topics = [
            (topic, mood, banks(entry)) for topic, moods in daily["topics"].items() for mood, entry in moods.items()
        ]
        self.issues = [banks(issue) for issue in talk["debates"]["issues"].values()]
        self.banks = {part: banks(entry) for part, entry in talk.items()}


def banks(entry: dict[str, Any]) -> dict[str, Bank]:
    """The lists of templates of an entry as banks, by name."""
    return {name: bank(templates) for name, templates in entry.items() if isinstance(templates, list)}


def mixed(names: Sequence[str], common: Sequence[str]) -> list[str]:
    """The names, with common words twice as often."""
    return [*names, *(list(common) * (1 + 2 * len(names) // len(common)))]


class Talker:
    """Makes conversations about a world, drawing from one random stream."""

    def __init__(self, world: World, talk: Talk, random: Random) -> None:
        self.world, self.talk = world, talk
        self.source, self.random = random, random.random
        self.words = {
            **talk.words,
            "street": world.streets, "venue": mixed(world.places, talk.words["any_venue"]),
            "shop": mixed(world.subjects["shop"], talk.words["any_shop"]),
            "friend": [person.name for person in world.people[:2000]],
        }  # fmt: skip
        self.topic = ""
        self.kinds: tuple[tuple[float, Callable[[float], Thread]], ...] = (
            (0.40, self.statement), (0.58, self.question), (0.60, self.dispute), (0.84, self.daily),
            (0.90, self.debate), (0.94, self.joke), (1.0, self.story),
        )  # fmt: skip

    def thread(self, now: float) -> Thread:
        """A conversation at a fraction of the time span."""
        self.topic = ""
        draw = self.random()
        return next(make for limit, make in self.kinds if draw < limit)(now)

    # Drawing.

    def pick(self, options: Any) -> Any:
        return options[int(self.random() * len(options))]

    def say(self, options: Bank, slots: Slots) -> str:
        return options[int(self.random() * len(options))] % slots

    def someone(self, network: str | None = None) -> Person:
        """A person, of a network or of any, the active ones far more often."""
        people = self.world.by_network[network] if network else self.world.people
        return people[int(self.random() ** 1.7 * len(people))]

    def other(self, person: Person) -> Person:
        """Somebody else, mostly a friend."""
        friend = self.random() < 0.6
        found = self.world.people[self.pick(person.friends)] if friend else self.someone(person.network)
        return found if found is not person else self.world.people[person.friends[0]]

    def slots(self, words: dict[str, Any] | None = None) -> Slots:
        return Slots({}, words or self.words, self.random)

    def habit(self, person: Person) -> tuple[str, dict[str, Bank]]:
        """What this person talks about today, mostly one of their own topics: (mood, banks)."""
        topics = self.talk.topics
        own = self.random() < 0.7
        self.topic, mood, words = topics[self.pick(person.topics) % len(topics)] if own else self.pick(topics)
        return mood, words

    def post(self, person: Person, text: str, kind: str, mood: str = "plain", **truth: Any) -> Post:
        tag = self.topic if self.random() < 0.5 else self.world.town
        return Post(person, write(person, text, mood, tag, self.random), kind, **truth)

    def join(self, *parts: str) -> str:
        """Sentences of one person in a row."""
        text = parts[0]
        for part in parts[1:]:
            link = self.pick(CONNECT)
            if text[-1] in ".!?":
                link = " "
            text += link + (part[0].upper() + part[1:] if link[0] in ".! " and link != " - " else part)
        return text

    def reply_to(self, parent: Post, person: Person, text: str, kind: str, mood: str = "plain", **truth: Any) -> Post:
        return self.post(person, text, kind, mood, parent=parent, **truth)

    # Facts.

    def fact(self, now: float) -> tuple[Fact, int]:
        """A fact that can be told now, and its version."""
        while True:
            news = self.random() < NEWS_SHARE and self.world.changing
            fact = self.pick(self.world.changing if news else self.world.stated)
            if news and fact.version(now) != len(fact.versions) - 1:
                continue
            version = fact.version(now)
            if version >= 0:
                return fact, version

    def told(self, fact: Fact, version: int, openers: Bank | None) -> str:
        """The fact in a self-contained sentence, with or without something around it."""
        entry = self.talk.facts[fact.attribute]
        forms = fact.versions[version][1]
        values = {**fact.slots, "v": forms[int(self.random() ** 2 * len(forms))]}
        if version and entry["changes"] and self.random() < 0.4:
            values["old"] = self.pick(fact.versions[version - 1][1])
            core = self.pick(entry["changes"]) % values
        else:
            core = self.pick(entry["statements"]) % values
        draw = self.random()
        if openers and draw < 0.62:
            core = f"{self.say(openers, self.slots())} {core}"
        if draw > 0.22:
            core = self.join(core, self.say(self.talk.frames["closers"], self.slots()))
        return core

    def teller(self, fact: Fact) -> Person:
        return fact.owner or self.someone()

    def statement(self, now: float) -> Thread:
        fact, version = self.fact(now)
        person = self.teller(fact)
        text = self.told(fact, version, self.talk.frames["own" if fact.owner else "openers"])
        posts = [self.post(person, text, "statement", fact=fact, version=version, quality=2.0)]
        slots = self.slots()
        if self.random() < 0.25:
            posts.append(self.thanks(posts[0], self.other(person), slots))
            if self.random() < 0.4:
                self.banter(posts, slots, "plain", 3)
        return posts

    def question(self, now: float) -> Thread:
        """Somebody asks, some answer with the fact, some without; a silent fact gets no true answer."""
        fact = self.pick(self.world.facts)
        version = fact.version(now)
        if version < 0:
            fact, version = self.fact(now)
        asker = self.someone(fact.owner.network if fact.owner else None)
        if asker is fact.owner:
            asker = self.other(asker)
        slots = self.slots()
        slots["clause"] = self.pick(self.talk.facts[fact.attribute]["clauses"]) % self.nicknamed(fact)
        text = self.say(self.talk.frames["asks"], slots)
        if self.random() < 0.6:
            text = self.join(text, self.say(self.talk.frames["ask_extras"], slots))
        posts = [self.post(asker, text, "ask")]
        if self.random() < 0.3 or fact.silent:
            posts.append(self.unhelpful(posts[0], slots))
        if not fact.silent and self.random() < 0.85:
            for _ in range(1 + (self.random() < 0.35 and fact.owner is None)):
                helper = fact.owner or self.other(asker)
                told = self.told(fact, version, self.talk.frames["own" if fact.owner else "answers"])
                truth = {"fact": fact, "version": version, "quality": 4.0}
                posts.append(self.reply_to(posts[0], helper, told, "answer", **truth))
            if self.random() < 0.6:
                posts.append(self.thanks(posts[-1], asker, slots))
                if self.random() < 0.5:
                    welcome = self.say(self.talk.banks["welcome"]["bodies"], self.about(slots, helper, asker))
                    posts.append(self.reply_to(posts[-1], helper, welcome, "reply"))
        return posts

    def nicknamed(self, fact: Fact) -> dict[str, str]:
        """The fact's slots, half the time with names cut short, as people do who ask: "when does Brindlewick open"."""
        if self.random() < 0.5:
            return fact.slots
        return {name: value.split(" ")[0] if name in ("n", "rival") else value for name, value in fact.slots.items()}

    def unhelpful(self, parent: Post, slots: Slots) -> Post:
        person = self.other(parent.person)
        text = self.say(self.talk.banks["unhelpful"]["bodies"], self.about(slots, person, parent.person))
        return self.reply_to(parent, person, text, "reply", quality=0.3)

    def thanks(self, parent: Post, person: Person, slots: Slots) -> Post:
        slots = self.about(slots, person, parent.person)
        words = self.talk.banks["thanks"]
        text = f"{self.say(words['heads'], slots)} {self.say(words['bodies'], slots)}"
        return self.reply_to(parent, person, text, "thanks", "good")

    # Everyday talk.

    def about(self, slots: Slots, speaker: Person, other: Person) -> Slots:
        """The thread's slots as the next speaker, who answers the other, meets them."""
        slots["trade"] = speaker.trade
        for name in SIDE_NOTES:
            slots.pop(name, None)
        slots["to"] = other.first
        return slots

    def daily(self, now: float) -> Thread:
        person, slots = self.someone(), self.slots()
        mood, words = self.habit(person)
        text = self.say(words["events"], slots)
        if self.random() < 0.65:
            text = self.join(text, self.say(words["more"], slots))
        posts = [self.post(person, text, "chat", mood)]
        if self.random() < 0.45:
            return posts
        for _ in range(1 + int(self.random() ** 2 * 3)):
            friend = self.other(person)
            answer = self.say(words["replies"], self.about(slots, friend, person))
            if self.random() < 0.3:
                answer = self.join(answer, self.say(self.talk.banks["banter"]["tails"], slots))
            posts.append(self.reply_to(posts[0], friend, answer, "reply", mood, quality=1.5))
        if self.random() < 0.6:
            back = self.say(words["more"], self.about(slots, person, posts[-1].person))
            if self.random() < 0.6:
                back = f"{self.say(self.talk.banks['banter']['heads'], slots)} {back}"
            posts.append(self.reply_to(posts[-1], person, back, "reply", mood))
            if self.random() < 0.5:
                self.banter(posts, slots, mood, DEEPEST)
        return posts

    def banter(self, posts: Thread, slots: Slots, mood: str, deepest: int) -> None:
        """The last two go on for a while."""
        words = self.talk.banks["banter"]
        here, there = posts[-1].person, posts[-1].parent.person if posts[-1].parent else posts[0].person
        while len(posts) < deepest and self.random() < 0.72:
            slots = self.about(slots, there, here)
            parts = [self.say(words["bodies"], slots)]
            if self.random() < 0.6:
                parts[0] = f"{self.say(words['heads'], slots)} {parts[0]}"
            if self.random() < 0.45:
                parts.append(self.say(words["tails"], slots))
            posts.append(self.reply_to(posts[-1], there, self.join(*parts), "reply", mood, quality=0.7))
            here, there = there, here

    def debate(self, now: float) -> Thread:
        """Two or three people with two views; nobody answers themselves, and no argument comes twice."""
        issue, words = self.pick(self.talk.issues), self.talk.banks["debates"]
        slots, first = self.slots(), self.someone()
        sides = [first, self.other(first), self.other(first)]
        slots["trade"] = first.trade
        opening = self.say(issue["opens"], slots)
        if self.random() < 0.7:
            side = "pro" if self.random() < 0.5 else "con"
            opening = self.join(opening, f"{self.say(words['opinions'], slots)} {self.say(issue[side], slots)}")
        posts = [self.post(first, opening, "debate")]
        used: set[str] = set()
        for turn in range(2 + int(self.random() * (DEEPEST - 3))):
            parent = posts[-1] if self.random() < 0.8 else posts[0]
            person = sides[(turn + 1) % 2 + (turn % 5 == 4)]
            slots = self.about(slots, person, parent.person)
            argument = self.say(issue["pro" if turn % 2 else "con"], slots)
            if argument in used or person is parent.person:
                continue
            used.add(argument)
            if self.random() < 0.85:
                argument = f"{self.say(words['stances'], slots)} {argument}"
            if self.random() < 0.4:
                argument = self.join(argument, self.say(words["ends"], slots))
            posts.append(self.reply_to(parent, person, argument, "debate", "bad"))
        return posts

    def dispute(self, now: float) -> Thread:
        """Somebody has a fact wrong, somebody else puts it right."""
        fact, version = self.fact(now)
        forms = self.world.another(fact, self.source)
        if fact.owner is not None or forms is None:
            return self.statement(now)
        person, slots, frames = self.someone(), self.slots(), self.talk.frames
        core = self.pick(self.talk.facts[fact.attribute]["statements"]) % {**fact.slots, "v": self.pick(forms)}
        wrong = f"{self.say(frames['openers'], slots)} {core}"
        posts = [self.post(person, wrong, "mistake", defects=("mistaken",), quality=0.4)]
        helper = self.other(person)
        right = self.told(fact, version, None)
        right = f"{self.say(frames['disputes'], self.about(slots, helper, person))} {right}"
        truth: dict[str, Any] = {"fact": fact, "version": version, "quality": 4.0}
        posts.append(self.reply_to(posts[0], helper, right, "answer", **truth))
        if self.random() < 0.6:
            sorry = self.say(frames["concedes"], self.about(slots, person, helper))
            posts.append(self.reply_to(posts[-1], person, sorry, "reply"))
        return posts

    def joke(self, now: float) -> Thread:
        words, slots, person = self.talk.banks["jokes"], self.slots(), self.someone()
        text = self.say(words["setups"], slots)
        if self.random() < 0.7:
            text = self.join(text, self.say(words["tails"], slots))
        posts = [self.post(person, text, "joke", "laugh", quality=1.5)]
        if self.random() < 0.5:
            friend = self.other(person)
            head = self.say(self.talk.banks["banter"]["heads"], self.about(slots, friend, person))
            body = self.say(self.talk.banks["banter"]["bodies"], slots)
            posts.append(self.reply_to(posts[0], friend, f"{head} {body}", "reply", "laugh"))
        return posts

    def story(self, now: float) -> Thread:
        """One person's own thread, or one long post."""
        person, slots = self.someone(), self.slots()
        mood, words = self.habit(person)
        parts = [self.say(words["events"], slots)] + [self.say(words["more"], slots) for _ in range(2)]
        again = self.say(words["events"], slots)
        if not set(again.split(" ")[:3]) & set(parts[0].split(" ")[:3]):
            parts.insert(2, again)
        parts = list(dict.fromkeys(parts))
        if self.random() < 0.5:
            ends = self.say(self.talk.banks["banter"]["tails"], slots)
            return [self.post(person, self.join(*parts, ends), "story", mood, quality=2.0)]
        posts = [self.post(person, parts[0], "story", mood)]
        for part in parts[1:]:
            posts.append(self.reply_to(posts[-1], person, part, "story", mood))
        return posts

"""The world of a town: who lives there, what is there, and the facts about it, some of which change."""

from __future__ import annotations

import dataclasses
from random import Random

from townsquare.town import values
from townsquare.town.names import Names
from townsquare.town.networks import NETWORK_OF, account

DAY_MS = 86_400_000
START_MS = 1_696_118_400_000  # 2023-10-01 UTC: two months of Circle posts, then none
DAYS = 400
CIRCLE_END_MS = 1_701_388_800_000  # 2023-12-01 UTC
MOST_PEOPLE = 40_000
MOST_FACTS = 40_000
MOST_DONORS = 24
FIRST_AUTHOR_ID = 1_600_000_000
NEVER = 1.0

Forms = tuple[str, ...]

HOMES = {3: "x_stream", 7: "bluesky", 11: "mastodon"}
ELSEWHERE = {
    ("bluesky", 5): "left",
    ("bluesky", 3): "opted_out_train",
    ("mastodon", 5): "gone",
    ("mastodon", 3): "opted_out_train",
}
"""Of every eight people of such a home, who is out and how."""

SHOPS = {
    "Bakery": ("a rye loaf", "a cinnamon bun", "a seeded roll", "a plum slice"),
    "Tearoom": ("a cream scone", "a pot of mint tea", "a cheese toastie"),
    "Cafe": ("a flat white", "a bowl of soup", "a slice of carrot cake"),
    "Bookshop": ("a second-hand novel", "a street map", "a blank notebook"),
    "Florist": ("a bunch of tulips", "a pot of basil", "a potted fern"),
    "Fishmonger": ("a smoked trout", "a tub of prawns", "a crab sandwich"),
    "Grocer": ("a jar of honey", "a dozen eggs", "a sack of potatoes"),
    "Barber": ("a dry cut", "a beard trim", "a wash and cut"),
    "Hardware": ("a box of screws", "a tin of varnish", "a bicycle pump"),
    "Creamery": ("a double scoop", "a tub of vanilla", "a milkshake"),
    "Butcher": ("a pound of sausages", "a pork pie", "a soup bone"),
    "Pharmacy": ("a tube of hand cream", "a box of plasters", "a bottle of cough syrup"),
    "Bike Shop": ("a new inner tube", "a bell", "a full service"),
    "Chippy": ("a portion of chips", "a fish supper", "a pickled egg"),
}
LINES = {"Ferry": "boat", "Tram": "tram", "Express": "bus", "Shuttle": "bus", "Night Bus": "bus", "Railcar": "train"}
CLUBS = ("Otters", "Rovers", "Herons", "Wanderers", "Foxes", "Badgers", "Swifts", "Harriers", "Tigers", "Bees")
EVENTS = (
    "Lantern Fair", "Kite Festival", "Soup Contest", "Raft Race", "Book Night", "Cheese Day", "Jazz Evening",
    "Harvest Supper", "Flower Show", "Ghost Walk", "Chess Open", "Plant Swap", "Film Night", "Fun Run", "Tea Dance",
)  # fmt: skip
PLACES = ("Park", "Library", "Pool", "Museum", "Hall", "Tower", "Mill", "Gardens", "Baths", "Chapel", "Pier", "Barn")
STREETS = ("Lane", "Street", "Road", "Row", "Hill", "Alley", "Crescent", "Walk")
GROUPS = (
    "Knitters", "Chess Circle", "Evening Choir", "Bird Walkers", "Book Table", "Ukulele Circle", "Bread Club",
    "Stargazers", "Sketch Group", "Card Night", "Quilters", "Story Hour", "Repair Table", "French Table",
)  # fmt: skip

TRADES = (
    "baker", "plumber", "nurse", "teacher", "gardener", "bus driver", "tailor", "carpenter", "librarian", "cook",
    "fisher", "vet", "farmer", "hairdresser", "mechanic", "painter", "student", "shop assistant", "retired sailor",
    "roofer", "welder", "dentist", "journalist", "beekeeper", "music teacher", "night nurse", "lifeguard", "potter",
    "brewer", "father of three", "mother of four", "pensioner", "train driver", "cleaner", "lawyer", "programmer",
)  # fmt: skip

ATTRIBUTES: dict[str, dict[str, str]] = {
    "shop": {
        "opens": "morning", "closes": "evening", "closed_on": "weekday", "owner": "person", "street": "street",
        "price": "small_price",
    },
    "line": {"first": "early", "last": "late", "every": "minutes", "stop": "place", "fare": "fare"},
    "club": {"coach": "person", "training": "weekday", "ground": "place", "fee": "fee"},
    "event": {"event_date": "day", "venue": "place", "ticket": "ticket", "starts": "afternoon", "host": "person"},
    "place": {"admission": "fare", "keeper": "person", "built": "year"},
    "group": {"meets_on": "weekday", "meets_at": "evening", "meets_in": "place", "costs": "small_price"},
    "match": {"match_date": "day", "kickoff": "afternoon"},
    "result": {"score": "score"},
}  # fmt: skip
"""What can be known of a thing of each kind, and of which kind of value it is."""
SHARES = {"shop": 30, "line": 10, "club": 12, "event": 14, "place": 8, "group": 10, "match": 6, "result": 10}
"""Of 100 things, how many are of each kind."""
FACTS_OF = {"shop": 3, "line": 3, "club": 2, "event": 3, "place": 2, "group": 3, "match": 2, "result": 1}
SILENT = 20
"""Facts that nobody tells, for questions that have no answer."""
UNCHANGING = frozenset({"score", "built"})


class Person:
    """Someone who posts: account, standing, habits, and how they write."""

    __slots__ = (
        "account", "circle", "created_ms", "emoji", "end", "first", "friends", "handle", "home", "id", "index", "kind",
        "last", "lower", "network", "night_owl_ms", "protected_ms", "slang", "standing", "tags", "topics", "trade",
        "typos",
    )  # fmt: skip

    def __init__(self, index: int, names: Names, random: Random, kind: str = "person") -> None:
        self.index, self.kind = index, kind
        self.id = FIRST_AUTHOR_ID + 7919 * index + int(random.random() * 7000)
        self.first, self.last = names.person()
        self.handle = names.handle(self.first, self.last)
        self.created_ms = START_MS - int((random.random() * 3000 + 30) * DAY_MS)
        self.live_on("x_api_v2")
        self.standing = "good"
        self.circle = False
        self.protected_ms: tuple[int, int] | None = None
        self.friends: tuple[int, ...] = ()
        self.lower = random.random() < 0.12
        self.slang = random.random() < 0.15
        self.typos = 0.25 if random.random() < 0.12 else 0.03
        self.emoji = random.random() ** 2 * 0.7
        self.tags = random.random() ** 3 * 0.4
        self.topics = (int(random.random() * 1000), int(random.random() * 1000), int(random.random() * 1000))
        self.night_owl_ms = int(random.gauss(0, 1.2) * 3_600_000)
        self.trade = random.choice(TRADES)
        self.end = random.choices((".", "", "!", "..."), (50, 36, 10, 4))[0]

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"

    def live_on(self, home: str) -> None:
        """Be where posts come from in this way: a network, and an author's id (`account`) there."""
        self.home, self.network = home, NETWORK_OF[home]
        self.account = account(self.network, self.id, self.handle)

    @property
    def key(self) -> str:
        return f"{self.network}:{self.account}"


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """Something true about a thing. `versions` are (fraction of the time span from which it holds, spellings)."""

    number: int
    attribute: str
    kind: str
    subject: str
    slots: dict[str, str]
    versions: tuple[tuple[float, Forms], ...]
    until: float = NEVER
    owner: Person | None = None
    silent: bool = False

    @property
    def id(self) -> str:
        return f"f{self.number:06d}"

    def version(self, now: float) -> int:
        """Which version holds at a fraction of the time span; -1 when it cannot be told yet, or no longer."""
        if now > self.until or now < self.versions[0][0]:
            return -1
        return len(self.versions) - 1 if now >= self.versions[-1][0] else 0


class World:
    """Everything that is true in a town. The same posts and seed make the same world."""

    def __init__(self, posts: int, seed: int) -> None:
        self.random = random = Random(f"world {seed}")
        self.names = Names(random)
        self.town = self.names.thing("%s")
        count = min(MOST_PEOPLE, max(40, posts // 25))
        self.people = [Person(i, self.names, random) for i in range(count)]
        self._give_standings(posts)
        self._give_homes()
        self.by_network: dict[str, list[Person]] = {}
        for person in self.people:
            self.by_network.setdefault(person.network, []).append(person)
        self._befriend()
        self.spammers = [Person(count + i, self.names, random, "spammer") for i in range(max(16, posts // 400))]
        self.bots = [Person(count + 10**6 + i, self.names, random, "bot") for i in range(2 + posts // 20_000)]
        facts = min(MOST_FACTS, max(160, posts // 40))
        self.streets = [self.names.thing(f"%s {random.choice(STREETS)}") for _ in range(max(16, facts // 20))]
        self.places = [self.names.thing(f"%s {random.choice(PLACES)}") for _ in range(max(16, facts // 25))]
        self.subjects: dict[str, list[str]] = {kind: [] for kind in ATTRIBUTES}
        self.facts: list[Fact] = []
        while len(self.facts) < facts:
            self._add_thing(random.choices(list(SHARES), list(SHARES.values()))[0])
        self._silence()
        self.stated = [fact for fact in self.facts if not fact.silent]
        random.shuffle(self.stated)
        self.changing = [fact for fact in self.stated if len(fact.versions) > 1]

    def _befriend(self) -> None:
        """Friends are of the same network, where alone they can meet."""
        random = self.random
        for there in self.by_network.values():
            count = len(there)
            for place, person in enumerate(there):
                near = [(place + step) % count for step in (1, 2, 3, -1, -2)]
                far = [int(random.random() ** 1.7 * count) for _ in range(4)]
                person.friends = tuple(there[spot].index for spot in (*near, *far))

    def _give_standings(self, posts: int) -> None:
        """Some authors are out in one way or another; some donate their own archives instead of being collected."""
        standings = {13: "protected", 17: "opted_out", 21: "opted_out_train", 25: "suspended", 29: "left",
                     33: "protects_later", 37: "protected_for_a_while"}  # fmt: skip
        for person in self.people:
            person.standing = standings.get(person.index % 97, "good")
        for k in range(min(MOST_DONORS, max(3, posts // 2000))):
            donor = self.people[4 * k + 2]
            donor.circle = k % 3 == 0
            donor.live_on("x_archive")
            if k == 1:
                donor.protected_ms = (START_MS + 150 * DAY_MS, START_MS + 180 * DAY_MS)

    def _give_homes(self) -> None:
        """One of twelve is on Bluesky, one on Mastodon, one was heard in an old stream of X."""
        for person in self.people:
            if person.standing == "good" and person.home == "x_api_v2":
                person.live_on(HOMES.get(person.index % 12, person.home))
                person.standing = ELSEWHERE.get((person.home, person.index // 12 % 8), "good")

    def _add_thing(self, kind: str) -> None:
        random = self.random
        slots, owner, until, since = self._describe(kind)
        self.subjects[kind].append(slots["n"])
        known = ATTRIBUTES[kind]
        chosen = random.sample(list(known), FACTS_OF[kind])
        for attribute in chosen:
            forms = self._draw(known[attribute], random)
            versions = [(since, forms)]
            if attribute not in UNCHANGING and until == NEVER and random.random() < 0.07:
                again = self._draw(known[attribute], random)
                if again[0] != forms[0]:
                    versions.append((0.1 + 0.3 * random.random(), again))
            number = len(self.facts)
            self.facts.append(Fact(number, attribute, kind, slots["n"], slots, tuple(versions), until, owner))

    def _silence(self) -> None:
        """Some facts are never told, of things about which other facts are."""
        able = [fact for fact in self.facts if fact.owner is None and FACTS_OF[fact.kind] > 1]
        by_subject = {fact.subject: fact for fact in able}
        for fact in self.random.sample(list(by_subject.values()), SILENT):
            self.facts[fact.number] = dataclasses.replace(fact, silent=True)

    def _describe(self, kind: str) -> tuple[dict[str, str], Person | None, float, float]:
        """(slots, owner, until, since) of a new thing of the kind."""
        random, thing = self.random, self.names.thing
        if kind == "shop":
            name = random.choice(list(SHOPS))
            return {"n": thing(f"%s {name}"), "item": random.choice(SHOPS[name])}, None, NEVER, 0.0
        if kind == "line":
            name = random.choice(list(LINES))
            return {"n": thing(f"%s {name}"), "kind": LINES[name]}, None, NEVER, 0.0
        if kind == "group":
            return {"n": thing(f"%s {random.choice(GROUPS)}")}, self._organiser(), NEVER, 0.0
        if kind in ("match", "result"):
            home, rival = (thing(f"%s {random.choice(CLUBS)}") for _ in range(2))
            until, since = (0.75, 0.0) if kind == "match" else (NEVER, 0.1 + 0.4 * random.random())
            return {"n": home, "rival": rival}, None, until, since
        if kind == "event":
            return {"n": thing(f"%s {random.choice(EVENTS)}")}, None, NEVER, 0.0
        return {"n": thing(f"%s {random.choice(CLUBS if kind == 'club' else PLACES)}")}, None, NEVER, 0.0

    def _organiser(self) -> Person:
        """Somebody in good standing whose posts are collected, for a group that only they tell about."""
        while True:
            person = self.people[int(self.random.random() * len(self.people))]
            if person.standing == "good" and person.home == "x_api_v2":
                return person

    def all_names(self) -> list[str]:
        """Every invented name, the town's own first: things whole, people by first and last name and handle."""
        people = (*self.people, *self.spammers, *self.bots)
        words = (word for person in people for word in (person.first, person.last, person.handle))
        return list(dict.fromkeys([*self.names.given, *words]))

    def another(self, fact: Fact, random: Random) -> Forms | None:
        """A value of the same kind that is not the fact's, for somebody who remembers wrongly."""
        forms = self._draw(ATTRIBUTES[fact.kind][fact.attribute], random)
        return None if forms[0] in {known[0] for _, known in fact.versions} else forms

    def _draw(self, kind: str, random: Random) -> Forms:
        if kind in values.DRAWS:
            return values.DRAWS[kind](random)
        if kind == "person":
            return values.plain(random.choice(self.people).name)
        return values.plain(random.choice(self.streets if kind == "street" else self.places))

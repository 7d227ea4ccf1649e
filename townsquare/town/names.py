"""Invented names: people, places, shops, clubs. None is meant to be real; each full name stands for one thing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

HEADS = (
    "Brin", "Quill", "Harrow", "Fen", "Ash", "Wex", "Thorn", "Mar", "Pike", "Grim", "Lark", "Ott", "Hazel", "Kest",
    "Drum", "Cobb", "Elder", "Fros", "Gorse", "Hob", "Ister", "Jun", "Kell", "Lin", "Muckle", "Nether", "Orl", "Pell",
    "Rus", "Sker", "Tam", "Umber", "Vel", "Whin", "Yar", "Zel", "Bram", "Clove", "Dapple", "Ember", "Flax", "Gil",
    "Heath", "Ivel", "Jack", "Knap", "Loam", "Moss", "Nettle", "Osier", "Plum", "Rook", "Sorrel", "Teasel", "Wren",
)  # fmt: skip
MIDDLES = ("a", "e", "i", "o", "er", "en", "al", "in", "or", "an", "el", "on")
TAILS = (
    "dlewick", "barn", "mere", "wright", "moor", "combe", "well", "ford", "ham", "stow", "wick", "ley", "gate", "holt",
    "thwaite", "bury", "croft", "den", "field", "ghyll", "hurst", "ington", "keld", "low", "marsh", "ness", "over",
    "pool", "rigg", "shaw", "toft", "vale", "wold", "worth", "yard", "beck", "cote", "dale", "garth", "lund", "sey",
)  # fmt: skip
FIRST_HEADS = (
    "Od", "Bren", "Cor", "Dal", "El", "Fio", "Gar", "Hes", "Il", "Jor", "Kal", "Lio", "Mae", "Ner", "Or", "Pen", "Qui",
    "Ros", "Sel", "Tor", "Ul", "Ver", "Wil", "Xan", "Yor", "Zan", "Am", "Bas", "Ced", "Dor", "Ev", "Fen", "Gis", "Hol",
)  # fmt: skip
FIRST_TAILS = (
    "alys", "ick", "wen", "ian", "ette", "ora", "vin", "anne", "elis", "mund", "bert", "ina", "eth", "win", "aldo",
    "isa", "ric", "una", "emar", "otte", "ias", "ira", "ander", "ille", "gard", "omir", "essa", "fried", "ita", "obel",
)  # fmt: skip
SURNAME_TAILS = (
    "wright", "field", "man", "son", "bright", "lock", "stone", "smith", "ward", "lark", "tree", "berry", "well",
    "more", "ridge", "wood", "hand", "feather", "water", "piper", "bow", "finch", "gold", "winter", "cross", "fox",
)  # fmt: skip
MATERIAL = frozenset({"Jack", "Elder", "Heath", "Moss", "Plum"})
"""Heads that are words or names of their own: not used for people."""


class Names:
    """Draws names, and remembers every one that it gave."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._stems = self._endless_stems()
        self._taken: set[str] = set()
        self.given: list[str] = []

    def _endless_stems(self) -> Iterator[str]:
        short = ["".join(pair) for pair in itertools.product(HEADS, TAILS)]
        self._random.shuffle(short)
        yield from short
        long = ["".join(parts) for parts in itertools.product(HEADS, MIDDLES, TAILS)]
        self._random.shuffle(long)
        yield from long
        for number in itertools.count(2):
            yield from (f"{stem} {number}" for stem in long)

    def stem(self) -> str:
        """A place-like word that was not given before."""
        return next(self._stems)

    def thing(self, pattern: str, stem: str | None = None) -> str:
        """A full name such as "Brindlewick Bakery" from a pattern with %s."""
        name = pattern % (stem or self.stem())
        self.given.append(name)
        return name

    def person(self) -> tuple[str, str]:
        """First and last name, together unlike anyone else's."""
        draw = self._random.random
        while True:
            first = FIRST_HEADS[int(draw() * len(FIRST_HEADS))] + FIRST_TAILS[int(draw() * len(FIRST_TAILS))]
            head = HEADS[int(draw() * len(HEADS))]
            middle = MIDDLES[int(draw() * len(MIDDLES))] if draw() < 0.3 or head in MATERIAL else ""
            last = head + middle + SURNAME_TAILS[int(draw() * len(SURNAME_TAILS))]
            if f"{first} {last}" not in self._taken:
                self._taken.add(f"{first} {last}")
                return first, last

    def handle(self, first: str, last: str) -> str:
        """A handle as people choose them, at most 15 characters, unlike anyone else's."""
        draw = self._random.random
        while True:
            number = str(int(draw() * 90) + 10) if draw() < 0.5 else ""
            forms = (f"{first}{last}", f"{first[0]}{last}", f"{first}_{last[0]}", f"{last}{first[0]}", f"the{last}")
            form = forms[int(draw() * len(forms))][: 15 - len(number)] + number
            form = form.lower() if draw() < 0.7 else form
            if form.lower() not in self._taken:
                self._taken.add(form.lower())
                return form
            first += "x"

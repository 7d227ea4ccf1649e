"""An organisation's opt-out list: authors who want out of everything or of one purpose, and a row that names nobody."""

from __future__ import annotations

from pathlib import Path

from townsquare.town.formats import Expected, iso
from townsquare.town.posts import Post
from townsquare.town.world import DAY_MS, START_MS, World

NAME = "40-opt_out.csv"
SCOPES = {"opted_out": "all", "opted_out_train": "train"}


class Writer:
    """Writes the list at once; posts do not change it."""

    def __init__(self, folder: Path, world: World) -> None:
        self._expected = Expected(NAME, "opt_out", quarantined={"no_id": 1})
        rows = ["network,author_id,post_id,kind,reason,requested_at,requester_ref,scope"]
        for person in world.people:
            if person.standing in SCOPES and person.network == "x":
                when = iso(START_MS + (100 + person.index % 50) * DAY_MS)
                rows.append(
                    f"x,{person.id},,opt_out,asked by letter,{when},ref-{person.index},{SCOPES[person.standing]}"
                )
                self._expected.events += 1
        back = world.people[1]
        rows += [
            f"x,{back.id},,opt_out,asked by letter,{iso(START_MS + 90 * DAY_MS)},ref-back,all",
            f"x,{back.id},,opt_in,changed their mind,{iso(START_MS + 120 * DAY_MS)},ref-back,all",
            f"x,,,opt_out,gave only a name,{iso(START_MS)},ref-none,all",
        ]
        self._expected.events += 2
        (folder / NAME).write_text("\n".join(rows) + "\n", encoding="utf-8")

    def post(self, post: Post) -> None:
        return

    def close(self) -> list[Expected]:
        return [self._expected]

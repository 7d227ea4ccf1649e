"""`python -m townsquare.ingest.sources > docs/formats.md` writes the page of formats, from the sources' own tables."""

from __future__ import annotations

import re
import sys
from types import ModuleType

from townsquare.ingest import files, packed
from townsquare.ingest.sources import ARCHIVES, SOURCES

HEADINGS = {
    "reads": "Reads",
    "reads for events only": "Reads for events only",
    "reads to hold back": "Reads to hold back",
    "never reads": "Never reads",
    "quarantines": "Quarantines",
    "trap": "Traps",
}
"""What a source's TABLE may speak of, in the order of the page."""

_CODE = re.compile(
    r"\{[^}]*\}"  # a shape, as {uri, value}
    r"|\[(?:deleted|removed)\]"
    r"|&#\w+;|[!#][a-z][\w-]+(?:\.[\w]+)*"  # an entity, a label, a tag
    r"|(?<!\S)\.(?:gz|bz2|zst)\b"
    r"|[\w/-]*[\w-]+(?:\.\w+)*\.(?:js|json|csv|gz)\b"  # a file
    r"|\b(?!v\d)\w+(?:\.\w+)+\b"  # a name with parts, as _meta.was_deleted_later
    r"|\b\w*[a-z]_\w+\b|\b[A-Z]{2}_[A-Z-]+\b|\b[a-z]+[A-Z]\w*\b"  # a field, a month's file, a field in camel case
)

INTRODUCTION = f"""\
# The formats that are read

*Written by `python -m townsquare.ingest.sources > docs/formats.md` from the tables in `townsquare/ingest/sources/`.
A test holds the two together.*

`townsquare ingest PATH` finds out the format of a file by its content and says why. `--format NAME` overrides it, and
`--dry-run` tells what would be taken, skipped and quarantined. A path is a file, a folder, a zip or a tar. What ends
in `.gz`, `.bz2` or `.zst` is unpacked, and an archive inside an archive is opened too. Every input becomes a post, an
event or a quarantined row with its place and a reason: kept + events + quarantined = seen, in every receipt.

What holds for all formats:

- Unknown is null, never zero. Ids are text: none passes through a float.
- Of a damaged or cut file all that is whole comes in, and a row says from where on the rest is lost (`broken_file`).
- Of a line beyond {files.LONGEST_LINE_BYTES >> 20} MiB the beginning is quarantined; the lines after it are read.
- What unpacks to more than {packed.LARGEST_RATIO} times its size (beyond {packed.RATIO_COUNTS_FROM_BYTES >> 20} MiB), a
  member larger than {files.LARGEST_MEMBER_BYTES >> 30} GiB, a path that leads out of its archive, a link and a device
  are refused, naming the limit (`unsafe_member`, or `broken_file` where only unpacking shows it).
- A file of no known format in a folder or an archive is quarantined (`unknown_format`) and stops no other.
- The same post from several sources is one post: full text beats cut text, a later observation an earlier one, and a
  deletion beats all, in whatever order they come.
"""


def page() -> str:
    """The page of formats, as Markdown."""
    rows = [f"| [`{source.NAME}`](#{source.NAME}) | {_coded(_title(source))} | {_unit(source)} |" for source in SOURCES]
    contents = "\n".join(["| format | what it is | read as |", "| --- | --- | --- |", *rows])
    return "\n".join([INTRODUCTION, contents, *(_section(source) for source in SOURCES)]) + "\n"


def _title(source: ModuleType) -> str:
    return (source.__doc__ or "").strip().splitlines()[0].rstrip(".")


def _unit(source: ModuleType) -> str:
    return "a whole archive, or a file" if source in ARCHIVES else "a file at a time"


def _section(source: ModuleType) -> str:
    parts = [f"\n## {source.NAME}\n\n{_coded(_title(source))}."]
    for kind, heading in HEADINGS.items():
        said = [text for spoken, text in source.TABLE if spoken == kind]
        if said:
            parts.append(f"\n**{heading}**\n\n" + "\n".join(f"- {_coded(text)}" for text in said))
    return "\n".join(parts)


def _coded(text: str) -> str:
    """A text with names of files, fields and labels in code type."""
    return _CODE.sub(lambda match: f"`{match[0]}`", text)


if __name__ == "__main__":
    sys.stdout.write(page())

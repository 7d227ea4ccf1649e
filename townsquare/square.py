"""A square: one workspace folder, `townsquare.toml` and everything made from it.

Only the standard library is used, so that `train` and `model` run on a bare GPU image.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import socket
import tempfile
import time
import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from townsquare.errors import ConfigError, LockedError, StorageError

CONFIG_NAME = "townsquare.toml"
SECTIONS = ("town", "ingest", "curate", "tokens", "train", "evaluate", "export", "index", "serve", "fleet", "ledger")

ConfigT = TypeVar("ConfigT")

CONFIG_TEMPLATE = """\
# This square's settings. Every key is optional; `townsquare STAGE --help` shows the defaults.
# A section is a stage, a key is a field of its config, for example:
#
# [train]
# size = "6M"
# seed = 1
"""


@dataclasses.dataclass(frozen=True)
class Square:
    """The workspace at `root`. Make one with `Square.create` or `Square.open`, never by hand.

    `replace` allows a stage whose inputs or config changed to make its output anew.
    """

    root: Path
    settings: dict[str, dict[str, Any]]
    replace: bool = False

    @classmethod
    def create(cls, root: Path | str) -> Square:
        """Make the folder and its `townsquare.toml`; an existing square is opened unchanged."""
        root = Path(root)
        root.mkdir(parents=True, exist_ok=True)
        config = root / CONFIG_NAME
        if not config.exists():
            write_atomically(config, CONFIG_TEMPLATE.encode())
        return cls.open(root)

    @classmethod
    def open(cls, root: Path | str, *, replace: bool = False) -> Square:
        """Open an existing square. Raises ConfigError when there is none or its settings do not parse."""
        root = Path(root).resolve()
        config = root / CONFIG_NAME
        if not config.is_file():
            raise ConfigError(
                f"{root} is not a square: it has no {CONFIG_NAME}",
                remedy=f"Make one with: townsquare init {root}",
            )
        try:
            settings = tomllib.loads(config.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(
                f"{CONFIG_NAME} does not parse: {error}", place=str(config), remedy="Mend or empty the file."
            ) from error
        for name, section in settings.items():
            if name not in SECTIONS or not isinstance(section, dict):
                raise ConfigError(
                    f"{CONFIG_NAME} has no section [{name}]",
                    place=str(config),
                    remedy="Sections are: " + ", ".join(SECTIONS),
                )
        return cls(root, settings, replace)

    # Where each part keeps its own. Only the stage that owns a folder writes into it.

    @property
    def town(self) -> Path:
        return self.root / "town"

    @property
    def posts(self) -> Path:
        """Lance tables `posts.lance`, `events.lance`, `quarantine.lance`."""
        return self.root / "posts"

    @property
    def consent(self) -> Path:
        """Tables of where authors are, each under its hash, for the exclusions that name regions."""
        return self.root / "consent"

    @property
    def corpus(self) -> Path:
        """Immutable corpus versions `v0001`, …; the file `CURRENT` names the live one."""
        return self.root / "corpus"

    @property
    def tokens(self) -> Path:
        """The vocabulary, and versions of shards; the file `CURRENT` names the live one."""
        return self.root / "tokens"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def evaluations(self) -> Path:
        return self.root / "evaluations"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def scores_page(self) -> Path:
        return self.root / "scores.html"

    @property
    def receipts(self) -> Path:
        return self.root / "receipts"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def usage(self) -> Path:
        """What each run has used of which GPUs, and what it was allocated."""
        return self.root / "usage"

    @property
    def launches(self) -> Path:
        """What was launched where: for each run its record, its batch or task file, and what it printed."""
        return self.root / "launches"

    @property
    def statements(self) -> Path:
        return self.root / "statements"

    @property
    def audits(self) -> Path:
        return self.root / "audits"

    def config(self, section: str, cls: type[ConfigT], **overrides: Any) -> ConfigT:
        """A stage's config: its defaults, then `[section]` of townsquare.toml, then `overrides` not None.

        Raises ConfigError for an unknown key or a value of the wrong type, naming both.
        """
        values = dict(self.settings.get(section, {}))
        values.update({key: value for key, value in overrides.items() if value is not None})
        return make_config(cls, values, place=f"[{section}] in {self.root / CONFIG_NAME}")

    @contextmanager
    def lock(self, holder: str, *, alone: bool = True) -> Iterator[None]:
        """Keep every other writing command out of this square; `holder` is the name they are told.

        Commands that are not `alone` may run beside one another, and keep out those that are. The kernel drops
        the lock when the process ends, however it ends. Raises LockedError.
        """
        path = self.root / ".lock"
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read().strip() or "another command"
                raise LockedError(
                    f"this square is in use by {who}",
                    place=str(self.root),
                    remedy="Wait until it ends, or stop it; what it has finished is kept.",
                ) from None
            file.truncate(0)
            stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            file.write(f"`townsquare {holder}`, process {os.getpid()} on {socket.gethostname()}, since {stamp}")
            file.flush()
            yield
            file.truncate(0)


def make_config(cls: type[ConfigT], values: dict[str, Any], *, place: str | None = None) -> ConfigT:
    """Build a frozen config dataclass from plain values, checking names and types.

    A list becomes a tuple, an int a float, a str a Path where the field says so.
    Raises ConfigError naming the key, the value and what was expected.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(
                f"there is no setting `{key}`",
                place=place,
                remedy="Settings are: " + ", ".join(sorted(fields)),
            )
        checked[key] = _coerce(key, value, hints[key], place)
    for name, field in fields.items():
        if name not in checked and field.default is field.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f"the setting `{name}` is missing", place=place, remedy=f"Give it {_expected(hints[name])}."
            )
    return cls(**checked)


_NO = object()


def _coerce(key: str, value: Any, hint: Any, place: str | None) -> Any:
    for option in _options(hint):
        found = _as(value, option)
        if found is not _NO:
            return found
    raise ConfigError(f"`{key}` cannot be {value!r}", place=place, remedy=f"Give it {_expected(hint)}.")


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _as(value: Any, option: Any) -> Any:
    """The value as the type `option`, or _NO where it is none."""
    origin = typing.get_origin(option) or option
    if origin is typing.Literal:
        fits = any(value == word and type(value) is type(word) for word in typing.get_args(option))
        return value if fits else _NO
    if origin is tuple and isinstance(value, (list, tuple)):
        return _as_tuple(value, typing.get_args(option))
    if origin in (int, float) and isinstance(value, bool):
        return _NO
    if origin is float and isinstance(value, int):
        return float(value)
    if origin is Path and isinstance(value, str):
        return Path(value)
    return value if isinstance(value, origin) else _NO


def _as_tuple(values: Sequence[Any], kinds: tuple[Any, ...]) -> Any:
    kinds = kinds[:1] * len(values) if kinds[1:] == (...,) else kinds
    found = tuple(_as(value, kind) for value, kind in zip(values, kinds, strict=False))
    return _NO if len(values) != len(kinds) or any(item is _NO for item in found) else found


_IN_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path, as text"}


def _expected(hint: Any) -> str:
    words = []
    for option in _options(hint):
        origin, arguments = typing.get_origin(option) or option, typing.get_args(option)
        if origin is typing.Literal:
            words.append("one of " + ", ".join(map(repr, arguments)))
        elif origin is tuple:
            words.append(f"a list, each {_expected(arguments[0])}")
        elif option is not types.NoneType:
            words.append(_IN_WORDS.get(origin, str(getattr(origin, "__name__", origin))))
    return " or ".join(words)


@contextmanager
def disk_errors_explained(place: Path | str) -> Iterator[None]:
    """Turn a full or read-only disk, or a limit on file sizes, into a StorageError that names the place."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # Lance and Arrow wrap the system's error in their own, with the number only in its text.
        said = next((how for how, signs in _DISK_SIGNS.items() if _shows(error, signs)), None)
        if said is None:
            raise
        raise StorageError(
            said,
            place=str(place),
            remedy="Free some space and run the same command again; finished work is kept.",
        ) from error


_DISK_SIGNS: dict[str, tuple[int | str, ...]] = {
    "the disk is full": (errno.ENOSPC, errno.EDQUOT, "No space left on device", "Disk quota exceeded"),
    "a file grew past the limit for this process": (errno.EFBIG, "File too large"),
    "the disk is read-only": (errno.EROFS, "Read-only file system"),
}


def _shows(error: Exception, signs: tuple[int | str, ...]) -> bool:
    return any(sign in str(error) if isinstance(sign, str) else getattr(error, "errno", None) == sign for sign in signs)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` so that a reader, or a crash, sees the old file or the new one and nothing between."""
    with disk_errors_explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def current_version(folder: Path) -> Path | None:
    """The live version inside a versioned folder, or None when nothing was finished there."""
    pointer = folder / "CURRENT"
    if not pointer.is_file():
        return None
    return folder / pointer.read_text(encoding="utf-8").strip()


def next_version(folder: Path) -> Path:
    """A path for a new version, past every existing one. The caller fills it, then calls `publish`."""
    numbers = [int(path.name[1:]) for path in folder.glob("v[0-9][0-9][0-9][0-9]")]
    return folder / f"v{max(numbers, default=0) + 1:04d}"


def publish(version: Path) -> None:
    """Make a complete version the live one, by moving the pointer last."""
    write_atomically(version.parent / "CURRENT", version.name.encode())

"""Mistakes that a person can mend: each says what is wrong, where, and what to do next.

The command line prints these without a traceback and ends with `exit_code`. Anything else that
escapes is a defect of townsquare and keeps its traceback.
"""

from __future__ import annotations


class TownsquareError(Exception):
    """What is wrong (`message`), where (`place`: file, line, field) and what to do next (`remedy`)."""

    exit_code = 1

    def __init__(self, message: str, *, place: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.remedy = remedy

    def __str__(self) -> str:
        where = f" ({self.place})" if self.place else ""
        then = f"\n{self.remedy}" if self.remedy else ""
        return f"{self.message}{where}{then}"


class ConfigError(TownsquareError):
    """A setting, an option or `townsquare.toml` holds a value that cannot be used."""

    exit_code = 2


class GrantError(TownsquareError):
    """No live grant allows what was asked."""

    exit_code = 3


class InputError(TownsquareError):
    """A source, model or other file that a person handed in cannot be used as it is."""

    exit_code = 4


class StaleError(TownsquareError):
    """A stage was run before with other inputs or config, or an earlier stage has not run yet."""

    exit_code = 5


class LockedError(TownsquareError):
    """Another command is at work in this square."""

    exit_code = 6


class StorageError(TownsquareError):
    """The disk is full or refuses; nothing that was finished is harmed."""

    exit_code = 7


class ProofError(TownsquareError):
    """A check that must hold does not: a takedown's scan found a copy, or the ledger was altered."""

    exit_code = 8

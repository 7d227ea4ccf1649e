"""Settings of the index and of the assistant."""

from __future__ import annotations

import dataclasses

from townsquare.errors import ConfigError
from townsquare.model.chat import GROUNDED_POSTS

SCOPES = ("chat", "posts", "metrics", "owner")
"""chat: ask, and say what one thinks of an answer; posts: open cited posts and look people up; metrics: /metrics;
owner: /owner."""


@dataclasses.dataclass(frozen=True)
class IndexConfig:
    """What goes into the index."""

    shortest_words: int = 3
    """Posts with fewer words answer nothing and are left out."""

    def __post_init__(self) -> None:
        if not 1 <= self.shortest_words <= 50:
            raise ConfigError(f"shortest_words cannot be {self.shortest_words}", remedy="Give 1 to 50.")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a new key may do."""

    scopes: tuple[str, ...] = ("chat", "posts")
    """What it is for: chat, posts, metrics, owner."""
    days: int = 365
    """Days until it expires."""
    requests_per_minute: int = 60
    """Questions that it may ask in a minute."""
    tokens_per_day: int = 1_000_000
    """Tokens, read and written, that its answers may take in a day (UTC)."""

    def __post_init__(self) -> None:
        if not self.scopes or set(self.scopes) - set(SCOPES):
            raise ConfigError(
                f"scopes cannot be {', '.join(self.scopes) or 'none'}", remedy="Scopes: " + ", ".join(SCOPES) + "."
            )
        for name, most in (("days", 3650), ("requests_per_minute", 1_000_000), ("tokens_per_day", 10**15)):
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name} cannot be {getattr(self, name)}", remedy=f"Give 1 to {most:,}.")


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """Which model answers, from where, and how much it is given."""

    model: str = "chat"
    """An exported model's name, the path of a GGUF file, or a model's name at the upstream."""
    engine: str = "llamacpp"
    """llamacpp runs the model in this process; a URL (http://HOST:PORT/v1) is asked instead."""
    host: str = "127.0.0.1"
    """The address that the page and the API listen on."""
    port: int = 8000
    """The port that they listen on; 0 takes a free one."""
    posts: int = GROUNDED_POSTS
    """Posts that the model is given for one answer."""
    context_tokens: int = 2048
    """Tokens that the engine holds for one request: posts, conversation and reply."""
    threads: int = 0
    """Threads of the in-process engine; 0 takes all cores."""
    timeout_seconds: float = 60.0
    """How long an upstream may stay silent."""

    def __post_init__(self) -> None:
        if self.engine != "llamacpp" and not self.engine.startswith(("http://", "https://")):
            raise ConfigError(f"engine cannot be {self.engine!r}", remedy="Give llamacpp, or a URL of an OpenAI API.")
        for name, low, high in (
            ("port", 0, 65535),
            ("posts", 1, 20),
            ("context_tokens", 256, 1 << 20),
            ("threads", 0, 1024),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} cannot be {value}", remedy=f"Give {low} to {high:,}.")
        if not self.timeout_seconds > 0:
            raise ConfigError(f"timeout_seconds cannot be {self.timeout_seconds}", remedy="Give more than 0.")

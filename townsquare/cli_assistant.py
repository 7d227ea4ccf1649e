"""Commands of the assistant: one question, a conversation, and the server."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from townsquare.cli_records import HERE, JsonOption, SquareOption, echo_json
from townsquare.options import with_options
from townsquare.serve.config import Limits, ServeConfig
from townsquare.serve.filters import Filters
from townsquare.square import Square, make_config

AuthorOption = Annotated[
    list[str] | None, typer.Option("--author", help="Only posts of this author: @handle, or NETWORK:ID.")
]
LanguageOption = Annotated[
    list[str] | None, typer.Option("--language", help="Only posts in this language, such as en.")
]
NetworkOption = Annotated[
    list[str] | None, typer.Option("--network", help="Only posts of this network, such as masto.")
]
SinceOption = Annotated[str | None, typer.Option("--since", help="Only posts of this day or later, YYYY-MM-DD, UTC.")]
UntilOption = Annotated[str | None, typer.Option("--until", help="Only posts of this day or earlier, YYYY-MM-DD, UTC.")]


@with_options(ServeConfig, leave_out=("host", "port"))
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    author: AuthorOption = None,
    language: LanguageOption = None,
    network: NetworkOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    square: SquareOption = HERE,
    as_json: JsonOption = False,
    *,
    settings: Any,
) -> None:
    """Ask the assistant one question; the answer comes with the posts it rests on.

    Examples: townsquare ask "When does the ferry leave on Sunday?"

    townsquare ask "When does the ferry leave?" --network masto --since 2026-01-01
    """
    from townsquare.serve import terminal

    place, filters = Square.open(square), _filters(author, language, network, since, until)
    answer = terminal.ask(place, place.config("serve", ServeConfig, **settings), question, filters)
    if as_json:
        echo_json(answer.to_json())
    else:
        terminal.show_answer(answer, Console())


@with_options(ServeConfig, leave_out=("host", "port"))
def chat(
    author: AuthorOption = None,
    language: LanguageOption = None,
    network: NetworkOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    square: SquareOption = HERE,
    *,
    settings: Any,
) -> None:
    """Talk with the assistant on the terminal.

    Example: townsquare chat --model chat
    """
    from townsquare.serve import terminal

    place, filters = Square.open(square), _filters(author, language, network, since, until)
    terminal.chat(place, place.config("serve", ServeConfig, **settings), filters)


@with_options(ServeConfig)
def serve(square: SquareOption = HERE, *, settings: Any) -> None:
    """Serve the chat page at /, the owner's page at /owner and an OpenAI-compatible API at /v1.

    Examples: townsquare serve --port 8000

    townsquare serve --engine http://gpu-host:8000/v1 --model my-model
    """
    from townsquare.report.owner import overview
    from townsquare.serve.server import serve as run
    from townsquare.takedown.lookup import lookup

    place = Square.open(square)
    settled = place.config("serve", ServeConfig, **settings)
    run(place, settled, lambda name: lookup(place, name), lambda: overview(place))


def _filters(
    author: list[str] | None,
    language: list[str] | None,
    network: list[str] | None,
    since: str | None,
    until: str | None,
) -> Filters:
    return Filters(tuple(author or ()), tuple(language or ()), tuple(network or ()), since, until)


@with_options(ServeConfig, leave_out=("host", "port"))
def reply(
    thread: Annotated[Path, typer.Argument(help="The thread as JSON: of X API v2, Bluesky or Mastodon.")],
    handle: Annotated[str, typer.Option("--as", help="The assistant's own handle in that network.")],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
    *,
    settings: Any,
) -> None:
    """Reply to the last post of a thread that mentions the assistant. Nothing is posted, and nothing of it is kept.

    Example: townsquare reply thread.json --as town_bot --json
    """
    from townsquare.serve.assistant import Assistant
    from townsquare.serve.reply import reply as make

    place = Square.open(square)
    with Assistant.open(place, place.config("serve", ServeConfig, **settings)) as assistant:
        made = make(place, assistant, thread, handle)
    if as_json:
        echo_json(made.to_json())
        return
    typer.echo(made.text if made.text is not None else f"No reply may be made: {made.why_not}.")
    for citation in made.citations:
        typer.echo(f"[{citation.number}] {citation.url or citation.uid}")


keys_app = typer.Typer(no_args_is_help=True, help="Say who may ask the server, how much, until when.")


@keys_app.command("add")
@with_options(Limits)
def keys_add(
    name: Annotated[str, typer.Argument(help="Who gets the key.")],
    square: SquareOption = HERE,
    as_json: JsonOption = False,
    *,
    settings: Any,
) -> None:
    """Make a key and print it, this once. From the first key on, every request to the server needs one.

    Example: townsquare keys add "town website" --requests-per-minute 30 --days 90
    """
    from townsquare.serve.keys import Keys, shown
    from townsquare.serve.recorded import key_made

    place = Square.open(square)
    with closing(Keys.open(place)) as keys:
        key, text = keys.add(name, make_config(Limits, settings), time.time())
    key_made(place, key)
    if as_json:
        echo_json({**shown([key], time.time())[0], "key": text})
    else:
        typer.echo(
            f"{text}\nThis is shown once: only its hash is stored. Revoke it with: townsquare keys revoke {key.id}"
        )


@keys_app.command("list")
def keys_list(square: SquareOption = HERE, as_json: JsonOption = False) -> None:
    """Show every key, revoked ones too, and what each was used for by day.

    Example: townsquare keys list --json
    """
    from townsquare.serve.keys import Keys, shown

    with closing(Keys.open(Square.open(square))) as keys:
        found = [{**row, "usage": keys.usage(str(row["id"]))} for row in shown(keys.all(), time.time())]
    if as_json:
        echo_json(found)
        return
    for row in found:
        requests, tokens = (sum(day[place] for day in row["usage"]) for place in (1, 2))
        typer.echo(
            f"{row['id']}  {row['state']:7}  {row['name']}  {' '.join(row['scopes'])}  "
            f"{requests:,} requests, {tokens:,} tokens so far"
        )


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, as `keys list` shows it.")], square: SquareOption = HERE
) -> None:
    """Revoke a key. A running server turns it away from the next request on.

    Example: townsquare keys revoke 1f2e3d4c
    """
    from townsquare.serve.keys import Keys
    from townsquare.serve.recorded import key_revoked

    place = Square.open(square)
    with closing(Keys.open(place)) as keys:
        keys.revoke(key_id, time.time())
    key_revoked(place, key_id)
    typer.echo(f"Revoked {key_id}.")

"""Command-line options made from a stage's config: one place says what a setting is, its help included."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape


def field_docs(cls: type) -> dict[str, str]:
    """The docstring under each field of a config dataclass, by field name, as one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, doc in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
            text = ast.literal_eval(doc.value)
            found[field.target.id] = " ".join(str(text).split())
    return found


def with_options(cls: type, *, leave_out: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of `cls`, passed to it together as `settings`.

    An option that was not typed is absent from `settings`, so that `townsquare.toml` may speak.
    `leave_out` names fields that the command asks for in its own way.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        docs, hints = field_docs(cls), typing.get_type_hints(cls)
        fields = [field for field in dataclasses.fields(cls) if field.name not in leave_out]
        parameters = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_annotation(field, hints[field.name], docs.get(field.name, "")),
            )
            for field in fields
        ]
        names = {field.name for field in fields}

        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            typed = {name: arguments.pop(name) for name in names}
            settings = {name: value for name, value in typed.items() if value is not None}
            command(**arguments, settings=settings)

        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        signature = inspect.Signature(keyword + parameters)
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return run

    return decorate


def _annotation(field: dataclasses.Field[Any], hint: Any, doc: str) -> Any:
    """The option; its help is rich markup, in which words in square brackets would be lost unescaped."""
    shown = field.default if field.default is not dataclasses.MISSING else None
    if shown not in (None, "", ()):
        default = ", ".join(map(str, shown)) if isinstance(shown, tuple) else str(shown)
        doc = f"{doc} [default: {default}]"
    return Annotated[_kind(hint) | None, typer.Option(help=escape(doc), show_default=False)]


def _kind(hint: Any) -> Any:
    """The type that the command line parses a field as: a tuple is an option given several times."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        element = typing.get_args(hint)[0]
        return list[element if element in (str, int, float, Path) else str]  # type: ignore[misc]
    if origin is typing.Literal:
        return str
    return origin

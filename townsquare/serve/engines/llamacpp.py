"""llama.cpp in this process: an exported model, or any GGUF file, without a server or network."""

from __future__ import annotations

import json
import os
import queue
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from townsquare.errors import InputError, StaleError
from townsquare.model import chat
from townsquare.model.chat import Turn
from townsquare.serve.config import ServeConfig
from townsquare.serve.engines import EngineError, Piece, Sampling, Spent
from townsquare.square import Square

MAGIC = b"GGUF"
STILL_SECONDS = 120.0
"""Silence after which a reply is given up."""
PARALLEL = 4
"""Requests that share one batch; more wait their turn."""


class LlamaCpp:
    """One loaded GGUF file. Requests from several threads are batched together."""

    parallel = PARALLEL
    offers = frozenset({"json", "logprobs"})

    def __init__(self, path: Path, name: str, *, context_tokens: int, threads: int) -> None:
        self.name = name
        self._server: Any = _load(path, context_tokens, threads or os.cpu_count() or 1)

    @classmethod
    def open(cls, square: Square, config: ServeConfig) -> LlamaCpp:
        """Load the model that the config names. Raises StaleError, InputError or EngineError."""
        path, name = locate(square, config.model)
        return cls(path, name, context_tokens=config.context_tokens, threads=config.threads)

    def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str | Spent]:
        """The next turn in pieces, then what it took. Closing the iterator stops the work. Raises EngineError."""
        server = self._server
        if server is None:
            raise EngineError("the engine is closed", remedy="Open the assistant again.")
        pieces: queue.Queue[str | None] = queue.Queue()
        enough = threading.Event()

        def take(chunk: str) -> bool:
            pieces.put(chunk)
            return enough.is_set()  # true ends the work

        def work() -> None:
            try:
                server.handle_completions(_request(messages, sampling), take)
            finally:
                pieces.put(None)

        threading.Thread(target=work, name="llama.cpp", daemon=True).start()
        try:
            yield from _texts(pieces, sampling.logprobs)
        finally:
            enough.set()

    def close(self) -> None:
        """Unload the model."""
        self._server = None


def locate(square: Square, model: str) -> tuple[Path, str]:
    """The GGUF file of an exported model's name or of a path, and the name to show for it."""
    given = Path(model)
    if given.suffix == ".gguf" or given.is_file():
        path, name = given, given.stem
        if not path.is_file():
            raise InputError("there is no such model file", place=str(path), remedy="Mend the path.")
    else:
        path, name = square.models / model / "model.gguf", model
        if given.name != model or not path.is_file():
            raise StaleError(
                f"there is no exported model {model!r} in this square",
                place=str(square.models),
                remedy="Run first: townsquare export, or name a GGUF file with --model PATH.",
            )
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise InputError("this is not a GGUF file", place=str(path), remedy="Name another model.")
    return path, name


def _load(path: Path, context_tokens: int, threads: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    # A request's context is its own; the cache that the requests share is as large as all of them.
    params.n_ctx, params.n_parallel = context_tokens * PARALLEL, PARALLEL
    params.kv_unified = False
    params.warmup = False
    params.verbosity = -1
    for pool in (params.cpuparams, params.cpuparams_batch):
        pool.n_threads = threads
        pool.poll = 0  # waiting threads sleep: on cores shared with others spinning cost 100 times the speed
    # The library also listens on a port of this machine. Nobody is told the key, so nobody is answered.
    params.api_keys = [secrets.token_hex(32)]
    params.ui = params.endpoint_slots = params.endpoint_props = False
    try:
        server = xllamacpp.Server(params)
        # Its destructor waits for ever if its main loop has not begun yet; a reply shows that it has.
        server.handle_completions(json.dumps({"prompt": "a", "n_predict": 1, "stream": True}), lambda chunk: False)
        return server
    except RuntimeError as error:
        raise EngineError(
            f"llama.cpp cannot load this model: {error}",
            place=str(path),
            remedy="Export it again with: townsquare export; or name another GGUF file.",
        ) from error


def _request(messages: Sequence[Turn], sampling: Sampling) -> str:
    request: dict[str, Any] = {
        "prompt": chat.render(messages, ask=True),
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": [chat.TURN_END, chat.END_OF_TEXT, *sampling.stop],
        "stream": True,
        "stream_options": {"include_usage": True},
        "cache_prompt": True,
    }
    if sampling.seed is not None:
        request["seed"] = sampling.seed
    if sampling.schema is not None:
        request["json_schema"] = json.loads(sampling.schema)  # llama.cpp makes a grammar of it
    if sampling.logprobs is not None:
        request["logprobs"] = max(sampling.logprobs, 1)  # 0 is taken for none at all
    return json.dumps(request)


def _texts(chunks: queue.Queue[str | None], logprobs: int | None) -> Iterator[str | Spent]:
    while True:
        try:
            chunk = chunks.get(timeout=STILL_SECONDS)
        except queue.Empty:
            raise EngineError(
                f"llama.cpp said nothing for {STILL_SECONDS:.0f} s", remedy="Ask again, or serve a smaller model."
            ) from None
        if chunk is None:
            return
        record = json.loads(chunk)
        if "error" in record:
            raise EngineError(
                f"llama.cpp refused: {record['error'].get('message', record['error'])}",
                remedy="Ask with fewer words, or give it more with: --context-tokens",
            )
        choice = record["choices"][0] if record.get("choices") else {}
        if text := choice.get("text"):
            yield Piece.of(text, choice, logprobs)
        if spent := Spent.of(record.get("usage")):
            yield spent

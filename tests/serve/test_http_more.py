"""More of OpenAI's API: several choices, JSON, legacy completions and vectors, by the official client and a socket."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

import numpy as np
import openai
import pytest
from assistant_square import assistant as real_assistant
from assistant_square import indexed

from tests.serve.serving import ANSWER, MODEL, FakeAssistant, raw, serving, unchunked
from townsquare.model.chat import NOTHING_FOUND, Turn
from townsquare.serve import vectors
from townsquare.serve.answers import Answer
from townsquare.serve.engines import Piece, Sampling, Spent
from townsquare.serve.structured import UNFINISHED
from townsquare.square import Square

QUESTION = [{"role": "user", "content": "When does the library open?"}]
SCHEMA = {"type": "object", "properties": {"opens": {"type": "string"}}, "required": ["opens"]}
AS_JSON = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


class Embeds:
    """An engine with vectors of its own, as an upstream is."""

    name, parallel, offers = MODEL, 1, frozenset[str]()

    def embed(self, model: str, texts: Sequence[str]) -> tuple[list[list[float]], int]:
        return [[float(len(text)), 0.5] for text in texts], 7


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeAssistant, str]]:
    assistant = FakeAssistant()
    with serving(assistant) as address:
        yield assistant, address


@pytest.fixture
def assistant(served: tuple[FakeAssistant, str]) -> FakeAssistant:
    assistant, _ = served
    assistant.__init__()  # type: ignore[misc]
    assistant.answer = dataclasses.replace(ANSWER, spent=Spent(10, 4))
    return assistant


@pytest.fixture
def client(assistant: FakeAssistant, served: tuple[FakeAssistant, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served[1]}/v1", api_key="none needed", max_retries=0) as client:
        yield client


def test_choices_are_answers_of_their_own(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    reply = client.chat.completions.create(model=MODEL, messages=QUESTION, n=3, seed=5)
    assert [(choice.index, choice.message.content) for choice in reply.choices] == [
        (number, ANSWER.text) for number in range(3)
    ]
    assert sorted(sampling.seed for _, sampling in assistant.asked) == [5, 6, 7]  # type: ignore[type-var]
    assert reply.usage
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (30, 12, 42)


def test_choices_are_streamed_side_by_side(client: openai.OpenAI) -> None:
    texts, ends, usages = ["", ""], [0, 0], []
    asked = client.chat.completions.create(
        model=MODEL, messages=QUESTION, n=2, stream=True, stream_options={"include_usage": True}
    )
    for chunk in asked:
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            ends[choice.index] += choice.finish_reason == "stop"
    assert (texts, ends) == ([ANSWER.text] * 2, [1, 1])
    assert [usage.total_tokens for usage in usages] == [28]


def test_an_error_in_one_choice_ends_all(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    assistant.error = ZeroDivisionError("secret")
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=MODEL, messages=QUESTION, n=2)
    for _ in range(2):
        assistant.ended.acquire(timeout=20)
    assert assistant.at_work == 0


def test_legacy_completions(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    reply = client.completions.create(model=MODEL, prompt=["When?", "Where?"], max_tokens=9)
    assert [(choice.index, choice.text) for choice in reply.choices] == [(0, ANSWER.text), (1, ANSWER.text)]
    assert (reply.object, reply.choices[0].finish_reason) == ("text_completion", "stop")
    assert [citation["uid"] for citation in reply.choices[0].citations] == [c.uid for c in ANSWER.citations]
    assert sorted(turns[0] for turns, _ in assistant.asked) == [("user", "When?"), ("user", "Where?")]
    chunks = list(client.completions.create(model=MODEL, prompt="When?", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == ANSWER.text
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].choices[0].checked == ANSWER.text


@pytest.mark.parametrize(
    ("change", "param"),
    [({"prompt": ""}, "prompt"), ({"prompt": [1, 2]}, "prompt.0"), ({"echo": True}, "echo"),
     ({"logprobs": 3}, "logprobs"), ({"prompt": ["a"] * 5, "n": 2}, "n"), ({"suffix": "x"}, "suffix")],
)  # fmt: skip
def test_completions_that_cannot_be_answered(client: openai.OpenAI, change: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.post("/completions", body={"model": MODEL, "prompt": "When?", **change}, cast_to=object)
    assert raised.value.param == param


def test_the_bytes_of_a_legacy_stream(served: tuple[FakeAssistant, str], assistant: FakeAssistant) -> None:
    body = json.dumps({"model": MODEL, "prompt": "When?", "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"  # noqa: E501
    with raw(served[1]) as connection:
        connection.sendall(head.encode() + body)
        received = b""
        while part := connection.recv(1 << 16):
            received += part
    headers, _, rest = received.partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream" in headers
    *events, done, end = unchunked(rest).decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert {json.loads(event.removeprefix("data: "))["object"] for event in events} == {"text_completion"}


def test_json_is_asked_of_engines_that_offer_it(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    client.chat.completions.create(model=MODEL, messages=QUESTION, response_format=AS_JSON)
    client.chat.completions.create(model=MODEL, messages=QUESTION, response_format={"type": "json_object"})
    schemas = [sampling.schema for _, sampling in assistant.asked]
    assert json.loads(schemas[0] or "") == SCHEMA
    assert schemas[1] == "{}"
    assistant.engine.offers = frozenset()
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=MODEL, messages=QUESTION, response_format=AS_JSON)
    assert (raised.value.param, raised.value.code) == ("response_format", "unsupported_parameter")


@pytest.mark.parametrize("stream", [True, False])
def test_a_refusal_stands_where_openai_puts_it(client: openai.OpenAI, assistant: FakeAssistant, stream: bool) -> None:
    assistant.answer = Answer("", (), (), None, False, MODEL, refused=True)
    assistant.answer = dataclasses.replace(assistant.answer, text="None.")
    reply = client.chat.completions.create(
        model=MODEL, messages=QUESTION, response_format={"type": "json_object"}, stream=stream
    )
    if stream:
        assert [chunk.choices[0].delta.refusal for chunk in reply][-1] == "None."
    else:
        assert (reply.choices[0].message.content, reply.choices[0].message.refusal) == (None, "None.")


TOKEN = {"token": " nine", "bytes": [32, 110, 105, 110, 101], "logprob": -0.5, "top_logprobs": []}


def test_logprobs_are_those_of_what_stands(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    assistant.answer = dataclasses.replace(ANSWER, tokens=(TOKEN,))
    assistant.engine.offers = frozenset({"logprobs"})
    asked = {"model": MODEL, "messages": QUESTION, "logprobs": True, "top_logprobs": 3}
    whole = client.chat.completions.create(**asked).choices[0]
    assert [(token.token, token.logprob) for token in whole.logprobs.content] == [(" nine", -0.5)]
    *_, last = client.chat.completions.create(**asked, stream=True)
    assert last.choices[0].logprobs.content[0].token == " nine"
    assert [sampling.logprobs for _, sampling in assistant.asked] == [3, 3]
    assistant.engine.offers = frozenset()
    for change in ({"logprobs": True}, {"top_logprobs": 2}):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=MODEL, messages=QUESTION, **change)


def test_tokens_of_a_sentence_that_was_left_out_are_not_told(square: Square) -> None:
    indexed(square)
    asked = real_assistant(square)
    parts = ["Harbour Bakery opens", " at 8:00.", " [1]", " It is owned", " by Nobody Real."]

    class Tells(Embeds):
        def stream(self, messages: Sequence[Turn], sampling: Sampling) -> Iterator[str]:
            assert sampling.logprobs == 1
            for part in parts:
                told = {"logprobs": {"content": [{"token": part, "logprob": -1.0, "top_logprobs": [TOKEN, TOKEN]}]}}
                yield Piece.of(part, told, sampling.logprobs)

        def close(self) -> None:
            pass

    asked.engine = Tells()
    answer = asked.answer([("user", OPENS)], Sampling(logprobs=1))
    assert answer.text == "Harbour Bakery opens at 8:00. [1]"
    assert [token["token"] for token in answer.tokens or ()] == parts[:3]
    assert [len(token["top_logprobs"]) for token in answer.tokens or ()] == [1, 1, 1]
    assert asked.answer([("user", "Who coaches the Umbrella Otters?")], Sampling(logprobs=1)).tokens is None


OPENS = "When does Harbour Bakery open?"


def told(square: Square, reply: str, question: str = OPENS) -> Answer:
    return real_assistant(square, reply).answer([("user", question)], Sampling(schema="{}"))


def test_values_of_json_are_checked(square: Square) -> None:
    indexed(square)
    answer = told(square, '{"opens": "8:00", "owner": ["Bob Ross", true], "chairs": 77}')
    assert json.loads(answer.text)["opens"] == "8:00"
    assert [(value.text, value.supported) for value in answer.sentences] == [
        ("8:00", True), ("Bob Ross", False), ("77", False)
    ]  # fmt: skip
    assert [citation.uid for citation in answer.citations] == ["table:3"]
    assert not answer.refused


@pytest.mark.parametrize(
    ("reply", "question", "said"),
    [('{"opens": "9:99"}', OPENS, NOTHING_FOUND), ('{"opens": "8:', OPENS, UNFINISHED),
     ('{"opens": "8:00"}', "Who coaches the Umbrella Otters?", NOTHING_FOUND), ("[" * 10_000, OPENS, UNFINISHED)],
)  # fmt: skip
def test_no_json_without_a_post_behind_it(square: Square, reply: str, question: str, said: str) -> None:
    indexed(square)
    answer = told(square, reply, question)
    assert (answer.refused, answer.text, answer.citations, answer.found) == (True, said, (), False)


def test_an_upstreams_vectors_are_passed_on(client: openai.OpenAI, assistant: FakeAssistant) -> None:
    assistant.engine = Embeds()  # type: ignore[assignment]
    reply = client.embeddings.create(model="any of its models", input=["a", "bbb"])  # the client asks for base64
    assert [row.embedding for row in reply.data] == [[1.0, 0.5], [3.0, 0.5]]
    assert reply.usage.prompt_tokens == 7
    plain = client.embeddings.create(model="any of its models", input="bbb", encoding_format="float")
    assert plain.data[0].embedding == [3.0, 0.5]


def test_without_vectors_there_is_no_such_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=MODEL, input="a")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=vectors.NAME, input=[])


def test_the_packaged_model_gives_vectors(client: openai.OpenAI) -> None:
    if not vectors.installed():
        pytest.skip("the extra `vectors` is not installed")
    texts = ["The bakery opens at eight.", "Bread is sold from 8 o'clock on.", "The otters lost the match again."]
    reply = client.embeddings.create(model=vectors.NAME, input=texts)
    found = np.array([row.embedding for row in reply.data])
    assert found.shape == (3, vectors.DIMENSIONS)
    # By transformers and the model's weights in full precision, which these are an int8 copy of.
    assert np.allclose(found @ found.T, [[1, 0.6103, -0.0847], [0.6103, 1, -0.1085], [-0.0847, -0.1085, 1]], atol=0.01)
    assert np.allclose(found[0, :6], [0.0472, 0.0021, 0.0188, 0.0572, -0.0848, 0.0922], atol=0.003)
    alone = client.embeddings.create(model=vectors.NAME, input=texts[0]).data[0].embedding
    assert np.allclose(alone, found[0], atol=1e-3)  # beside others or alone
    assert reply.usage.prompt_tokens == 8 + 12 + 10

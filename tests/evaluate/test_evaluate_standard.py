"""Standard tasks: files as they are published, the harness over our decoder, against sums made without either."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch

from tests.evaluate.evaluate_square import put_model, put_shards
from townsquare.errors import ConfigError, InputError
from townsquare.evaluate.config import EvaluateConfig
from townsquare.evaluate.run import run
from townsquare.evaluate.tasks import arc_easy, mmlu
from townsquare.model import huggingface
from townsquare.square import Square
from townsquare.tokens import vocabulary

ARC = [
    {"query": "Question: Which of these is hot?", "choices": ["ice", "the harbour bakery oven", "rain"], "gold": 1},
    {"query": "Question: What opens at 7?", "choices": ["the library", "a rock", "bread", "the bakery"], "gold": 3},
    {"query": "Question: Who beat United?", "choices": ["Rovers", "nobody"], "gold": 0},
    {"query": "Question: Where is winter warm?", "choices": ["in the library", "nowhere", "at sea"], "gold": 0},
]
MATHS = [{"question": f"What is {n} and {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(1, 9)]


@pytest.fixture
def task_data(tmp_path: Path) -> Path:
    (tmp_path / "arc_easy_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ARC))
    (tmp_path / "gsm8k_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in MATHS))
    table = 'question,choice0,choice1,choice2,choice3,answer\n"Two, or three?",2,3,4,5,1\nOne?,1,0,7,8,0\n'
    with tarfile.open(tmp_path / "mmlu_test.tar.gz", "w:gz") as archive:
        for field in ("anatomy", "astronomy"):
            member = tarfile.TarInfo(f"test/{field}_test.csv")
            member.size = len(table)
            archive.addfile(member, io.BytesIO(table.encode()))
    return tmp_path


@pytest.fixture
def square_with_model(square: Square) -> Square:
    put_shards(square)
    put_model(square)
    return square


def by_hand(square: Square) -> tuple[float, float]:
    """Accuracies of ARC by plain sums: each answer's log-likelihood after the question, token by token."""
    decoder, tokenizer = huggingface.load(square.models / "chat"), vocabulary.load(square.models / "chat")
    plain = normalised = 0
    for row in ARC:
        context = f"{row['query']}\nAnswer:"
        start = len(tokenizer.encode(context).ids)
        scores = []
        for choice in row["choices"]:  # type: ignore[attr-defined]
            ids = torch.tensor([tokenizer.encode(f"{context} {choice}").ids])
            with torch.no_grad():
                likely = torch.log_softmax(decoder(ids)[0, :-1].double(), -1).gather(1, ids[0, 1:, None])
            scores.append(float(likely[start - 1 :].sum()))
        lengths = [len(choice) for choice in row["choices"]]  # type: ignore[attr-defined]
        plain += scores.index(max(scores)) == row["gold"]
        shares = [score / length for score, length in zip(scores, lengths, strict=True)]
        normalised += shares.index(max(shares)) == row["gold"]
    return plain / len(ARC), normalised / len(ARC)


def test_the_harness_scores_our_decoder(square_with_model: Square, task_data: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    config = EvaluateConfig(tasks=("arc_easy", "gsm8k", "mmlu"), task_data=task_data)
    receipt = run(square_with_model, config)
    scores = receipt.results["scores"]
    arc = scores["arc_easy"]
    assert (arc["accuracy"], arc["accuracy_normalised"]) == by_hand(square_with_model)
    assert arc["n"] == len(ARC)
    assert {"accuracy_low", "accuracy_high"} < arc.keys()
    assert (scores["gsm8k"]["n"], scores["gsm8k"]["strict"]) == (3, 0)  # five of eight are examples
    assert scores["mmlu"]["n"] == 4
    assert receipt.results["details"]["gsm8k"]["harness"]["shots"] == 5
    assert {item.name for item in receipt.inputs} >= {"arc_easy_test.jsonl", "gsm8k_test.jsonl", "mmlu_test.tar.gz"}


def test_without_files_they_are_skipped_with_the_reason(square_with_model: Square, tmp_path: Path) -> None:
    skipped = run(square_with_model, EvaluateConfig(tasks=("arc_easy",))).results["skipped"]
    assert "--task-data" in skipped["arc_easy"]
    (tmp_path / "empty").mkdir()
    again = Square.open(square_with_model.root, replace=True)
    skipped = run(again, EvaluateConfig(tasks=("mmlu",), task_data=tmp_path / "empty")).results["skipped"]
    assert "mmlu_test.tar.gz" in skipped["mmlu"]


def test_what_cannot_be_read_is_refused_with_its_place(square_with_model: Square, task_data: Path) -> None:
    def refused(task: str) -> str:
        with pytest.raises(InputError) as error:
            run(square_with_model, EvaluateConfig(tasks=(task,), task_data=task_data))
        return str(error.value)

    pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    (task_data / "arc_easy_test.jsonl").write_text(json.dumps(ARC[0]) + '\n{"query": "Question: "}\n')
    assert "line 2" in refused("arc_easy")
    (task_data / "gsm8k_test.jsonl").write_text("{broken\n")
    assert "line 1" in refused("gsm8k")
    (task_data / "mmlu_test.tar.gz").write_bytes(b"no archive")
    assert "mmlu_test.tar.gz" in refused("mmlu")
    with pytest.raises(InputError, match="folder"):
        run(square_with_model, EvaluateConfig(task_data=task_data / "none"))
    with pytest.raises(ConfigError, match="arc_hard"):
        run(square_with_model, EvaluateConfig(tasks=("arc_hard",)))


def test_rows_of_the_hub_are_taken_too() -> None:
    row = {"question": "Q?", "choices": {"text": ["a", "b"], "label": ["1", "2"]}, "answerKey": "2", "id": "x"}
    assert arc_easy.shape(row) == {key: row[key] for key in ("question", "choices", "answerKey")}
    assert arc_easy.shape(ARC[0])["answerKey"] == "B"
    with pytest.raises(ValueError, match="four"):
        mmlu.shape({"question": "Q", "choice0": "a", "choice1": "b", "choice2": "c", "choice3": "d", "answer": "4"})


def test_the_real_files_have_the_counts_that_were_made_by_hand(shared_data: Path) -> None:
    from townsquare.evaluate import standard
    from townsquare.evaluate.tasks import gsm8k

    folder = shared_data / "evaluation"
    assert len(standard.json_lines(folder / standard.ARC_EASY, arc_easy.shape)) == 2_376
    assert len(standard.json_lines(folder / standard.GSM8K, gsm8k.shape)) == 1_319
    found = mmlu.read(folder / standard.MMLU)
    assert len({field for field, _ in found}) == 57


def test_log_likelihoods_are_plain_sums(square_with_model: Square) -> None:
    """What the harness asks for, token by token; spaces at the context's end belong to what follows it."""
    pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    from types import SimpleNamespace

    from townsquare.evaluate.harness import Model
    from townsquare.evaluate.subject import Subject

    model = Model(Subject(square_with_model, EvaluateConfig()))
    folder = square_with_model.models / "chat"
    decoder, tokenizer = huggingface.load(folder), vocabulary.load(folder)

    def plain(context: list[int], following: list[int]) -> float:
        with torch.no_grad():
            likely = torch.log_softmax(decoder(torch.tensor([context + following]))[0, :-1].double(), -1)
        found = likely.gather(1, torch.tensor(context + following)[1:, None])
        return float(found[len(context) - 1 :].sum())

    pairs = [
        ("Who opens?", " the bakery"),
        ("Who opens? ", "the bakery"),
        ("", "the bakery"),
        ("bread " * 200, "rolls"),
    ]
    found = [value for value, _ in model.loglikelihood([SimpleNamespace(args=pair) for pair in pairs])]
    asked, said = tokenizer.encode("Who opens?").ids, tokenizer.encode("Who opens? the bakery").ids
    assert found[0] == pytest.approx(plain(asked, said[len(asked) :]), rel=1e-4)
    assert found[1] == found[0]
    assert found[2] == pytest.approx(plain([0], tokenizer.encode("the bakery").ids), rel=1e-4)
    long, end = tokenizer.encode("bread " * 199 + "bread").ids, tokenizer.encode("bread " * 200 + "rolls").ids
    kept = end[-128:]  # the decoder's longest
    following = len(end) - len(long)
    assert found[3] == pytest.approx(plain(kept[:-following], kept[-following:]), rel=1e-4)
    whole = model.loglikelihood_rolling([SimpleNamespace(args=("the bakery",))])
    assert whole == [pytest.approx(found[2], rel=1e-6)]


def test_writing_ends_at_the_first_end_mark(square_with_model: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    from types import SimpleNamespace

    from townsquare.evaluate.harness import Model
    from townsquare.evaluate.subject import Subject

    subject = Subject(square_with_model, EvaluateConfig())
    model, tokenizer = Model(subject), subject.weights[1]
    told = tokenizer.encode("It is 4.\n#### 4\n\nQuestion: what else? </s> and on and on and on").ids

    def generate(ids: list[int], *, max_tokens: int, stop: frozenset[int]) -> list[int]:
        done = len(ids) - len(tokenizer.encode("How much?").ids)
        return told[done : done + max_tokens]

    monkeypatch.setattr(subject.weights[0], "generate", generate)
    asked = SimpleNamespace(args=("How much?", {"until": ["</s>", "Question:"], "max_gen_toks": 100}))
    assert model.generate_until([asked]) == ["It is 4.\n#### 4\n\n"]
    short = SimpleNamespace(args=("How much?", {"until": ["</s>"], "max_gen_toks": 5}))
    assert model.generate_until([short]) == [tokenizer.decode(told[:5])]


def test_a_gguf_file_is_scored_as_the_same_weights_are(square_with_model: Square, task_data: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra harness is not installed")
    from townsquare.model import gguf_files

    folder = square_with_model.models / "chat"
    file = task_data / "Tiny-1.Q8.gguf"
    gguf_files.save(huggingface.load(folder), folder, file, name="tiny", number_type="f32")
    tasks = ("arc_easy", "bits_per_byte")
    receipt = run(square_with_model, EvaluateConfig(model=str(file), tasks=tasks, task_data=task_data))
    scores = receipt.results["scores"]["arc_easy"]
    assert (scores["accuracy"], scores["accuracy_normalised"]) == by_hand(square_with_model)
    assert receipt.name == "Tiny-1.Q8"
    assert "vocabulary" in receipt.results["skipped"]["bits_per_byte"]
    with pytest.raises(InputError, match="no such model file"):
        run(square_with_model, EvaluateConfig(model=str(task_data / "none.gguf")))
    with pytest.raises(ConfigError, match="GGUF file"):
        EvaluateConfig(model="../chat")

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

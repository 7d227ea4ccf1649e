"""The stage from a tiny exported model to scores, and the takedown of what it keeps."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tests.evaluate.evaluate_square import QUESTIONS, TEXTS, UIDS, Assistant, put_model, put_shards
from townsquare import receipts
from townsquare.errors import ConfigError, StaleError
from townsquare.evaluate import copies
from townsquare.evaluate.config import EvaluateConfig
from townsquare.evaluate.run import run
from townsquare.evaluate.tasks import TASKS, town_filters
from townsquare.ingest import store
from townsquare.model import huggingface
from townsquare.square import Square
from townsquare.tokens import vocabulary


def scored(square: Square) -> dict[str, dict[str, float]]:
    scores: dict[str, dict[str, float]] = run(square, EvaluateConfig()).results["scores"]
    return scores


def answers(square: Square) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(square.evaluations / "chat" / "answers.parquet").to_pylist()
    return rows


def test_bits_per_byte_is_what_a_plain_sum_gives(evaluated: Square) -> None:
    """Document by document, token by token, from the text itself: no packing, no mask, no shards."""
    decoder = huggingface.load(evaluated.models / "chat")
    encoder = vocabulary.Encoder(evaluated.models / "chat")
    bits = 0.0
    for text in TEXTS:
        ids = torch.tensor([[0, *encoder.encode([text])[0], 0]])
        with torch.no_grad():
            surprise = -torch.log_softmax(decoder(ids).double(), -1)[0, :-1]
        bits += float(surprise.gather(1, ids[0, 1:, None]).sum()) / math.log(2)
    text_bytes = sum(len(text.encode()) for text in TEXTS)
    found = scored(evaluated)["bits_per_byte"]
    assert found["n"] == len(TEXTS)
    assert found["bits_per_byte"] == pytest.approx(bits / text_bytes, rel=1e-5)
    assert found["bits_per_byte_low"] <= found["bits_per_byte"] <= found["bits_per_byte_high"]


def test_bits_per_byte_by_month_and_network_add_up(evaluated: Square) -> None:
    receipt = run(evaluated, EvaluateConfig(tasks=("bits_per_byte",)))
    whole, details = receipt.results["scores"]["bits_per_byte"], receipt.results["details"]["bits_per_byte"]
    assert {month: score["n"] for month, score in details["by_month"].items()} == {
        "2026-03": 1, "2026-04": 1, "2026-05": 1,
    }  # fmt: skip
    assert details["by_network"] == {"x": whole}
    sizes = [len(text.encode()) for text in TEXTS]
    bits = [score["bits_per_byte"] * size for score, size in zip(details["by_month"].values(), sizes, strict=True)]
    assert sum(bits) / sum(sizes) == pytest.approx(whole["bits_per_byte"], rel=1e-9)


def test_answers_are_judged_by_the_truth(evaluated: Square) -> None:
    scores = scored(evaluated)
    closed, opened = scores["town_closed_book"], scores["town_open_book"]
    assert (closed["right"], closed["n"]) == (pytest.approx(1 / 3), 3)
    assert opened["right"] == pytest.approx(2 / 3)
    assert opened["right_in_own_words"] == pytest.approx(1 / 3)
    assert opened["right_by_quoting"] == pytest.approx(1 / 3)
    assert (opened["citations"], opened["n"]) == (4, 3)
    assert opened["citation_precision"] == pytest.approx(3 / 4)  # q3 also cites the bakery, which says Mondays too
    assert opened["citation_recall"] == pytest.approx(3 / 4)  # the second sentence about the library has the bakery
    assert opened["found_nothing"] == 0
    assert scores["town_retrieval"]["recall_at_10"] == pytest.approx(1 / 3)
    assert scores["town_retrieval"]["first_is_right"] == 0
    assert scores["town_unanswerable"] == {"refused": 1, "refused_low": 1, "refused_high": 1, "n": 1}
    assert Assistant.opened == 1


def test_filters_are_judged_by_the_hidden_defects(evaluated: Square) -> None:
    receipt = run(evaluated, EvaluateConfig())
    found = receipt.results["scores"]["town_filters"]
    assert (found["unfit_left_out"], found["sound_kept"], found["n"]) == (1 / 2, 1, 3)
    assert receipt.results["details"]["town_filters"]["by_defect"] == {
        "bot": {"posts": 1, "left_out": 0},
        "none": {"posts": 1, "left_out": 0},
        "spam": {"posts": 2, "left_out": 1},
    }
    rules = receipt.results["details"]["town_filters"]["by_rule"]
    assert rules["promotion"] == {"left_out": 1, "precision": 1.0, "recall": 1 / 2}  # one of two is learned
    assert rules["bot"] == {"left_out": 0, "precision": None, "recall": 0.0}
    assert rules["abuse"] == {"left_out": 0, "precision": None, "recall": None}


def test_a_copy_that_stays_as_the_best_one_is_found(evaluated: Square) -> None:
    defects = dict(zip(UIDS, (frozenset({"copy"}), frozenset({"copy"}), frozenset({"near_copy"})), strict=True))
    rules = town_filters._by_rule(evaluated, defects)
    assert rules["exact_duplicate"]["recall"] == 1 / 2, "learned, and no copy of it was found; left out"
    assert rules["near_duplicate"]["recall"] == 1, "learned, as the best of two"


def test_a_sound_post_that_was_taken_down_is_no_filters_fault(evaluated: Square) -> None:
    store.dataset(evaluated, "posts").update({"state": "'deleted'"}, where=f"uid = '{UIDS[0]}'")
    found = scored(evaluated)["town_filters"]
    assert (found["unfit_left_out"], found["n"]) == (1 / 2, 2)
    assert "sound_kept" not in found


def test_every_answer_is_kept_with_its_posts(evaluated: Square) -> None:
    run(evaluated, EvaluateConfig())
    by = {(row["task"], row["question_id"]): row for row in answers(evaluated)}
    assert len(by) == 3 + 3 + 1
    assert by["town_open_book", "q3"]["cited"] == [UIDS[2], UIDS[0]]
    assert by["town_closed_book", "q1"]["holds"] == [UIDS[0]]  # by heart: nobody cited it
    assert by["town_open_book", "q2"]["holds"] == [UIDS[1]]
    assert by["town_unanswerable", "q4"]["right"]


def test_a_second_run_is_skipped_and_a_new_one_ends_in_the_same_bytes(evaluated: Square) -> None:
    first = run(evaluated, EvaluateConfig())
    assert run(evaluated, EvaluateConfig()).skipped
    receipts.receipt_path(evaluated, "evaluate", "chat").unlink()
    again = run(evaluated, EvaluateConfig())
    assert (again.results, again.fingerprint) == (first.results, first.fingerprint)
    json.dumps(again.to_json(), allow_nan=False)


def test_a_task_without_its_needs_is_skipped_with_the_reason(evaluated: Square) -> None:
    receipts.receipt_path(evaluated, "index").unlink()
    shutil.rmtree(evaluated.tokens)
    receipt = run(evaluated, EvaluateConfig())
    assert set(receipt.results["scores"]) == {"town_closed_book", "town_filters", "flagged"}
    skipped = receipt.results["skipped"]
    assert "townsquare index" in skipped["town_open_book"]
    assert "townsquare index" in skipped["town_unanswerable"]
    assert "townsquare tokens" in skipped["bits_per_byte"]
    assert receipt.counts == {"seen": len(TASKS), "kept": 3}


def test_no_town_no_posts_no_gguf(square: Square, stand_ins: None) -> None:
    put_shards(square)
    put_model(square)
    (square.models / "chat" / "model.gguf").unlink()
    receipt = run(square, EvaluateConfig())
    assert set(receipt.results["scores"]) == {"bits_per_byte"}
    assert set(receipt.results["skipped"]) == {task.NAME for task in TASKS} - {"bits_per_byte"}
    assert answers(square) == []


def test_shards_of_another_vocabulary_score_nothing(evaluated: Square) -> None:
    (evaluated.models / "chat" / "tokenizer.json").write_text("{}")
    assert "vocabulary" in run(evaluated, EvaluateConfig()).results["skipped"]["bits_per_byte"]


def test_questions_whose_posts_were_removed_are_not_asked(evaluated: Square) -> None:
    store.dataset(evaluated, "posts").update({"state": "'deleted'"}, where=f"uid = '{UIDS[1]}'")
    scores = scored(evaluated)
    assert (scores["town_open_book"]["n"], scores["town_closed_book"]["n"]) == (2, 2)
    rows = answers(evaluated)
    assert {row["question_id"] for row in rows if row["task"] != "town_removed"} == {"q1", "q3", "q4"}


def test_what_still_answers_of_removed_posts_is_counted(evaluated: Square) -> None:
    """The stand-in quotes the post of q2 even when it is gone: what must be zero is then one of one."""
    assert "takedown" in run(evaluated, EvaluateConfig()).results["skipped"]["town_removed"]
    receipts.receipt_path(evaluated, "evaluate", "chat").unlink()
    store.dataset(evaluated, "posts").update({"state": "'deleted'"}, where=f"uid = '{UIDS[1]}'")
    found = scored(evaluated)["town_removed"]
    assert (found["answered"], found["cites_removed"], found["n"]) == (1, 1, 1)


def test_the_seed_draws_the_questions(evaluated: Square) -> None:
    receipt = run(evaluated, EvaluateConfig(questions=2))
    assert receipt.results["scores"]["town_closed_book"]["n"] == 2
    drawn = {row["question_id"] for row in answers(evaluated) if row["task"] == "town_closed_book"}
    assert len(drawn) == 2
    assert drawn < {question.id for question in QUESTIONS}


def test_takedown_rewrites_the_answers(evaluated: Square) -> None:
    run(evaluated, EvaluateConfig())
    path = evaluated.evaluations / "chat" / "answers.parquet"
    uids, texts = frozenset([UIDS[0]]), [TEXTS[0]]
    stray = path.parent / ".answers.parquet.x1"
    stray.write_bytes(path.read_bytes()[:-40])  # killed while writing
    # q1 closed (by heart), q1 open and q3 open (cited); and the stray as one.
    assert copies.find(evaluated, uids, texts) == {"evaluations": 4}
    assert copies.find(evaluated, frozenset(), texts) == {"evaluations": 2}
    assert copies.erase(evaluated, uids) == {"evaluations": 3}
    assert copies.find(evaluated, uids, texts) == {"evaluations": 0}
    left = b"".join(file.read_bytes() for file in Path(evaluated.evaluations).rglob("*") if file.is_file())
    assert not any(part.encode() in left for part in (UIDS[0], TEXTS[0]))
    assert len(answers(evaluated)) == 4
    assert copies.erase(evaluated, uids) == {"evaluations": 0}


def test_takedown_takes_answers_that_repeat_a_post_uncited(evaluated: Square) -> None:
    run(evaluated, EvaluateConfig())
    assert copies.find(evaluated, frozenset(), [TEXTS[0]]) == {"evaluations": 1}
    assert copies.erase(evaluated, frozenset(), [TEXTS[0]]) == {"evaluations": 1}
    assert copies.find(evaluated, frozenset(), [TEXTS[0]]) == {"evaluations": 0}


def test_takedown_before_any_evaluation(square: Square) -> None:
    assert copies.erase(square, frozenset(["x:1"])) == {"evaluations": 0}
    assert copies.find(square, frozenset(["x:1"]), ["some text"]) == {"evaluations": 0}


def test_what_cannot_be_scored_is_refused(square: Square) -> None:
    with pytest.raises(StaleError, match="export chat"):
        run(square, EvaluateConfig())
    for broken in ({"model": "../other"}, {"model": ""}, {"questions": 0}):
        with pytest.raises(ConfigError):
            EvaluateConfig(**broken)  # type: ignore[arg-type]

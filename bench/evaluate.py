"""Whether our runner scores as others do: `python bench/evaluate.py TASK_DATA MODEL.gguf [QUESTIONS]`.

ARC-Easy by `townsquare evaluate` (lm-evaluation-harness over our decoder) against transformers in the same run: the
same weights written as a Hugging Face folder, each answer's log-likelihood from a plain loop over transformers' Llama,
a question at a time, without the harness. Prints both accuracies, their ratio, and on how many questions they part.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import torch

from townsquare.evaluate import cases, standard
from townsquare.evaluate.config import EvaluateConfig
from townsquare.evaluate.run import run
from townsquare.evaluate.subject import Subject
from townsquare.evaluate.tasks import arc_easy
from townsquare.model import gguf_files, huggingface
from townsquare.square import Square
from townsquare.tokens import vocabulary


def by_transformers(model: Path, folder: Path, rows: list[dict]) -> list[tuple[bool, bool]]:
    """For each question whether the likeliest answer is right, as it is and by its length in characters."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    vocabulary.copy_vocabulary(model, folder / "vocabulary")
    huggingface.save_folder(gguf_files.load(model), folder / "vocabulary", folder / "hf")
    tokenizer = AutoTokenizer.from_pretrained(folder / "hf", padding_side="right")
    llama = AutoModelForCausalLM.from_pretrained(folder / "hf", dtype=torch.float32).eval()
    found = []
    for row in rows:
        context = f"Question: {row['question']}\nAnswer:"
        start = len(tokenizer(context, add_special_tokens=False)["input_ids"])
        scores, by_length = [], []
        choices = row["choices"]["text"]
        texts = tokenizer([f"{context} {choice}" for choice in choices], add_special_tokens=False, padding=True)
        ids, real = torch.tensor(texts["input_ids"]), torch.tensor(texts["attention_mask"]).bool()
        with torch.inference_mode():
            likely = torch.log_softmax(llama(ids, attention_mask=real.long()).logits[:, :-1].float(), -1)
        taken = likely.gather(2, ids[:, 1:, None])[..., 0] * real[:, 1:]
        for choice, one in zip(choices, taken, strict=True):
            scores.append(float(one[start - 1 :].sum()))
            by_length.append(scores[-1] / len(choice))
        gold = row["choices"]["label"].index(row["answerKey"])
        found.append((scores.index(max(scores)) == gold, by_length.index(max(by_length)) == gold))
    return found


def main(task_data: Path, model: Path, questions: int) -> None:
    config = EvaluateConfig(model=str(model), tasks=("arc_easy",), task_data=task_data, questions=questions)
    with tempfile.TemporaryDirectory() as folder:
        square = Square.create(Path(folder) / "square")
        scores = run(square, config).results["scores"]["arc_easy"]
        ours = pq.read_table(cases.path(square, config.name)).to_pylist()
        subject = Subject(square, config)
        rows = subject.drawn(standard.json_lines(standard.file_of(subject, standard.ARC_EASY), arc_easy.shape))
        theirs = by_transformers(model, Path(folder), rows)
    for place, name in enumerate(("accuracy", "accuracy_normalised")):
        right = [row["part"] == 1.0 for row in ours if row["metric"] == name]
        other = [both[place] for both in theirs]
        share = sum(other) / len(other)
        apart = sum(a != b for a, b in zip(right, other, strict=True))
        print(
            f"{name}, {len(other)} questions: ours {scores[name]:.4f} ({scores[name + '_low']:.3f} to "
            f"{scores[name + '_high']:.3f}), transformers {share:.4f}, ratio {scores[name] / share:.4f}; "
            f"right on one side only: {apart}"
        )


if __name__ == "__main__":
    if len(sys.argv) < 3:  # it needs files that no package brings
        sys.exit(print(__doc__))
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 300)

"""Preference tuning: the loss against the paper's formula, transformers' log-probabilities and TRL's trainer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from small_square import make_shards, posts

from townsquare import receipts
from townsquare.dial import dial_for, for_preferences
from townsquare.errors import ConfigError, InputError, TownsquareError
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.square import Square
from townsquare.train import copies, loop
from townsquare.train import run as train_run
from townsquare.train.config import TrainConfig
from townsquare.train.data import Batch, Documents, Order
from townsquare.train.objectives import NextToken, Preference
from townsquare.train.tables import load_run

MODEL = ModelConfig(60, 32, 48, 2, 4, 2, 8, max_position_embeddings=64)
CPU = loop.Numbers(torch.float32, torch.device("cpu"))


def decoder_of(seed: int) -> Decoder:
    decoder = Decoder(MODEL)
    decoder.init_weights(torch.Generator().manual_seed(seed))
    return decoder.double()


def pairs(count: int = 9) -> Documents:
    """Random pairs: a prompt of 3 to 8 tokens, replies of 1 to 6 that bear loss, a token after each that does not."""
    rng = np.random.default_rng(3)
    ids, loss, offsets, cuts = [], [], [0], []
    for _ in range(count):
        prompt = rng.integers(0, 60, rng.integers(3, 9))
        for half in range(2):
            reply = rng.integers(0, 60, rng.integers(1, 7))
            ids += [*prompt, *reply, 1]
            loss += [False] * len(prompt) + [True] * len(reply) + [False]
            if half == 0:
                cuts.append(len(ids) - offsets[-1])
        offsets.append(len(ids))
    uids = pa.chunked_array([[[str(i)] for i in range(count)]])
    return Documents(np.array(ids), np.array(loss), np.array(offsets), uids, np.array(cuts))


def halves(documents: Documents, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and loss mask of a pair's two conversations."""
    first, last = documents.offsets[number : number + 2]
    middle = first + documents.rejected_at[number]
    spans = [slice(first, middle), slice(middle, last)]
    return [(torch.from_numpy(documents.ids[s]), torch.from_numpy(documents.loss[s])) for s in spans]


def log_probability(peer: torch.nn.Module, ids: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    """Of the tokens that bear loss, by transformers, the conversation alone in its row."""
    each = peer(ids[None]).logits[0, :-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    return each[learned[1:]].sum()


def peer_of(decoder: Decoder) -> torch.nn.Module:
    import transformers

    record = {k: v for k, v in decoder.config.to_huggingface().items() if k not in ("architectures", "torch_dtype")}
    peer = transformers.LlamaForCausalLM(transformers.LlamaConfig(**record)).double()
    peer.load_state_dict(decoder.state_dict())
    return peer


def batch_and_reference(documents: Documents, first: Decoder) -> tuple[Batch, np.ndarray]:
    """All pairs packed into rows of 48, and what the first decoder, by transformers, makes of each reply."""
    peer = peer_of(first)
    reference = [[log_probability(peer, *half).item() for half in halves(documents, n)] for n in range(len(documents))]
    order = Order(documents, 48, 1, seed=1)
    order = Order(documents, 48, order.rows_per_epoch, seed=1)
    return order.batch(0), np.array(reference)


def test_the_loss_and_its_gradient_are_the_papers():
    documents, decoder = pairs(), decoder_of(1)
    batch, reference = batch_and_reference(documents, decoder_of(2))
    assert (batch.documents >= 0).sum() == len(documents)
    assert (batch.documents >= 0).sum(axis=1).max() > 1, "several pairs share a row"
    objective = Preference(reference, beta=0.3)
    assert objective.count(batch) == 9
    ours = objective.summed_loss(loop.token_losses(decoder, decoder.hidden, batch, CPU), batch)
    peer = peer_of(decoder)
    terms = []
    for number in range(len(documents)):
        chosen, rejected = (log_probability(peer, *half) for half in halves(documents, number))
        better, worse = reference[number]
        terms.append(-torch.log(1 / (1 + torch.exp(-0.3 * ((chosen - better) - (rejected - worse))))))
    theirs = torch.stack(terms).sum()
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-6)
    ours.backward()
    theirs.backward()
    gradients = dict(peer.named_parameters())
    for name, weight in decoder.named_parameters():
        assert (weight.grad - gradients[name].grad).abs().max() < 1e-5, name


def test_parts_of_a_batch_add_up_and_padding_is_no_pair():
    documents, decoder = pairs(), decoder_of(1)
    batch, reference = batch_and_reference(documents, decoder_of(2))
    objective = Preference(reference)

    def loss(part: Batch) -> float:
        return float(objective.summed_loss(loop.token_losses(decoder, decoder.hidden, part, CPU), part).detach())

    parts = [batch.part(row, row + 1) for row in range(len(batch.ids))]
    assert sum(map(loss, parts)) == pytest.approx(loss(batch), abs=1e-6)
    assert sum(map(objective.count, parts)) == len(documents)


def test_before_it_learns_the_loss_is_that_of_a_coin():
    documents, decoder = pairs(), decoder_of(1)
    batch, reference = batch_and_reference(documents, decoder)
    objective = Preference(reference)
    loss = objective.summed_loss(loop.token_losses(decoder, decoder.hidden, batch, CPU), batch) / len(documents)
    assert float(loss.detach()) == pytest.approx(math.log(2), abs=1e-6) == objective.ordinary_loss


def test_single_tokens_lose_what_the_sum_of_them_loses():
    documents, decoder = pairs(), decoder_of(1)
    batch, _ = batch_and_reference(documents, decoder)
    losses = loop.token_losses(decoder, decoder.hidden, batch, CPU)
    assert len(losses) == NextToken().count(batch) == documents.loss.sum()
    peer = peer_of(decoder)
    alone = [log_probability(peer, *half).item() for n in range(len(documents)) for half in halves(documents, n)]
    assert float(NextToken().summed_loss(losses, batch).detach()) == pytest.approx(-sum(alone), abs=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_loss_is_that_of_trl(tmp_path):
    """Runs where TRL is installed; its many dependencies are no part of the `dev` extra."""
    pytest.importorskip("trl.trainer.dpo_trainer", reason="TRL is not installed", exc_type=ImportError)
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    documents, decoder, first = pairs(), decoder_of(1), decoder_of(2)
    batch, reference = batch_and_reference(documents, first)
    ours = Preference(reference).summed_loss(loop.token_losses(decoder, decoder.hidden, batch, CPU), batch)
    settings = DPOConfig(str(tmp_path), beta=0.1, report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=1)
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    trainer = DPOTrainer(
        peer_of(decoder), peer_of(first), settings, train_dataset=Dataset.from_list([row]), processing_class=tokenizer()
    )
    rows = [half for side in (0, 1) for half in (halves(documents, n)[side] for n in range(len(documents)))]
    ids, learned = (torch.nn.utils.rnn.pad_sequence(column, batch_first=True) for column in zip(*rows, strict=True))
    filled = torch.nn.utils.rnn.pad_sequence([torch.ones_like(i) for i, _ in rows], batch_first=True)
    inputs = {"input_ids": ids, "attention_mask": filled, "completion_mask": learned.long()}
    theirs = trainer.compute_loss(trainer.model, inputs)
    assert float(ours.detach()) / len(documents) == pytest.approx(float(theirs.detach()), abs=1e-6)


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<pad>", "<end>", "a", "b", "c"])}, "<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<pad>")


# The stage whole.

TINY = TrainConfig(name="base", size="400K", steps=6, sequence_length=64)
TALKS = [[("user", f"is {n} odd?"), ("assistant", "yes" if n % 2 else "no")] for n in range(60)]
PREFER = dataclasses.replace(
    TINY, name="liked", objective="prefer", start_from="base", steps=8, learning_rate=0.02, sequence_length=128
)


def compared(count: int = 40) -> list[tuple[str, str, str]]:
    """Replies of which the kinder one is better liked, whichever was longer."""
    kind, curt = ("thanks, it opens at {h}!", "thanks for asking, at {h}"), ("who cares", "look it up, it is not {h}")
    hours = [str(6 + number % 12) for number in range(count)]
    return [
        (f"when does the mill open on day {n}?", kind[n % 2].format(h=h), curt[n // 2 % 2].format(h=h))
        for n, h in enumerate(hours)
    ]


@pytest.fixture
def compared_square(square, monkeypatch):
    monkeypatch.setattr(train_run, "number_type", lambda device: torch.float32)
    monkeypatch.setattr(train_run, "measure_matmul", lambda kind, device: 1e11)
    too_long = ("is it?", "yes " * 60, "no " * 60)
    make_shards(square, monkeypatch, texts=posts(200), conversations=TALKS, pairs=[too_long, *compared()])
    train_run.run(square, TINY)
    return square


def records(square: Square, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (square.runs / name / "steps.jsonl").read_text().splitlines()]


def test_a_run_learns_what_is_preferred_and_says_so(compared_square):
    receipt = train_run.run(compared_square, PREFER)
    trace = [record["loss"] for record in records(compared_square, "liked")]
    assert trace[0] == pytest.approx(math.log(2), abs=1e-4)
    assert trace[-1] < 0.4
    assert receipt.counts == {"seen": 37, "kept": 36, "dropped": {"longer_than_a_row": 1}}
    assert receipt.results["validation_preferred_share"] == 1.0
    base = receipts.need(compared_square, "train", "base").results
    assert base["validation_preferred_share"] is None
    assert receipt.results["validation_bits_per_byte"] > 0
    assert copies.saw(compared_square, frozenset({"x:1p0", "x:1p1", "x:1p2", "x:0p0", "x:0"})) == {
        "base": 1,
        "liked": 4,
    }


def test_a_stopped_preference_run_goes_on_bit_for_bit(compared_square, tmp_path, monkeypatch):
    shutil.copytree(compared_square.root, tmp_path / "other")
    other = Square.open(tmp_path / "other")
    config = dataclasses.replace(PREFER, steps=4)
    unbroken = train_run.run(compared_square, config)

    @contextlib.contextmanager
    def stopping():
        calls = iter(range(1, 100))
        yield lambda: next(calls) >= 2

    with monkeypatch.context() as patch:
        patch.setattr(train_run, "_stop_signals", stopping)
        with pytest.raises(TownsquareError, match="stopped after step 2"):
            train_run.run(other, config)
    assert train_run.run(other, config).results["outputs"] == unbroken.results["outputs"]
    assert [r["loss"] for r in records(other, "liked")] == [r["loss"] for r in records(compared_square, "liked")]


def test_preferences_need_weights_and_pairs(compared_square, square, monkeypatch):
    with pytest.raises(ConfigError, match="prefer needs weights"):
        TrainConfig(objective="prefer")
    with pytest.raises(InputError, match="no preference pair fits a row of 8 tokens") as caught:
        train_run.run(compared_square, dataclasses.replace(PREFER, sequence_length=8))
    assert "--sequence-length" in str(caught.value.remedy)


def test_the_rate_for_preferences_is_lower_and_its_rows_hold_two_conversations(compared_square):
    config = dataclasses.replace(PREFER, learning_rate=None, sequence_length=None, steps=2)
    results = train_run.run(compared_square, config).results
    plain = dial_for(load_run(compared_square, "base").config, size="given", available_tokens=10**4, epochs=4)
    assert for_preferences(plain).learning_rate == plain.learning_rate / 160
    assert results["sequence_length"] == 2 * plain.sequence_length
    assert results["learning_rate"] < plain.learning_rate / 20

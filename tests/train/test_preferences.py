"""Preference tuning: the loss against the paper's formula, transformers' log-probabilities and TRL's trainer."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.train import loop
from townsquare.train.data import Batch, Documents, Order
from townsquare.train.objectives import NextToken, Preference

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

"""The optimizers against torch's own and against Muon written out; the schedule by hand."""

from __future__ import annotations

import pytest
import torch

from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.train.optimizers import Optimizers, learning_rate_at

CONFIG = ModelConfig(31, 16, 24, 2, 2, 1, 8, tie_word_embeddings=False, qk_norm=True)


def decoder() -> Decoder:
    model = Decoder(CONFIG)
    model.init_weights(torch.Generator().manual_seed(0))
    return model


def learn(model: Decoder, step: int) -> None:
    ids = torch.randint(0, 31, (2, 12), generator=torch.Generator().manual_seed(step))
    torch.nn.functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()


def test_steps_are_those_of_torch_s_muon_and_adamw():
    ours, peer = decoder(), decoder()
    optimizers = Optimizers(ours, 3e-3, 0.1)
    named = dict(peer.named_parameters())
    inner = [n for n in named if "proj" in n]
    outer = ["model.embed_tokens.weight", "lm_head.weight"]
    rest = [n for n in named if n not in (*inner, *outer)]
    muon = torch.optim.Muon(
        [named[n] for n in inner], lr=3e-3, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [
            {"params": [named[n] for n in outer], "weight_decay": 0.1},
            {"params": [named[n] for n in rest], "weight_decay": 0.0},
        ],
        lr=3e-3,
        betas=(0.9, 0.95),
        foreach=False,
    )
    for step in range(5):
        # The same gradients for both: else one step's rounding grows in the next one's gradients.
        learn(ours, step)
        for name, weight in ours.named_parameters():
            named[name].grad = None if weight.grad is None else weight.grad.clone()
        optimizers.step()
        muon.step()
        adamw.step()
        optimizers.zero_grad()
        muon.zero_grad()
        adamw.zero_grad()
        for name, weight in ours.named_parameters():
            torch.testing.assert_close(weight, named[name], rtol=1e-4, atol=2e-5, msg=name)


def test_state_put_back_goes_on_bit_for_bit():
    unbroken, broken = decoder(), decoder()
    first, second = Optimizers(unbroken, 3e-3, 0.1), Optimizers(broken, 3e-3, 0.1)
    for step in range(6):
        if step == 3:
            saved = {key: value.clone() for key, value in second.state()}
            second = Optimizers(broken, 3e-3, 0.1)
            second.load_state(iter(saved.items()))
        for model, optimizers in ((unbroken, first), (broken, second)):
            learn(model, step)
            optimizers.step()
            optimizers.zero_grad()
    for one, other in zip(unbroken.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_schedule_by_hand():
    rates = [learning_rate_at(step, peak=1.0, steps=10, warmup=4, decay=5) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2])

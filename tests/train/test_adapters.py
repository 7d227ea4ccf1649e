"""Low-rank adapters: against PEFT's own, in training, in files, and merged."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_square import make_shards, posts

from townsquare import receipts
from townsquare.errors import ConfigError
from townsquare.export.config import ExportConfig
from townsquare.export.run import run as export
from townsquare.model import adapters, huggingface
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.square import Square
from townsquare.tokens import tables
from townsquare.train import run as train_run
from townsquare.train.config import TrainConfig
from townsquare.train.tables import load_adapted, load_run

PEFT_S_OWN = pytest.mark.filterwarnings(
    "ignore:.*gradient_checkpointing.*:FutureWarning"
)  # a name of transformers' past
TINY = TrainConfig(name="base", size="400K", steps=4, sequence_length=64)
TALKS = [[("user", f"is {n} odd?"), ("assistant", "yes" if n % 2 else "no")] for n in range(60)]
ADAPTED = dataclasses.replace(
    TINY, name="chat", objective="tune", start_from="base", adapter_rank=4, learning_rate=0.01
)


def decoder(qk_norm: bool = False) -> Decoder:
    made = Decoder(ModelConfig(97, 48, 80, 2, 4, 2, 16, qk_norm=qk_norm, tie_word_embeddings=False))
    made.init_weights(torch.Generator().manual_seed(1))
    return made


def peers_adapter(plain: Decoder, rank: int) -> torch.nn.Module:
    """PEFT's adapters beside transformers' model of the same weights, with random numbers in them."""
    import peft
    import transformers

    record = {k: v for k, v in plain.config.to_huggingface().items() if k not in ("architectures", "torch_dtype")}
    family = transformers.Qwen3ForCausalLM if plain.config.qk_norm else transformers.LlamaForCausalLM
    model = family(family.config_class(**record))
    model.load_state_dict(plain.state_dict())
    settings = peft.LoraConfig(r=rank, lora_alpha=adapters.ALPHA, target_modules=list(adapters.MATRICES))
    found = peft.get_peft_model(model, settings)
    torch.manual_seed(3)
    for name, weight in found.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return found


@PEFT_S_OWN
@pytest.mark.parametrize("qk_norm", [False, True])
def test_logits_and_gradients_are_those_of_peft(qk_norm):
    ours = decoder(qk_norm)
    peer = peers_adapter(ours, rank=4).double()
    adapters.adapt(ours, 4)
    ours.double()
    theirs = {
        name.removeprefix(adapters.PREFIX).replace(".default", ""): weight
        for name, weight in peer.named_parameters()
        if "lora_" in name
    }
    trained = {name: weight for name, weight in ours.named_parameters() if weight.requires_grad}
    assert set(trained) == set(theirs)
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(theirs[name])
    ids = torch.randint(0, 97, (2, 20), generator=torch.Generator().manual_seed(1))
    ours_out, theirs_out = ours(ids), peer(input_ids=ids).logits
    assert (ours_out - theirs_out).abs().max() < 1e-5
    ours_out.square().mean().backward()
    theirs_out.square().mean().backward()
    for name, weight in trained.items():
        assert (weight.grad - theirs[name].grad).abs().max() < 1e-5, name
    adapters.merge(ours)
    assert (ours(ids) - theirs_out).abs().max() < 1e-5
    assert set(ours.state_dict()) == set(decoder(qk_norm).state_dict())


def test_before_it_learns_nothing_is_changed():
    plain, adapted = decoder(), decoder()
    adapters.adapt(adapted, 8, torch.Generator().manual_seed(1))
    ids = torch.arange(30)[None]
    assert torch.equal(plain(ids), adapted(ids))
    uniform = adapted.model.layers[0].mlp.down_proj.lora_A.weight
    assert 0.9 < uniform.abs().max() * 80**0.5 <= 1, "PEFT draws from ±1/sqrt(width)"


@pytest.fixture
def tuned(square, monkeypatch) -> Square:
    monkeypatch.setattr(train_run, "number_type", lambda device: torch.float32)
    monkeypatch.setattr(train_run, "measure_matmul", lambda kind, device: 1e11)
    make_shards(square, monkeypatch, texts=posts(200), conversations=TALKS)
    train_run.run(square, TINY)
    train_run.run(square, ADAPTED)
    return square


@PEFT_S_OWN
def test_a_run_trains_adapters_alone_and_peft_loads_them(tuned):
    import peft
    import transformers

    results = receipts.need(tuned, "train", "chat").results
    base, adapted = load_run(tuned, "base"), load_adapted(tuned, "chat")
    for name, weight in base.state_dict().items():
        assert torch.equal(adapted.state_dict()[name], weight), name
    learned = {name: weight for name, weight in adapted.named_parameters() if ".lora_" in name}
    assert results["trained_parameters"] == sum(weight.numel() for weight in learned.values())
    assert results["parameters"] == sum(weight.numel() for weight in base.parameters())
    assert all(weight.abs().max() > 0 for weight in learned.values())

    export(tuned, ExportConfig(run="chat"))
    folder = tuned.models / "chat"
    huggingface.save_folder(base, tables.vocabulary_path(tuned), tuned.models / "base")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tuned.models / "base", dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(plain, folder / "adapter")
    ids = torch.arange(3, 60)[None]
    ours = adapted(ids)
    assert (ours - base(ids)).abs().max() > 1e-3
    assert (theirs(input_ids=ids).logits - ours).abs().max() < 1e-4
    whole = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert (whole(ids).logits - ours).abs().max() < 1e-4
    assert theirs.peft_config["default"].base_model_name_or_path == "base"


def test_adapters_go_on_to_the_next_run_merged(tuned):
    on = dataclasses.replace(TINY, name="on", objective="tune", start_from="chat", steps=1, learning_rate=1e-9)
    train_run.run(tuned, on)
    for name, weight in load_run(tuned, "on").state_dict().items():
        assert (weight - load_run(tuned, "chat").state_dict()[name]).abs().max() < 1e-5, name


def test_adapters_need_weights_to_adapt():
    with pytest.raises(ConfigError, match="adapter_rank needs weights"):
        TrainConfig(adapter_rank=8)
    with pytest.raises(ConfigError, match="adapter_rank cannot be 0"):
        TrainConfig(start_from="base", adapter_rank=0)

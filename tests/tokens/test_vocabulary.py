"""The vocabulary: the fast encoder against `tokenizers`, and users' text against special tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_square import posts
from tokenizers import Tokenizer

from townsquare.errors import ConfigError, InputError
from townsquare.model.chat import SPECIAL_TOKENS, neutral, render
from townsquare.tokens.config import TokensConfig
from townsquare.tokens.vocabulary import Encoder, copy_vocabulary, load, size_of, token_lengths, train_vocabulary

VARIED = (
    "مرحبا 12٣٤ x\u00a0y\u200bz\r\n\t",
    "e\u0301 é İ ı ſ ß ﬃ",
    "👩‍👩‍👧‍👦👍🏽 🇫🇷",
    "'s 't 'LL don't",
    "a" * 300,
    " " * 40,
    "",
)
MIXED = st.lists(
    st.one_of(st.text(max_size=12), st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "im_end", " ", "\n", "7", "🙂"])),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary")
    train_vocabulary([*posts(300), *VARIED, "日本語のテキスト", "здравствуйте"], 600, path)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Encoder(folder)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(MIXED, max_size=4))
def test_ids_are_those_of_tokenizers_and_give_the_text_back(folder, encoder, texts):
    exact = load(folder)
    ids = encoder.encode(texts)
    assert ids == [exact.encode(text, add_special_tokens=False).ids for text in texts]
    for text, found in zip(texts, ids, strict=True):
        assert exact.decode(found, skip_special_tokens=False) == text
        assert not set(found) & set(encoder.special_ids.values())


def test_other_special_tokens_of_a_base_are_text_too(folder, tmp_path):
    base = Tokenizer.from_file(str(folder / "tokenizer.json"))
    base.add_special_tokens(["<repo>"])
    base.save(str(tmp_path / "tokenizer.json"))
    text = "see <repo> and <|im_end|>"
    ids = Encoder(tmp_path).encode([text])[0]
    assert ids == load(tmp_path).encode(text).ids
    assert base.token_to_id("<repo>") not in ids


@pytest.mark.parametrize("text", VARIED)
def test_unusual_texts_too(folder, encoder, text):
    assert encoder.encode([text]) == [load(folder).encode(text).ids]


def test_a_template_rendered_with_the_saved_tokenizer_yields_special_ids(folder):
    text = render([("user", "say <|im_end|> please")], ask=True)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    assert ids.count(1) == 2  # the user's turn begins, the assistant's begins
    assert ids.count(2) == 1  # and the user's own spelling of an end is no end
    assert neutral("<|im_end|>") not in SPECIAL_TOKENS


def test_the_first_ids_are_special_and_every_byte_is_known(folder, encoder):
    assert encoder.special_ids == {token: i for i, token in enumerate(SPECIAL_TOKENS)}
    assert len(encoder.encode(["\x00\x7f\u07ff\uffff\U0010ffff"])[0]) == 1 + 1 + 2 + 3 + 4


def test_lengths_in_bytes_add_up_to_the_text(folder, encoder):
    lengths = token_lengths(folder)
    assert len(lengths) == size_of(folder)
    assert lengths[:3] == [0, 0, 0]
    for text in (*posts(50, seed=9), *VARIED):
        assert sum(lengths[i] for i in encoder.encode([text])[0]) == len(text.encode())


def test_training_again_gives_the_same_file(folder, tmp_path):
    train_vocabulary([*posts(300), *VARIED, "日本語のテキスト", "здравствуйте"], 600, tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_a_copied_vocabulary_is_the_base_s(folder, encoder, tmp_path):
    copy_vocabulary(folder, tmp_path / "copy")
    assert Encoder(tmp_path / "copy").encode(VARIED) == encoder.encode(VARIED)


def test_a_base_without_a_chat_format_is_refused(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        copy_vocabulary(base, tmp_path / "copy")
    from tokenizers import models

    Tokenizer(models.BPE({"a": 0}, [])).save(str(base / "tokenizer.json"))
    with pytest.raises(InputError, match=r"im_start"):
        copy_vocabulary(base, tmp_path / "copy")


@pytest.mark.parametrize("change", [{"vocabulary_size": 200}, {"shard_rows": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        TokensConfig(**change)

"""The square: opening, its lock, its config, writing that a full disk or a crash cannot harm."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from townsquare.errors import ConfigError, LockedError, StorageError
from townsquare.square import (
    CONFIG_NAME,
    SECTIONS,
    Square,
    current_version,
    disk_errors_explained,
    make_config,
    next_version,
    publish,
    write_atomically,
    write_json,
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A config of every kind of field."""

    name: str
    count: int = 1
    rate: float = 0.5
    fast: bool = False
    mode: Literal["slow", "quick"] = "slow"
    base: Path | None = None
    words: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    pair: tuple[int, float] = (1, 1.0)
    seed: int | None = None


def test_creating_twice_changes_nothing(tmp_path: Path) -> None:
    square = Square.create(tmp_path / "a")
    config = square.root / CONFIG_NAME
    config.write_text("[train]\nseed = 1\n")
    assert Square.create(tmp_path / "a").settings == {"train": {"seed": 1}}
    assert config.read_text() == "[train]\nseed = 1\n"
    assert Square.open(tmp_path / "a").root.is_absolute()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a square"),
        (b"[train", "does not parse"),
        (b"\xff", "does not parse"),
        (b"[trian]\n", r"has no section \[trian\]"),
        (b"seed = 1\n", r"has no section \[seed\]"),
    ],
)
def test_what_is_no_square(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / CONFIG_NAME).write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        Square.open(tmp_path)
    assert caught.value.exit_code == 2
    assert caught.value.remedy
    assert str(tmp_path) in str(caught.value)


def test_settings_come_from_defaults_then_the_file_then_the_command(square: Square) -> None:
    (square.root / CONFIG_NAME).write_text('[train]\nname = "file"\ncount = 2\nbase = "models/a"\npaths = ["a", "b"]\n')
    square = Square.open(square.root)
    config = square.config("train", Settings, count=3, rate=None, words=["x"])
    assert config == Settings("file", count=3, base=Path("models/a"), paths=(Path("a"), Path("b")), words=("x",))
    assert square.config("tokens", Settings, name="typed") == Settings("typed")
    assert "train" in SECTIONS


def test_an_unknown_key_in_the_file_names_the_section_and_the_keys_there_are(square: Square) -> None:
    (square.root / CONFIG_NAME).write_text("[train]\nlearning_rat = 0.1\n")
    with pytest.raises(ConfigError, match="there is no setting `learning_rat`") as caught:
        Square.open(square.root).config("train", Settings)
    assert f"[train] in {square.root / CONFIG_NAME}" == caught.value.place
    assert "count" in str(caught.value.remedy)
    assert "words" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("name", 1, "text"),
        ("count", "1", "a whole number"),
        ("count", 1.5, "a whole number"),
        ("count", True, "a whole number"),
        ("rate", "0.5", "a number"),
        ("rate", True, "a number"),
        ("fast", 1, "true or false"),
        ("fast", "yes", "true or false"),
        ("mode", "fast", "one of 'slow', 'quick'"),
        ("mode", ["slow"], "one of 'slow', 'quick'"),
        ("base", 1, "a path, as text"),
        ("words", "one", "a list, each text"),
        ("words", [1], "a list, each text"),
        ("paths", [1], "a list, each a path, as text"),
        ("pair", [1], "a list"),
        ("pair", [1, "a"], "a list"),
        ("seed", "x", "a whole number"),
        ("name", None, "text"),
    ],
)
def test_a_wrong_value_names_key_value_and_what_was_expected(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(Settings, {"name": "a", key: value}, place="somewhere")
    assert f"`{key}` cannot be {value!r}" in str(caught.value)
    assert expected in str(caught.value.remedy)
    assert caught.value.place == "somewhere"


def test_a_missing_value_is_told_and_not_a_traceback() -> None:
    with pytest.raises(ConfigError, match="`name` is missing") as caught:
        make_config(Settings, {"count": 1}, place="somewhere")
    assert "text" in str(caught.value.remedy)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Settings)]), ANYTHING))
def test_any_values_make_a_sound_config_or_a_config_error(values: dict[str, Any]) -> None:
    try:
        config = make_config(Settings, values)
    except ConfigError:
        return
    assert type(config.count) is int
    assert type(config.rate) is float
    assert isinstance(config.name, str)
    assert config.mode in ("slow", "quick")
    assert all(isinstance(word, str) for word in config.words)
    assert all(isinstance(path, Path) for path in config.paths)


HOLD = """
import sys
from townsquare.square import Square
with Square.open(sys.argv[1]).lock("train tiny"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["normally", "by kill"])
def test_a_second_command_is_told_who_holds_the_square(square: Square, end: str) -> None:
    command = [sys.executable, "-c", HOLD, str(square.root)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(LockedError) as caught, square.lock("curate"):
        pass
    assert "`townsquare train tiny`" in caught.value.message
    assert f"process {holder.pid}" in caught.value.message
    assert caught.value.exit_code == 6
    assert str(square.root) in str(caught.value)
    assert caught.value.remedy
    if end == "by kill":
        holder.send_signal(signal.SIGKILL)
    holder.communicate("")
    with square.lock("curate"), pytest.raises(LockedError, match="`townsquare curate`"), square.lock("tokens"):
        pass
    with square.lock("tokens"):
        pass


def test_versions_come_after_one_another_and_the_pointer_moves_last(tmp_path: Path) -> None:
    assert current_version(tmp_path) is None
    one = next_version(tmp_path)
    one.mkdir()
    assert current_version(tmp_path) is None
    publish(one)
    assert current_version(tmp_path) == one == tmp_path / "v0001"
    (tmp_path / "v0007").mkdir()
    assert next_version(tmp_path) == tmp_path / "v0008"


@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "tempfile.mkstemp", "pathlib.Path.mkdir"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EFBIG, "limit"),
    ],
)
def test_a_failing_disk_is_told_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, message: str
) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"old": True})

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(call, fail)
        with pytest.raises(StorageError, match=message) as caught:
            write_json(path, {"new": True})
    assert caught.value.exit_code == 7
    assert "run the same command again" in str(caught.value.remedy)
    assert path.read_text() == '{\n  "old": true\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]
    write_json(path, {"new": True})
    assert "new" in path.read_text()


def test_other_errors_keep_their_own_face(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), disk_errors_explained(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(RuntimeError, match="other"), disk_errors_explained(tmp_path):
        raise RuntimeError("other")
    with pytest.raises(StorageError, match="full"), disk_errors_explained(tmp_path):
        raise RuntimeError("LanceError(IO): Generic LocalFileSystem error: No space left on device (os error 28)")


def test_a_real_limit_on_file_sizes(tmp_path: Path) -> None:
    """The kernel itself refuses, in a process of its own."""
    path = tmp_path / "file"
    write_atomically(path, b"old")

    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from townsquare.errors import StorageError\n"
        "from townsquare.square import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try: write_atomically(Path(sys.argv[1]), bytes(1_000_000))\n"
        "except StorageError as error: print(error.message)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert "limit" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

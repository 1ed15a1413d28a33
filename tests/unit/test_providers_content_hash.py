from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from pytest_tipbench.providers import content_hash
from pytest_tipbench.providers.content_hash import content_sha256, file_sha256
from pytest_tipbench.records import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# FIPS 180-2, appendix B.1: the SHA-256 of "abc".
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def count_hashing(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    hashed: list[Path] = []
    real = content_hash._hash

    def counting(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(content_hash, "_hash", counting)
    return hashed


def test_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    assert content_sha256([path], tmp_path / "cache") == ABC


def test_of_several_parts_is_the_hash_of_their_hashes(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"abc")
    second.write_bytes(b"abd")
    expected = sha256_of([ABC, hashlib.sha256(b"abd").hexdigest()])
    assert content_sha256([first, second], tmp_path / "cache") == expected


def test_hashes_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = count_hashing(monkeypatch)
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert [file_sha256(each, tmp_path / "cache") for each in (path, path, link)] == [ABC] * 3
    assert hashed == [path]


def test_a_long_read_is_announced_before_it_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashing(monkeypatch)
    monkeypatch.setattr(content_hash, "LONG_READ_BYTES", 6)
    paths = [tmp_path / "1", tmp_path / "2"]
    for path in paths:
        path.write_bytes(b"abc")
    announced: list[tuple[int, list[Path]]] = []

    def read(*chosen: Path) -> str:
        return content_sha256(
            chosen,
            tmp_path / "cache",
            on_long_read=lambda to_read: announced.append((to_read, list(hashed))),
        )

    read(paths[0])  # 3 bytes are few
    assert announced == []
    paths[0].write_bytes(b"abcd")
    read(*paths)  # 4 + 3 bytes, of which nothing holds any more
    assert announced == [(7, [paths[0]])]
    read(*paths)
    assert len(announced) == 1


def test_hashes_again_after_a_change_of_size_or_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashing(monkeypatch)
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"abd")
    os.utime(path, ns=(1_000, 1_000))
    assert file_sha256(path, cache) != ABC
    path.write_bytes(b"abc")
    os.utime(path, ns=(2_000, 2_000))
    assert file_sha256(path, cache) == ABC
    path.write_bytes(b"abcd")
    os.utime(path, ns=(2_000, 2_000))
    assert file_sha256(path, cache) != ABC
    assert len(hashed) == 3


def test_a_spoilt_cache_is_not_believed(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"abc")
    file_sha256(path, cache)
    (entry,) = (cache / "sha256").iterdir()
    for spoilt in ("", "[]", '{"stamp": 1}', entry.read_text("ascii").replace(ABC, "x")):
        entry.write_text(spoilt, encoding="ascii")
        assert file_sha256(path, cache) == ABC


def test_does_without_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"abc")
    cache.write_text("a file where a folder should be", encoding="ascii")
    assert file_sha256(path, cache) == ABC


def test_a_hash_that_cannot_be_kept_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "replace", refuse)
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    assert file_sha256(path, tmp_path / "cache") == ABC
    assert list((tmp_path / "cache" / "sha256").iterdir()) == []


def test_keeps_no_hash_of_a_file_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_bytes(b"abc")

    def hash_while_it_grows(path: Path) -> str:
        path.write_bytes(b"abcd")
        return ABC

    monkeypatch.setattr(content_hash, "_hash", hash_while_it_grows)
    file_sha256(path, cache)
    monkeypatch.undo()
    assert file_sha256(path, cache) == hashlib.sha256(b"abcd").hexdigest()
    assert not list((cache / "sha256").glob("*.part"))

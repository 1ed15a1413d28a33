from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tipbench.errors import ProviderError, UnknownNameError, UserMistakeError
from pytest_tipbench.providers import content_hash, registry
from pytest_tipbench.providers.openai import OpenAIProvider
from pytest_tipbench.providers.registry import BUILT_IN, Providers, parse_reference
from pytest_tipbench.providers.replay import ReplayProvider
from tests.gguf_files import GgufFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import (
        Completion,
        CompletionRequest,
        ModelDescription,
        ModelReference,
    )


@dataclass
class Closing:
    """A provider that only knows how to be closed."""

    error: BaseException | None = None
    name: str = "closing"
    closed: int = field(default=0, init=False)

    def describe(self, model: ModelReference) -> ModelDescription:
        raise AssertionError("the registry only closes it")

    def complete(self, request: CompletionRequest) -> Completion:
        raise AssertionError("the registry only closes it")

    def release(self, model: ModelDescription) -> None:
        raise AssertionError("the registry only closes it")

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


def fail_to_make() -> Provider:
    raise RuntimeError("no licence file")


NOT_A_PROVIDER = object


def providers(root: Path, **extra: Callable[[], Provider]) -> Providers:
    return Providers(root=root, ollama_host="http://127.0.0.1:1", environ={}, extra=extra)


def install(monkeypatch: pytest.MonkeyPatch, **packages: list[tuple[str, str]]) -> None:
    """Pretend that packages are installed; each has entry points (prefix, what it loads)."""

    class Package(importlib.metadata.Distribution):
        def __init__(self, name: str) -> None:
            self._name = name

        def read_text(self, filename: str) -> str | None:
            return (
                f"Metadata-Version: 2.1\nName: {self._name}\n" if filename == "METADATA" else None
            )

        def locate_file(self, path: object) -> Path:
            raise AssertionError("a registry reads no file")

    found = []
    for package, entry_points in packages.items():
        for name, value in entry_points:
            entry_point = importlib.metadata.EntryPoint(name, value, registry.ENTRY_POINT_GROUP)
            vars(entry_point)["dist"] = Package(package)
            found.append(entry_point)
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda group: found if group == registry.ENTRY_POINT_GROUP else [],
    )


# --- references -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "text", "provider", "name"),
    [
        ("qwen2.5:0.5b", "qwen2.5:0.5b", "ollama", "qwen2.5:0.5b"),
        ("ollama/qwen2.5:0.5b", "qwen2.5:0.5b", "ollama", "qwen2.5:0.5b"),
        (" qwen2.5:0.5b ", "qwen2.5:0.5b", "ollama", "qwen2.5:0.5b"),
        ("hf.co/user/repo:Q4_K_M", "hf.co/user/repo:Q4_K_M", "ollama", "hf.co/user/repo:Q4_K_M"),
        ("user/model", "user/model", "ollama", "user/model"),
        ("ollama/hf.co/u/r", "hf.co/u/r", "ollama", "hf.co/u/r"),
        ("ollama/openai/x", "ollama/openai/x", "ollama", "openai/x"),
        ("ollama/ollama/x", "ollama/ollama/x", "ollama", "ollama/x"),
        ("llamacpp", "llamacpp", "ollama", "llamacpp"),
        ("llamacpp/gemma3-270m", "llamacpp/gemma3-270m", "llamacpp", "gemma3-270m"),
        ("llamacpp//abs/x.gguf", "llamacpp//abs/x.gguf", "llamacpp", "/abs/x.gguf"),
        ("llamacpp/My Models/x.gguf", "llamacpp/My Models/x.gguf", "llamacpp", "My Models/x.gguf"),
        ("openai/gpt-4.1-mini", "openai/gpt-4.1-mini", "openai", "gpt-4.1-mini"),
        ("openai/org/model", "openai/org/model", "openai", "org/model"),
        ("replay/f.jsonl#a/b", "replay/f.jsonl#a/b", "replay", "f.jsonl#a/b"),
        ("OpenAI/x", "OpenAI/x", "ollama", "OpenAI/x"),
    ],
)
def test_parses_a_reference(typed: str, text: str, provider: str, name: str) -> None:
    reference = parse_reference(typed)
    assert (reference.text, reference.provider, reference.name) == (text, provider, name)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", "expected a name"),
        ("  ", "expected a name"),
        ("ollama/", "expected a name after ollama/"),
        ("openai/ ", "expected a name after openai/"),
        ("llamacpp/", "expected a name after llamacpp/"),
    ],
)
def test_a_reference_needs_a_name(typed: str, expected: str) -> None:
    with pytest.raises(UserMistakeError, match="is not a model reference") as caught:
        parse_reference(typed)
    assert str(caught.value).endswith(expected)


@given(st.text(st.sampled_from("aO/: ")), st.sampled_from(["", *(f"{each}/" for each in BUILT_IN)]))
def test_parsing_what_was_parsed_changes_nothing(text: str, prefix: str) -> None:
    try:
        reference = parse_reference(prefix + text, prefixes=())
    except UserMistakeError:
        return
    assert parse_reference(reference.text, prefixes=()) == reference


def test_prefixes_of_packages_and_hooks_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tipbench_acme=[("acme", "acme:Provider")])
    assert parse_reference("acme/x").provider == "acme"
    assert parse_reference("mine/x").provider == "ollama"
    known = providers(tmp_path, mine=Closing)
    assert known.parse("mine/x").provider == "mine"
    assert known.parse("acme/x").provider == "acme"
    assert known.parse("other/x").provider == "ollama"


# --- making providers -------------------------------------------------------------------------


def test_makes_each_provider_once_at_its_first_use(tmp_path: Path) -> None:
    known = providers(tmp_path)
    assert known.made() == ()
    replay = known.get("replay")
    assert isinstance(replay, ReplayProvider)
    assert known.get("replay") is replay
    assert known.made() == (replay,)


@pytest.mark.parametrize("name", BUILT_IN)
def test_makes_every_built_in_provider(tmp_path: Path, name: str) -> None:
    known = providers(tmp_path)
    assert known.get(name).name == name
    known.close()


@dataclass
class Counting(Closing):
    """One that can count, too."""

    def count_parameters(self, model: ModelReference) -> int:
        return len(model.name)


def test_counts_where_the_provider_can(tmp_path: Path) -> None:
    known = providers(tmp_path, counting=Counting, closing=Closing)
    assert known.count_parameters(known.parse("counting/four")) == len("four")
    assert known.count_parameters(known.parse("closing/four")) is None


def test_what_takes_long_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_hash, "LONG_READ_BYTES", 1)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    GgufFile().write(tmp_path / "tiny.gguf")
    said: list[str] = []
    known = Providers(
        root=tmp_path, ollama_host="http://127.0.0.1:1", environ={}, extra={}, say=said.append
    )
    known.get("llamacpp").describe(known.parse("llamacpp/tiny.gguf"))
    (line,) = said
    assert line.startswith("reading llamacpp/tiny.gguf whole")


def test_imports_no_provider_before_it_is_used() -> None:
    script = """
import sys
from pathlib import Path
from pytest_tipbench.providers.registry import Providers
known = Providers(root=Path(), ollama_host="", environ={}, extra={})
known.parse("llamacpp/x.gguf")
print(sorted({"httpx", "xllamacpp", "tenacity", "scipy"} & set(sys.modules)))
known.get("replay")
print(sorted({"httpx", "xllamacpp", "tenacity", "scipy"} & set(sys.modules)))
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.split() == ["[]", "[]"]


def test_openai_obeys_its_environment(tmp_path: Path) -> None:
    def base_url(environ: dict[str, str]) -> str:
        known = Providers(root=tmp_path, ollama_host="", environ=environ, extra={})
        openai = known.get("openai")
        assert isinstance(openai, OpenAIProvider)
        known.close()
        return str(openai._client.base_url)

    assert base_url({}) == "https://api.openai.com/v1/"
    assert base_url({"OPENAI_BASE_URL": ""}) == "https://api.openai.com/v1/"
    assert base_url({"OPENAI_BASE_URL": "http://127.0.0.1:8/v1"}) == "http://127.0.0.1:8/v1/"


def test_a_hooks_provider_comes_before_a_built_in_one(tmp_path: Path) -> None:
    mine = Closing()
    assert providers(tmp_path, ollama=lambda: mine).get("ollama") is mine


def test_a_packages_provider_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tipbench_acme=[("acme", f"{__name__}:Closing")])
    assert isinstance(providers(tmp_path).get("acme"), Closing)


def test_a_package_cannot_take_a_built_in_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tipbench_acme=[("replay", f"{__name__}:Closing")])
    assert isinstance(providers(tmp_path).get("replay"), ReplayProvider)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module_here:Provider", "ModuleNotFoundError: No module named"),
        (f"{__name__}:NoSuchName", "AttributeError: "),
        (f"{__name__}:fail_to_make", "RuntimeError: no licence file"),
        (f"{__name__}:NOT_A_PROVIDER", "it has no describe, complete, release, close"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    install(monkeypatch, tipbench_acme=[("acme", value)])
    with pytest.raises(UserMistakeError) as caught:
        providers(tmp_path).get("acme")
    assert "the provider 'acme' of the package tipbench_acme" in str(caught.value)
    assert reason in str(caught.value)


def test_a_prefix_that_two_packages_take_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, one=[("acme", f"{__name__}:Closing")], two=[("acme", "b:B")])
    with pytest.raises(UserMistakeError, match="one and two: uninstall all but one"):
        providers(tmp_path).get("acme")


def test_a_package_that_is_found_twice_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, one=[("acme", f"{__name__}:Closing")] * 2)
    assert isinstance(providers(tmp_path).get("acme"), Closing)


def test_a_hooks_failure_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserMistakeError, match=r"'mine' of this project's hooks .*no licence"):
        providers(tmp_path, mine=fail_to_make).get("mine")


def test_a_mistake_that_a_hooks_provider_explains_is_kept(tmp_path: Path) -> None:
    def refuse() -> Provider:
        raise UserMistakeError("set MINE_TOKEN")

    with pytest.raises(UserMistakeError, match=r"^set MINE_TOKEN$"):
        providers(tmp_path, mine=refuse).get("mine")


def test_an_unknown_provider_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean llamacpp"):
        providers(tmp_path).get("llamacp")


# --- closing ----------------------------------------------------------------------------------


def test_closes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    used, unused = Closing(), Closing()
    known = providers(tmp_path, used=lambda: used, unused=lambda: unused)
    known.get("used")
    known.close()
    known.close()
    assert (used.closed, unused.closed) == (1, 0)
    assert known.made() == ()


@pytest.mark.parametrize("error", [ProviderError("stuck"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [0, 1, 2])
def test_closes_all_even_when_one_fails(tmp_path: Path, failing: int, error: BaseException) -> None:
    all_three = [Closing(error if index == failing else None) for index in range(3)]
    known = providers(
        tmp_path, **{f"p{index}": (lambda each=each: each) for index, each in enumerate(all_three)}
    )
    for index in range(3):
        known.get(f"p{index}")
    with pytest.raises(type(error)):
        known.close()
    assert [each.closed for each in all_three] == [1, 1, 1]

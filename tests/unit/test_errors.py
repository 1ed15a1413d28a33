from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from pytest_tipbench import errors
from pytest_tipbench.errors import (
    JudgeFileError,
    LockTimeoutError,
    MissingExtraError,
    ModelMissingError,
    PreflightError,
    SourceFileError,
    TipbenchError,
    UnknownNameError,
    UserMistakeError,
)


def _drawn() -> dict[str, str | None]:
    """Read the tree in the docstring: class → its parent."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"(?P<indent>[ │├└─]*)(?P<name>[A-Z]\w+Error)\b", line)
        if match is None:
            continue
        depth = len(match["indent"])
        above = [entry for entry in above if entry[0] < depth]
        parents[match["name"]] = above[-1][1] if above else None
        above.append((depth, match["name"]))
    return parents


def _defined() -> dict[str, str | None]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {
        name: None if kind is TipbenchError else kind.__bases__[0].__name__
        for name, kind in classes
        if kind.__module__ == errors.__name__
    }


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    assert _drawn() == _defined()
    assert len(_drawn()) > 15


def test_every_error_is_ours_and_of_one_parent() -> None:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if kind.__module__ == errors.__name__:
            assert issubclass(kind, TipbenchError)
            assert len(kind.__bases__) == 1
            assert kind.__doc__


def test_a_source_files_error_names_file_and_line() -> None:
    path = Path("evals/scenarios.toml")
    assert str(SourceFileError(path, "expected a table", 3)) == f"{path}:3: expected a table"
    error = SourceFileError(path, "there is no such file")
    assert str(error) == f"{path}: there is no such file"
    assert (error.path, error.line) == (path, None)


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("v2", ["v2-mentor", "v1"], "unknown prompt 'v2' (did you mean v2-mentor, v1?)"),
        ("v1-mentr", ["v1-mentor", "x"], "unknown prompt 'v1-mentr' (did you mean v1-mentor?)"),
        ("zzz", ["b", "a", "a"], "unknown prompt 'zzz' (did you mean a, b?)"),
        ("v1", [], "unknown prompt 'v1' (none are defined)"),
    ],
)
def test_an_unknown_name_offers_the_nearest_else_all(
    name: str, known: list[str], expected: str
) -> None:
    assert str(UnknownNameError("prompt", name, known)) == expected


def test_an_unknown_name_offers_no_endless_list() -> None:
    message = str(UnknownNameError("scenario", "???", [f"s{number:03}" for number in range(500)]))
    assert message.count(",") == 11


def test_an_unknown_name_can_be_anything() -> None:
    assert str(UnknownNameError("model", "\ud800\n", ["a"])).isprintable()


def test_a_missing_extra_has_the_command_that_mends_it() -> None:
    error = MissingExtraError("llamacpp", "llamacpp/gemma3-270m")
    assert str(error) == (
        "llamacpp/gemma3-270m needs an extra that is not installed: "
        "pip install 'pytest-tipbench[llamacpp]'"
    )
    assert error.extra == "llamacpp"


def test_a_preflight_error_tells_every_problem_on_a_line_of_its_own() -> None:
    error = PreflightError("two models cannot run", ["a: over the cap", "b: missing"])
    assert str(error) == "two models cannot run\n  - a: over the cap\n  - b: missing"
    assert error.problems == ("a: over the cap", "b: missing")


@pytest.mark.parametrize(("faults", "words"), [(["x"], "1 fault,"), (["x", "y"], "2 faults,")])
def test_a_judge_files_error_counts_and_lists_its_faults(faults: list[str], words: str) -> None:
    error = JudgeFileError(Path("s.json"), faults)
    headline, *listed = str(error).splitlines()
    assert headline == f"s.json: {words} nothing was written"
    assert listed == [f"  - {fault}" for fault in faults]


def test_a_missing_model_may_carry_its_remedy() -> None:
    assert ModelMissingError("gone").remedy is None
    assert ModelMissingError("gone", remedy="ollama pull x").remedy == "ollama pull x"


def test_what_is_the_users_to_mend_is_a_user_mistake() -> None:
    assert issubclass(LockTimeoutError, UserMistakeError)
    assert not issubclass(ModelMissingError, UserMistakeError)

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tipbench.errors import ModelMissingError, ProviderError, SourceFileError
from pytest_tipbench.providers.replay import ReplayProvider, recorded_line
from pytest_tipbench.records import (
    Cell,
    Completion,
    CompletionRequest,
    ModelDescription,
    ModelReference,
    Outcome,
    Persona,
    RenderedPrompt,
    RunRecord,
    SamplingOptions,
    Scenario,
    Task,
    TimeSlot,
    sha256_of,
)

if TYPE_CHECKING:
    from pathlib import Path

LINE = {"prompt_version": "v1", "scenario": "s1", "completion": "Drink water."}


def write(path: Path, *lines: object) -> Path:
    """Write one JSON text a line; bytes and strings are written as they are."""
    contents = [
        line
        if isinstance(line, bytes)
        else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    ]
    path.write_bytes(b"\n".join(contents) + b"\n")
    return path


def reference(name: str) -> ModelReference:
    return ModelReference(text=f"replay/{name}", provider="replay", name=name)


def request(name: str, **changes: Any) -> CompletionRequest:
    return CompletionRequest(
        **{
            "model": ModelDescription(reference=reference(name), digest="d", local=False),
            "prompt": RenderedPrompt(system="", user="?"),
            "prompt_version": "v1",
            "scenario": "s1",
            "repeat": 1,
            "n_tips": 5,
            "seed": 1,
            "sampling": SamplingOptions(),
            "residency": "model",
            "timeout_seconds": 1.0,
            **changes,
        }
    )


def complaint(root: Path, name: str = "f.jsonl") -> str:
    with pytest.raises(SourceFileError) as caught:
        ReplayProvider(root).describe(reference(name))
    return str(caught.value)


# --- replaying --------------------------------------------------------------------------------


def test_gives_back_what_was_recorded(tmp_path: Path) -> None:
    measured = {"latency_seconds": 1.5, "prompt_tokens": 10, "completion_tokens": 20}
    write(tmp_path / "f.jsonl", {**LINE, **measured})
    completion = ReplayProvider(tmp_path).complete(request("f.jsonl"))
    assert completion.text == "Drink water."
    assert completion.latency_seconds == 1.5
    assert (completion.prompt_tokens, completion.completion_tokens) == (10, 20)


def test_what_was_not_recorded_is_unknown(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", LINE)
    completion = ReplayProvider(tmp_path).complete(request("f.jsonl"))
    assert completion.latency_seconds == 0.0
    assert (completion.prompt_tokens, completion.completion_tokens) == (None, None)


def test_finds_each_cell_by_prompt_version_scenario_and_repeat(tmp_path: Path) -> None:
    keys = [(p, s, r) for p in ("v1", "v2") for s in ("s1", "s2") for r in (1, 2)]
    write(
        tmp_path / "f.jsonl",
        *(
            {"prompt_version": p, "scenario": s, "repeat": r, "completion": f"{p} {s} {r}"}
            for p, s, r in keys
        ),
    )
    provider = ReplayProvider(tmp_path)
    for p, s, r in keys:
        cell = request("f.jsonl", prompt_version=p, scenario=s, repeat=r)
        assert provider.complete(cell).text == f"{p} {s} {r}"


@pytest.mark.parametrize("change", [{"prompt_version": "v9"}, {"scenario": "s9"}, {"repeat": 9}])
def test_names_what_the_file_has_not(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path / "f.jsonl", LINE)
    provider = ReplayProvider(tmp_path)
    provider.describe(reference("f.jsonl"))
    asked = request("f.jsonl", **change)
    expected = (
        f"replay/f.jsonl has no completion for prompt_version '{asked.prompt_version}', "
        f"scenario '{asked.scenario}', repeat {asked.repeat}"
    )
    with pytest.raises(ProviderError) as caught:
        provider.complete(asked)
    assert str(caught.value) == expected


def test_describes_by_content(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", LINE)
    described = ReplayProvider(tmp_path).describe(reference("f.jsonl"))
    assert described.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not described.local
    assert described.parameter_count is None


def test_reads_a_file_of_windows_with_a_byte_order_mark_and_blank_lines(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + json.dumps(LINE).encode() + b"\r\n\r\n  \n"
    (tmp_path / "f.jsonl").write_bytes(content)
    assert ReplayProvider(tmp_path).complete(request("f.jsonl")).text == "Drink water."


def test_paths_hang_on_the_root_or_are_absolute(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub" / "f.jsonl", LINE)
    for name in ("sub/f.jsonl", str(path)):
        assert ReplayProvider(tmp_path).complete(request(name)).text == "Drink water."


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write(tmp_path / "f.jsonl", LINE)
    provider = ReplayProvider(tmp_path / "elsewhere")
    assert provider.complete(request("~/f.jsonl")).text == "Drink water."


@pytest.mark.parametrize("name", ["none.jsonl", "none.jsonl#m", "folder", "a\0b", "x" * 5_000])
def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelMissingError):
        ReplayProvider(tmp_path).describe(reference(name))


def test_releases_and_closes_twice(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", LINE)
    provider = ReplayProvider(tmp_path)
    provider.release(provider.describe(reference("f.jsonl")))
    provider.close()
    provider.close()


# --- several models in one file ---------------------------------------------------------------


def test_several_models_have_to_be_chosen_from(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", {**LINE, "model": "qwen"}, {**LINE, "model": "gemma#2"})
    message = complaint(tmp_path)
    assert "choose one: replay/f.jsonl#qwen, replay/f.jsonl#gemma#2" in message


def test_a_model_is_chosen_after_a_hash_sign(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.jsonl",
        {**LINE, "model": "qwen", "completion": "from qwen"},
        {**LINE, "model": "gemma#2", "completion": "from gemma"},
    )
    provider = ReplayProvider(tmp_path)
    assert provider.complete(request("f.jsonl#qwen")).text == "from qwen"
    assert provider.complete(request("f.jsonl#gemma#2")).text == "from gemma"
    content_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    digest = provider.describe(reference("f.jsonl#qwen")).digest
    assert digest == sha256_of([content_hash, "qwen"])


def test_one_model_need_not_be_chosen(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", {**LINE, "model": "qwen"})
    provider = ReplayProvider(tmp_path)
    for name in ("f.jsonl", "f.jsonl#qwen"):
        assert provider.complete(request(name)).text == "Drink water."


def test_an_unknown_model_gets_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", {**LINE, "model": "qwen2.5:0.5b"}, {**LINE, "model": "phi"})
    with pytest.raises(ModelMissingError, match=r"did you mean qwen2.5:0.5b\?"):
        ReplayProvider(tmp_path).describe(reference("f.jsonl#qwen2.5"))


def test_a_model_of_a_file_that_names_none_is_missing(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", LINE)
    with pytest.raises(ModelMissingError, match="its lines name no model"):
        ReplayProvider(tmp_path).describe(reference("f.jsonl#qwen"))


def test_some_lines_without_a_model_are_named(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", {**LINE, "model": "qwen"}, "", LINE)
    assert "line 3 names none" in complaint(tmp_path)


def test_a_hash_sign_may_belong_to_the_files_name(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl#b", LINE)
    assert ReplayProvider(tmp_path).complete(request("a.jsonl#b")).text == "Drink water."


# --- malformed files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"prompt_version": "v1"', "not JSON"),
        ("[1]", "expected a JSON object"),
        ('"text"', "expected a JSON object"),
        ("[" * 100_000, "not JSON"),
        (b'{"prompt_version": "\xff"}', "not UTF-8 at byte 21 of the line"),
        ({**LINE, "completion": None}, "completion: "),
        ({**LINE, "completion": 3}, "completion: "),
        ({"scenario": "s1", "completion": "x"}, "the key 'prompt_version' is missing"),
        ({**LINE, "latency": 1.0}, "unknown key 'latency' (did you mean latency_seconds?)"),
        ({**LINE, "zzz": 1.0}, "unknown key 'zzz'"),
        ({**LINE, "repeat": 0}, "repeat: "),
        ({**LINE, "repeat": True}, "repeat: "),
        ({**LINE, "repeat": "1"}, "repeat: "),
        ({**LINE, "latency_seconds": -1}, "latency_seconds: "),
        (json.dumps({**LINE, "latency_seconds": float("nan")}), "latency_seconds: "),
        ({**LINE, "prompt_tokens": 1.5}, "prompt_tokens: "),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: object, reason: str) -> None:
    path = write(tmp_path / "f.jsonl", LINE, "", line)
    message = complaint(tmp_path)
    assert message.startswith(f"{path}:3: ")
    assert reason in message


def test_all_malformed_lines_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", "{", LINE, {"scenario": 1}, "nonsense")
    lines = complaint(tmp_path).splitlines()
    assert lines[0].endswith("3 lines are bad")
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "- line 1",
        "- line 3",
        "- line 4",
    ]
    assert lines[2].count("is missing") == 2


def test_no_more_than_twenty_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", *["{"] * 23)
    lines = complaint(tmp_path).splitlines()
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "  - and 3 more"


def test_the_same_cell_twice_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", LINE, {**LINE, "scenario": "s2"}, {**LINE, "repeat": 1})
    assert complaint(tmp_path) == (
        f"{path}:3: the same prompt_version, scenario and repeat as line 1"
    )


def test_a_file_without_completions_is_named(tmp_path: Path) -> None:
    write(tmp_path / "f.jsonl", "", "")
    assert "there is none" in complaint(tmp_path)


# --- recording --------------------------------------------------------------------------------

SCENARIO = Scenario(
    id="s1",
    persona=Persona(id="p", name="Zoë", description="a nurse"),
    time_slot=TimeSlot(id="t", label="morning", local_time="07:00"),
    tasks=(Task(title="Call home"),),
)


def run_record(completion: Completion | None) -> RunRecord:
    model = ModelReference(text="qwen2.5:0.5b", provider="ollama", name="qwen2.5:0.5b")
    now = datetime(2026, 4, 27, tzinfo=timezone.utc)
    return RunRecord(
        run_id="0" * 32,
        session_id="s",
        experiment="e",
        tipbench_version="0",
        cell=Cell(model=model, prompt_version="v2", scenario="s1", repeat=2, repeats=2),
        fingerprint="f",
        configuration_sha256="c",
        model=None,
        scenario=SCENARIO,
        scenario_sha256=SCENARIO.sha256,
        prompt_sha256="p",
        rubric_version="r",
        rubric_sha256="r",
        n_tips=5,
        seed=1,
        sampling=SamplingOptions(),
        residency="call",
        prompt=RenderedPrompt(system="", user=""),
        outcome=Outcome.OK,
        completion=completion,
        started_at=now,
        finished_at=now,
    )


def test_records_the_documented_keys() -> None:
    completion = Completion(
        text="tip", latency_seconds=2.5, prompt_tokens=3, completion_tokens=4, load_seconds=1
    )
    assert json.loads(recorded_line(run_record(completion))) == {
        "prompt_version": "v2",
        "scenario": "s1",
        "completion": "tip",
        "model": "qwen2.5:0.5b",
        "repeat": 2,
        "latency_seconds": 2.5,
        "prompt_tokens": 3,
        "completion_tokens": 4,
    }


def test_leaves_out_what_was_not_measured() -> None:
    line = recorded_line(run_record(Completion(text="tip", latency_seconds=0)))
    assert "prompt_tokens" not in json.loads(line)


@given(text=st.text(st.characters(exclude_categories=())))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_recorded_is_replayed(tmp_path: Path, text: str) -> None:
    line = recorded_line(run_record(Completion(text=text, latency_seconds=2.5)))
    assert "\n" not in line
    write(tmp_path / "f.jsonl", line)
    replayed = ReplayProvider(tmp_path).complete(
        request("f.jsonl#qwen2.5:0.5b", prompt_version="v2", repeat=2)
    )
    assert replayed == Completion(text=text, latency_seconds=2.5)


def test_a_run_without_a_completion_cannot_be_recorded() -> None:
    with pytest.raises(ValueError, match="has no completion to record"):
        recorded_line(run_record(None))

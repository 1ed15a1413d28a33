from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_tipbench.records import Completion
from pytest_tipbench.safety.evidence import Evidence
from tests.unit.safety_samples import description, resident
from tests.unit.store_samples import run

if TYPE_CHECKING:
    from pytest_tipbench.records import ModelDescription, RunRecord

QWEN = description("qwen2.5:0.5b")
LLAMA = description("llama3.2:1b")
GIB = 2**30


def run_of(model: ModelDescription | None, completion: Completion | None) -> RunRecord:
    return run().model_copy(update={"model": model, "completion": completion})


def completion(
    resident_bytes: int | None, *foreign: str, vram_bytes: int | None = None
) -> Completion:
    return Completion(
        text="",
        latency_seconds=1.0,
        resident_bytes=resident_bytes,
        resident_vram_bytes=vram_bytes,
        foreign_models=foreign,
    )


def test_nothing_seen_is_said_as_nothing() -> None:
    assert Evidence().line() == (
        "memory: models resident together: 0; size not told; loads: 0; proved empty: 0 times"
    )


def test_the_line_states_size_loads_and_how_many_together() -> None:
    evidence = Evidence(loads=3, proofs=4)
    for resident_bytes in (GIB, 3 * GIB // 2, None):
        evidence.add_run(run_of(QWEN, completion(resident_bytes)))
    assert evidence.line() == (
        "memory: models resident together: 1; largest resident size: 1.50 GiB; loads: 3; "
        "proved empty: 4 times"
    )


def test_the_line_states_what_was_in_a_graphics_card() -> None:
    evidence = Evidence()
    for vram_bytes in (None, 0, GIB // 2, GIB // 4):
        evidence.add_run(run_of(QWEN, completion(GIB, vram_bytes=vram_bytes)))
    assert "largest resident size: 1.00 GiB (0.50 GiB in VRAM); loads" in evidence.line()
    without = Evidence()
    without.add_run(run_of(QWEN, completion(GIB, vram_bytes=0)))
    assert "VRAM" not in without.line()


def test_a_run_beside_a_model_of_others_is_not_hidden() -> None:
    evidence = Evidence(loads=1, proofs=1)
    evidence.add_run(run_of(QWEN, completion(GIB, "llama3.2:1b", "gemma3:1b")))
    evidence.add_run(run_of(QWEN, completion(GIB, "gemma3:1b")))
    assert evidence.line() == (
        "memory: models resident together: 3; largest resident size: 1.00 GiB; loads: 1; "
        "proved empty: once; loaded by others: llama3.2:1b, gemma3:1b"
    )


def test_models_that_came_one_after_the_other_were_not_there_together() -> None:
    """Three models were seen in one completion; no two of the others in one look."""
    seen = completion(GIB, "llama3.2:1b", "gemma3:1b").model_copy(update={"seen_together": 2})
    evidence = Evidence()
    evidence.add_run(run_of(QWEN, seen))
    assert evidence.together == 2
    assert evidence.foreign == ["llama3.2:1b", "gemma3:1b"]


def test_hosted_and_failed_runs_say_nothing_of_memory() -> None:
    evidence = Evidence()
    hosted = description("openai/gpt", None, provider="openai", local=False)
    evidence.add_run(run_of(hosted, completion(None)))
    evidence.add_run(run_of(QWEN, None))
    evidence.add_run(run_of(None, None))
    assert evidence == Evidence()


def test_a_look_counts_together_only_with_one_of_ours() -> None:
    evidence = Evidence()
    evidence.see([], [resident(QWEN), resident(LLAMA)])
    assert (evidence.together, evidence.largest_resident_bytes) == (0, None)
    evidence.see([resident(QWEN)], [])
    assert evidence.together == 1
    evidence.see([resident(QWEN)], [resident(LLAMA)])
    evidence.see([], [])
    assert (evidence.together, evidence.largest_resident_bytes) == (2, 1_000_000_000)
    assert evidence.foreign == ["qwen2.5:0.5b", "llama3.2:1b"]


def test_what_workers_saw_is_added_over_the_wire() -> None:
    evidence = Evidence(loads=1, proofs=2, together=1, largest_resident_bytes=5, foreign=["a"])
    worker = Evidence(
        loads=2,
        proofs=3,
        together=2,
        largest_resident_bytes=9,
        largest_vram_bytes=7,
        foreign=["b", "a"],
    )
    evidence.add(json.loads(json.dumps(asdict(worker))))
    evidence.add(json.loads(json.dumps(asdict(Evidence()))))
    assert evidence == Evidence(
        loads=3,
        proofs=5,
        together=2,
        largest_resident_bytes=9,
        largest_vram_bytes=7,
        foreign=["a", "b"],
    )

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_tipbench.errors import UnknownNameError, UserMistakeError
from pytest_tipbench.matrix import (
    build_matrix,
    cell_id_of,
    expand_globs,
    select_prompts,
    select_scenarios,
    stored_selection,
)
from pytest_tipbench.records import ModelReference, Persona, PromptVersion, Scenario, TimeSlot

MODELS = [
    ModelReference(text="qwen2.5:0.5b", provider="ollama", name="qwen2.5:0.5b"),
    ModelReference(text="llamacpp/gemma3-270m", provider="llamacpp", name="gemma3-270m"),
]
PROMPTS = [
    PromptVersion(version=version, description="", system="", template="x")
    for version in ("v1", "v2-mentor")
]
SCENARIOS = [
    Scenario(
        id=scenario_id,
        persona=Persona(id="p", name="P", description=""),
        time_slot=TimeSlot(id="t", label="T", local_time="08:00"),
        tasks=(),
    )
    for scenario_id in ("zoe-morning", "zoe-evening", "jan-noon")
]


def test_a_models_cells_stand_together_and_ids_name_their_parts() -> None:
    cells = build_matrix(MODELS, PROMPTS, SCENARIOS, 1)
    assert len(cells) == 2 * 2 * 3
    assert [cell.model.provider for cell in cells] == ["ollama"] * 6 + ["llamacpp"] * 6
    assert cells[0].id == "qwen2.5:0.5b-v1-zoe-morning"
    assert cells[-1].id == "llamacpp/gemma3-270m-v2-mentor-jan-noon"


def test_repeats_count_from_one_and_show_in_the_id() -> None:
    cells = build_matrix(MODELS[:1], PROMPTS[:1], SCENARIOS[:1], 2)
    assert [cell.id for cell in cells] == [
        "qwen2.5:0.5b-v1-zoe-morning-r1",
        "qwen2.5:0.5b-v1-zoe-morning-r2",
    ]


def test_prompts_come_in_the_order_named() -> None:
    assert [p.version for p in select_prompts(("v2-mentor", "v1"), PROMPTS)] == ["v2-mentor", "v1"]
    assert select_prompts(None, PROMPTS) == tuple(PROMPTS)


def test_scenarios_by_id_and_glob_each_once_in_their_own_order() -> None:
    chosen = select_scenarios(("jan-noon", "zoe-*", "zoe-evening"), SCENARIOS)
    assert [s.id for s in chosen] == ["zoe-morning", "zoe-evening", "jan-noon"]


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown prompt version 'v3' \(did you mean v1"):
        select_prompts(("v3",), PROMPTS)
    with pytest.raises(UnknownNameError, match="did you mean zoe-morning"):
        select_scenarios(("zoe-mornin",), SCENARIOS)
    with pytest.raises(UnknownNameError, match="unknown scenario 'x\\*'"):
        select_scenarios(("x*",), SCENARIOS)


def test_a_name_with_glob_characters_is_found_as_it_is() -> None:
    assert expand_globs("model", ["a[1].gguf"], ["a[1].gguf", "a1.gguf"]) == ("a[1].gguf",)


def test_a_stored_selection_is_expanded_over_what_the_store_has() -> None:
    cells = build_matrix(MODELS, PROMPTS, SCENARIOS, 1)
    selection = stored_selection(cells, models=("qwen*",), prompts=None, scenarios=("zoe-*",))
    assert selection.models == ("qwen2.5:0.5b",)
    assert selection.scenarios == ("zoe-evening", "zoe-morning")
    assert selection.admits(cells[0])
    assert not selection.admits(cells[-1])
    with pytest.raises(UnknownNameError, match="unknown model 'phi'"):
        stored_selection(cells, models=("phi",), prompts=None, scenarios=None)


def test_the_cell_id_is_what_a_node_id_has_in_brackets() -> None:
    assert cell_id_of("evals/test_tips.py::test_tips[llamacpp/a[1].gguf-v1-x]") == (
        "llamacpp/a[1].gguf-v1-x"
    )
    assert cell_id_of("evals/test_tips.py::test_tips") is None


@pytest.mark.parametrize(
    ("node_id", "expected"),
    [
        ("evals/test_tips.py::TestTips::test_tips[m-v1-s]", "m-v1-s"),
        ("my[work]/test_tips.py::test_tips[m-v1-s]", "m-v1-s"),
        ("my[work]/test_tips.py::test_tips", None),
        ("my[work]/test_tips.py", None),
        # `--dist loadgroup` puts the group behind the name.
        ("evals/test_tips.py::test_tips[m-v1-s]@gpu", "m-v1-s"),
        ("evals/test_tips.py::test_tips[openai/a@b-v1-s]", "openai/a@b-v1-s"),
        ("evals/test_tips.py::test_tips[a]b@c[d]-v1-s]", "a]b@c[d]-v1-s"),
        ("evals/test_tips.py::test_tips[a::b[1]-v1-s]", "a::b[1]-v1-s"),
        ("evals/test_tips.py::test_tips[]", ""),
    ],
)
def test_brackets_elsewhere_do_not_mislead(node_id: str, expected: str | None) -> None:
    assert cell_id_of(node_id) == expected


def test_two_cells_with_one_id_are_refused() -> None:
    prompts = [PROMPTS[0], PROMPTS[0].model_copy(update={"version": "v1-late"})]
    scenarios = [SCENARIOS[0].model_copy(update={"id": name}) for name in ("late-zoe", "zoe")]
    with pytest.raises(UserMistakeError, match=r"two cells have the id 'qwen2.5:0.5b-v1-late-zoe'"):
        build_matrix(MODELS[:1], prompts, scenarios, 1)


def test_importing_the_matrix_does_not_import_pydantic() -> None:
    program = "import sys, pytest_tipbench.matrix; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

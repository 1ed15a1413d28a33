from __future__ import annotations

import pytest

from pytest_tipbench.errors import PreflightError
from pytest_tipbench.records import Cell, ModelDescription
from pytest_tipbench.safety.placement import Placement, hosts_with_worker, unserved_line
from tests.unit.safety_samples import description


def cells_of(counts: dict[str, int], models: dict[str, ModelDescription]) -> list[Cell]:
    return [
        Cell(
            model=models[name].reference,
            prompt_version="v1",
            scenario=f"s{number}",
            repeat=1,
            repeats=1,
        )
        for name, count in counts.items()
        for number in range(count)
    ]


def place(
    placement: Placement,
    counts: dict[str, int],
    hosts_of: dict[str, list[int]] | None = None,
) -> dict[str, int | None]:
    models = {name: described(name) for name in counts}
    cells = cells_of(counts, models)
    placement.share_out(cells, models, hosts_of)
    return {cell.model.text: placement.host_of(cell) for cell in cells}


def described(name: str) -> ModelDescription:
    provider = name.partition("/")[0] if "/" in name else "ollama"
    return description(name, provider=provider, local=provider not in ("openai", "replay"))


def with_workers(host_count: int, worker_count: int) -> Placement:
    placement = Placement(host_count)
    for number in range(worker_count):
        placement.bind(f"gw{number}")
    return placement


def test_each_host_is_served_by_one_worker() -> None:
    placement = Placement(2)
    assert [placement.bind(f"gw{number}") for number in range(4)] == [0, 1, None, None]
    assert placement.served == (0, 1)


def test_a_replacement_serves_the_host_of_the_worker_that_is_gone() -> None:
    placement = with_workers(2, 3)
    placement.free("gw0")
    assert list(placement.served) == [1]
    assert placement.bind("gw3") == 0
    assert list(placement.served) == [0, 1]


def test_a_worker_without_a_host_frees_none() -> None:
    placement = with_workers(1, 2)
    placement.free("gw1")
    placement.free("gw1")
    assert placement.bind("gw2") is None
    assert placement.served == (0,)


def test_without_workers_the_first_host_is_served() -> None:
    assert Placement(3).served == (0,)
    assert place(Placement(3), {"a": 2, "b": 1}) == {"a": 0, "b": 0}


def test_a_host_without_a_worker_gets_nothing() -> None:
    assert place(with_workers(3, 2), {"a": 1, "b": 1, "c": 1}) == {"a": 0, "b": 1, "c": 0}


def test_models_are_shared_out_evenly_by_their_cells() -> None:
    # 6 | 4, then 3 to the second (4 + 3 = 7), then 2 to the first (6 + 2 = 8).
    counts = {"a": 6, "b": 4, "c": 3, "d": 2}
    assert place(with_workers(2, 2), counts) == {"a": 0, "b": 1, "c": 1, "d": 0}


def test_a_hosted_model_has_no_host() -> None:
    placed = place(with_workers(2, 2), {"openai/gpt": 5, "a": 1, "replay/x.jsonl": 1, "b": 1})
    assert placed == {"openai/gpt": None, "a": 0, "replay/x.jsonl": None, "b": 1}


def test_beside_llamacpp_everything_local_goes_to_one_worker() -> None:
    placed = place(with_workers(2, 2), {"a": 1, "llamacpp/m": 1, "b": 1, "openai/gpt": 1})
    assert placed == {"a": 0, "llamacpp/m": 0, "b": 0, "openai/gpt": None}


def test_a_model_goes_where_it_is() -> None:
    # "c" has to go to the second host, so "a" goes to the first; "b" finds two cells on each.
    hosts_of = {"a": [0, 1], "b": [0, 1], "c": [1]}
    assert place(with_workers(2, 2), {"a": 2, "b": 2, "c": 2}, hosts_of) == {"a": 0, "b": 0, "c": 1}


def test_a_model_is_what_it_is_on_its_host() -> None:
    """Two servers may have other builds under one name."""
    here, there = description("a", digest="here"), description("a", digest="there")
    beside, hosted = description("b"), described("openai/gpt")
    admitted = {"b": {0: beside}, "a": {0: here, 1: there}, "openai/gpt": {0: hosted}}
    models = {name: by_host[0] for name, by_host in admitted.items()}
    placement = with_workers(2, 2)
    cells = cells_of(dict.fromkeys(admitted, 2), models)
    assert placement.place(cells, admitted) == {"b": beside, "a": there, "openai/gpt": hosted}
    assert [placement.host_of(cell) for cell in cells] == [0, 0, 1, 1, None, None]


def test_a_model_that_is_not_on_the_one_host_left_to_it_is_told() -> None:
    with pytest.raises(PreflightError) as caught:
        place(
            with_workers(2, 2),
            {"a": 1, "b": 1, "llamacpp/m": 1},
            {"a": [0], "b": [1], "llamacpp/m": [0]},
        )
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("b ")


@pytest.mark.parametrize(
    ("workers", "served"), [(0, [0]), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (8, [0, 1, 2])]
)
def test_hosts_with_a_worker_are_those_that_will_be_served(workers: int, served: list[int]) -> None:
    assert list(hosts_with_worker(3, workers)) == served
    assert list(with_workers(3, workers).served) == served


def test_hosts_that_run_nothing_are_named_with_the_reason() -> None:
    assert unserved_line(["A"], 0, has_child=True) is None
    assert unserved_line(["A", "B"], 2, has_child=False) is None
    assert unserved_line(["A", "B", "C"], 2, has_child=False) == (
        "not used: C (each host needs a worker of its own, give -n 3)"
    )
    assert unserved_line(["A", "B"], 2, has_child=True) == (
        "not used: B (beside llama.cpp everything local runs on the first host)"
    )

"""Reads what an MLflow server holds through its raw REST API, not through our client."""

from __future__ import annotations

from typing import Any

import httpx

Json = dict[str, Any]


def call(url: str, method: str, path: str, **given: Any) -> Json:
    """Make one call below ``/api/2.0/mlflow``."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.request(method, f"{url}/api/2.0/mlflow{path}", **given)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def runs_of(url: str, experiment: str = "tip-bench") -> list[Json]:
    """Return all runs of the experiment, deleted ones too; tags, params and metrics as dicts."""
    found = call(url, "GET", "/experiments/get-by-name", params={"experiment_name": experiment})
    query = {
        "experiment_ids": [found["experiment"]["experiment_id"]],
        "max_results": 1000,
        "run_view_type": "ALL",
    }
    return [
        {
            "run_id": run["info"]["run_id"],
            "name": run["info"]["run_name"],
            "status": run["info"]["status"],
            **{
                kind: {each["key"]: each["value"] for each in run["data"].get(kind, ())}
                for kind in ("tags", "params", "metrics")
            },
        }
        for run in call(url, "POST", "/runs/search", json=query).get("runs", [])
    ]


def has_experiment(url: str, experiment: str) -> bool:
    """Say whether the server knows the experiment."""
    query = {"max_results": 1000, "view_type": "ALL"}
    found = call(url, "POST", "/experiments/search", json=query)
    return experiment in [each["name"] for each in found["experiments"]]


def of_kind(runs: list[Json], kind: str) -> list[Json]:
    """Return the runs that are cells, sessions or judgings."""
    return [run for run in runs if run["tags"].get("tipbench.kind") == kind]


def artifact_names(url: str, run: Json) -> set[str]:
    """Return the names of the run's artifacts."""
    listed = call(url, "GET", "/artifacts/list", params={"run_id": run["run_id"]})
    return {each["path"] for each in listed.get("files", ())}


def artifact(url: str, run: Json, name: str) -> str:
    """Return the text of one of the run's artifacts, as the UI downloads it."""
    query = {"path": name, "run_uuid": run["run_id"]}
    with httpx.Client(trust_env=False, timeout=60) as client:
        answer = client.get(f"{url}/get-artifact", params=query)
    assert answer.status_code == 200, answer.text
    return answer.content.decode("utf-8")

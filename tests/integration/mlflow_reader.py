"""Prints, as JSON, what MLflow's own client sees of an experiment: a script for a child process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient


def main(uri: str, experiment: str) -> None:
    """Read every run, with its artifacts' texts."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = []
    for run in client.search_runs([found.experiment_id]):
        artifacts = {}
        with TemporaryDirectory() as folder:
            for listed in client.list_artifacts(run.info.run_id):
                path = client.download_artifacts(run.info.run_id, listed.path, folder)
                artifacts[listed.path] = Path(path).read_bytes().decode("utf-8")
        runs.append(
            {
                "run_id": run.info.run_id,
                "name": run.info.run_name,
                "status": run.info.status,
                "start_time": run.info.start_time,
                "end_time": run.info.end_time,
                "params": run.data.params,
                "metrics": run.data.metrics,
                "tags": run.data.tags,
                "artifacts": artifacts,
            }
        )
    json.dump(runs, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])

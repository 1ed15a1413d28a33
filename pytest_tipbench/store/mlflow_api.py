"""Owns an MLflow server's experiments, runs and artifacts as calls; imports store.mlflow_* only.

Every value it is given fits MLflow's fields already. It knows nothing of records.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from pytest_tipbench.errors import TrackingRefusedError
from pytest_tipbench.store import mlflow_values
from pytest_tipbench.store.mlflow_errors import (
    ALREADY_EXISTS,
    NOT_FOUND,
    NOT_SERVED,
    RefusalError,
    UnansweredError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_tipbench.store.mlflow_client import MlflowClient

Json = dict[str, Any]

DELIVERED_AT_METRIC = "tipbench.delivered_at"
"""Unix seconds by the server's clock: what a later pull asks for, whatever the run's own times."""
PAGE_SIZE = 500
ARTIFACT_PATIENCE_SECONDS = 3.0
_LONGEST_EXPERIMENT_NAME = 500


class ArtifactTroubleError(ValueError):
    """The server fails to give an artifact; another time it may."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as the server has it."""

    run_id: str
    name: str
    artifact_uri: str
    is_running: bool
    is_deleted: bool
    tags: Mapping[str, str]
    delivered_at: float | None
    """None where not everything has been written yet."""
    newest_metric_ms: int
    """The latest timestamp of a metric; what is to count as newer needs a later one."""

    @classmethod
    def of(cls, answer: Json) -> TrackedRun:
        """Read MLflow's JSON of a run."""
        info, data = answer["info"], answer.get("data", {})
        metrics = {metric["key"]: metric for metric in data.get("metrics", ())}
        delivered = metrics.get(DELIVERED_AT_METRIC)
        return cls(
            run_id=info["run_id"],
            name=info.get("run_name", ""),
            artifact_uri=info.get("artifact_uri", ""),
            is_running=info.get("status") == "RUNNING",
            is_deleted=info.get("lifecycle_stage") == "deleted",
            tags={tag["key"]: tag.get("value", "") for tag in data.get("tags", ())},
            delivered_at=float(delivered["value"]) if delivered else None,
            newest_metric_ms=max((int(m["timestamp"]) for m in metrics.values()), default=0),
        )


@dataclass(frozen=True)
class TrackedExperiment:
    """An experiment as the server has it."""

    experiment_id: str
    is_deleted: bool


class MlflowApi:
    """The experiments and runs of one server, with what is known of them."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self._experiment_ids: dict[str, str] = {}
        self._serves_artifacts = True

    # --- experiments --------------------------------------------------------------------------

    def experiment(
        self, name: str, *, patience_seconds: float | None = None
    ) -> TrackedExperiment | None:
        """Look up an experiment, deleted or not; None where there is none."""
        if not (0 < len(name) <= _LONGEST_EXPERIMENT_NAME and mlflow_values.is_storable(name)):
            raise TrackingRefusedError(
                f"{name!r} cannot be an MLflow experiment's name: 1 to {_LONGEST_EXPERIMENT_NAME} "
                "characters of valid Unicode"
            )
        try:
            answer = self.client.call(
                "GET",
                "/experiments/get-by-name",
                params={"experiment_name": name},
                patience_seconds=patience_seconds,
            )
        except RefusalError as error:
            if error.error_code == NOT_FOUND:
                return None
            raise
        found = answer["experiment"]
        return TrackedExperiment(
            found["experiment_id"], is_deleted=found.get("lifecycle_stage") == "deleted"
        )

    def experiment_to_write(self, name: str) -> str:
        """Return the experiment's id; make it, or restore it where somebody has deleted it."""
        if name not in self._experiment_ids:
            found = self.experiment(name)
            if found is None:
                found = self._created_experiment(name)
            if found.is_deleted:
                self._restore_experiment(name, found.experiment_id)
            self._experiment_ids[name] = found.experiment_id
        return self._experiment_ids[name]

    def _created_experiment(self, name: str) -> TrackedExperiment:
        try:
            answer = self.client.call("POST", "/experiments/create", {"name": name})
            return TrackedExperiment(answer["experiment_id"], is_deleted=False)
        except RefusalError as error:
            found = self.experiment(name) if error.error_code == ALREADY_EXISTS else None
            if found is None:
                raise
            return found  # another session was faster

    def _restore_experiment(self, name: str, experiment_id: str) -> None:
        try:
            self.client.call("POST", "/experiments/restore", {"experiment_id": experiment_id})
        except RefusalError:
            found = self.experiment(name)
            if found is None or found.is_deleted:
                raise

    # --- runs ---------------------------------------------------------------------------------

    def create_run(
        self,
        experiment: str,
        name: str,
        started_ms: int,
        tags: Mapping[str, str],
        find: Callable[[], TrackedRun | None],
    ) -> TrackedRun:
        """Make a run; ``find`` looks for it after a try that may have been applied."""
        try:
            return self._created_run(
                self.experiment_to_write(experiment), name, started_ms, tags, find
            )
        except RefusalError as error:
            if not (error.error_code == NOT_FOUND or says_deleted(error)):
                raise
            self._experiment_ids.pop(experiment, None)  # deleted since we looked
            return self._created_run(
                self.experiment_to_write(experiment), name, started_ms, tags, find
            )

    def _created_run(
        self,
        experiment_id: str,
        name: str,
        started_ms: int,
        tags: Mapping[str, str],
        find: Callable[[], TrackedRun | None],
    ) -> TrackedRun:
        made = self.client.create(
            "/runs/create",
            {
                "experiment_id": experiment_id,
                "run_name": name,
                "start_time": started_ms,
                "tags": _pairs(tags),
            },
            find,
        )
        return made if isinstance(made, TrackedRun) else TrackedRun.of(made["run"])

    def find_run(self, experiment: str, tags: Mapping[str, str]) -> TrackedRun | None:
        """Return the run that has these tags: a finished one first, a deleted one last."""
        answer = self.client.call(
            "POST",
            "/runs/search",
            {
                "experiment_ids": [self.experiment_to_write(experiment)],
                "filter": " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in tags),
                "run_view_type": "ALL",
                "order_by": ["attributes.start_time ASC"],
                "max_results": 100,
            },
        )
        found = [TrackedRun.of(run) for run in answer.get("runs", ())]
        return min(found, key=lambda run: (run.is_deleted, run.is_running), default=None)

    def run(self, run_id: str) -> TrackedRun | None:
        """Return a run as it is now; None where there is none, or somebody has deleted it."""
        try:
            answer = self.client.call("GET", "/runs/get", params={"run_id": run_id})
        except RefusalError as error:
            if error.error_code == NOT_FOUND:
                return None
            raise
        found = TrackedRun.of(answer["run"])
        return None if found.is_deleted else found

    def delivered_runs(self, experiment_id: str, since: float) -> Iterator[TrackedRun]:
        """Yield the runs that bear our mark of having been delivered at ``since`` or later.

        In the order of start, as page tokens are offsets: a run that is delivered meanwhile makes
        one come twice, and none get lost. Ordering by the mark itself costs the server 5 times as
        much.
        """
        query: Json = {
            "experiment_ids": [experiment_id],
            "filter": f"metrics.`{DELIVERED_AT_METRIC}` >= {since:.3f}",
            "order_by": ["attributes.start_time ASC"],
            "max_results": PAGE_SIZE,
        }
        while True:
            answer = self.client.call("POST", "/runs/search", query)
            yield from map(TrackedRun.of, answer.get("runs", ()))
            token = answer.get("next_page_token")
            if not token:
                return
            query["page_token"] = token

    def log(
        self,
        run_id: str,
        timestamp_ms: int,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        delivered: bool = False,
    ) -> None:
        """Log everything in as few batches as MLflow's limits allow, the metrics last.

        With ``delivered`` the run gets the mark that later pulls ask for.
        """
        *earlier, last = list(
            zip_longest(
                mlflow_values.batches(tags, mlflow_values.BATCH_TAG_LIMIT),
                mlflow_values.batches(params or {}, mlflow_values.BATCH_PARAM_LIMIT),
            )
        ) or [({}, {})]
        for batch_tags, batch_params in earlier:
            self._log_batch(run_id, [], batch_tags, batch_params)
        points = [
            {"key": key, "value": value, "timestamp": timestamp_ms, "step": 0}
            for key, value in metrics.items()
        ]
        while len(points) > mlflow_values.BATCH_METRIC_LIMIT:
            self._log_batch(run_id, points[: mlflow_values.BATCH_METRIC_LIMIT], {}, {})
            del points[: mlflow_values.BATCH_METRIC_LIMIT]
        if delivered:
            now = self.client.server_time()
            points.append(
                {
                    "key": DELIVERED_AT_METRIC,
                    "value": round(now, 3),
                    "timestamp": int(now * 1000),
                    "step": 0,
                }
            )
        self._log_batch(run_id, points, *last)

    def _log_batch(
        self,
        run_id: str,
        points: list[Json],
        tags: Mapping[str, str] | None,
        params: Mapping[str, str] | None,
    ) -> None:
        self.client.call(
            "POST",
            "/runs/log-batch",
            {
                "run_id": run_id,
                "metrics": points,
                "params": _pairs(params or {}),
                "tags": _pairs(tags or {}),
            },
        )

    def end_run(self, run_id: str, status: str, ended_ms: int) -> None:
        """Set a run's final status (``FINISHED``, ``FAILED``) and its end."""
        self.client.call(
            "POST", "/runs/update", {"run_id": run_id, "status": status, "end_time": ended_ms}
        )

    # --- artifacts ----------------------------------------------------------------------------

    def write_artifacts(self, run: TrackedRun, artifacts: Mapping[str, str]) -> dict[str, str]:
        """Upload the artifacts where the server proxies them.

        Returns:
            The tags ``artifact:NAME`` that are still to be logged, where it does not.
        """
        tags: dict[str, str] = {}
        for name, text in artifacts.items():
            if not self._uploaded(run, name, text):
                key = artifact_tag(name)
                parts = mlflow_values.split(key, mlflow_values.storable(text))
                tags |= mlflow_values.blanked(parts, run.tags)
        return tags

    def _uploaded(self, run: TrackedRun, name: str, text: str) -> bool:
        path = self._artifact_path(run, name)
        if path is None or not self._serves_artifacts:
            return False
        try:
            self.client.put_artifact(path, text.encode("utf-8", "backslashreplace"))
        except RefusalError as error:
            if error.error_code != NOT_SERVED:
                raise
            self._serves_artifacts = False
            return False
        return True

    def artifact_reader(self, run: TrackedRun) -> Callable[[str], str]:
        """Return the function that reads the run's artifacts by name."""
        return functools.partial(self.read_artifact, run)

    def read_artifact(self, run: TrackedRun, name: str) -> str:
        """Return an artifact's text, from its tags or from the server.

        Raises:
            ArtifactTroubleError: the server has it, or ought to, and fails to give it.
            ValueError: there is none, or it is not UTF-8.
        """
        text = mlflow_values.join(artifact_tag(name), run.tags)
        if text is not None:
            return text
        path = self._artifact_path(run, name)
        if path is None:
            raise ValueError(f"it has no artifact {name}")
        try:
            content = self.client.get_artifact(path, patience_seconds=ARTIFACT_PATIENCE_SECONDS)
        except RefusalError as error:
            if error.status == 404 or error.error_code == NOT_SERVED:
                raise ValueError(f"its artifact {name} cannot be had: {error}") from error
            raise
        except UnansweredError as error:
            if error.status == 500:  # MLflow 2 says so of a missing file, too
                raise ArtifactTroubleError(f"its artifact {name} cannot be had: {error}") from error
            raise
        return content.decode("utf-8")

    def _artifact_path(self, run: TrackedRun, name: str) -> str | None:
        """Return the path under the server's artifact route; None where it does not proxy them."""
        uri = urlsplit(run.artifact_uri)
        own_host = urlsplit(self.client.settings.url).netloc
        if uri.scheme != "mlflow-artifacts" or uri.netloc not in ("", own_host):
            return None
        return quote(f"{uri.path.strip('/')}/{name}")


def artifact_tag(name: str) -> str:
    """Return the tag that stands for an artifact that cannot be uploaded."""
    return f"artifact:{name}"


def says_deleted(error: RefusalError) -> bool:
    """Say whether a write was refused because the run or its experiment is deleted."""
    return error.status == 400 and "must be in the 'active' state" in error.detail


def _pairs(values: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": value} for key, value in values.items()]

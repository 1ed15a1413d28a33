"""Owns the tracking store over MLflow's REST API; imports records, store.base and store.mlflow_*.

A run is made in three calls (create, log-batch, update) and one for each real artifact. It counts
as delivered when all is written; one that was left half-made is found by its id and completed.
Every write may be repeated.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_tipbench import __version__
from pytest_tipbench.store import mlflow_runs, mlflow_values
from pytest_tipbench.store.base import Pulled
from pytest_tipbench.store.mlflow_api import (
    ArtifactTroubleError,
    MlflowApi,
    TrackedRun,
    says_deleted,
)
from pytest_tipbench.store.mlflow_client import MlflowClient
from pytest_tipbench.store.mlflow_errors import RefusalError
from pytest_tipbench.store.mlflow_settings import read_client_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_tipbench.judgement_records import ApplyRecord, Judgement
    from pytest_tipbench.records import RunRecord, SessionRecord
    from pytest_tipbench.store.base import RunScores
    from pytest_tipbench.store.mlflow_runs import LatePayload, RunPayload

IMPATIENCE_SECONDS = 3.0
"""How long the first call that a person waits for is tried again."""
CHECK_DEADLINE_SECONDS = 10.0
OVERLAP_SECONDS = 300.0
"""A pull asks again for what came this long before the last one.

A run bears the time just before it was written, and that write may be tried again for a while.
"""


class MlflowStore:
    """The runs, judgements and sessions of an MLflow server: a ``TrackingStore``.

    Args:
        uri: ``http(s)://[user:password@]host[:port][/prefix]``.
        host_header: sent as ``Host``, for a server that does not accept its own address.
        keep_alive: True for a server of one worker; None measures which way is faster.
        environ: MLflow's own variables are read from it.
        user: MLflow's user of the runs; None = the login name.

    Raises:
        UserMistakeError: the URI is no server's address, or a variable has an impossible value.
    """

    def __init__(
        self,
        uri: str,
        *,
        host_header: str | None = None,
        keep_alive: bool | None = None,
        environ: Mapping[str, str] = os.environ,
        user: str | None = None,
    ) -> None:
        settings = read_client_settings(uri, host_header=host_header, environ=environ)
        self.url = settings.url
        """The server's address, without credentials."""
        self._client = MlflowClient(settings, keep_alive=keep_alive)
        self._api = MlflowApi(self._client)
        self._source = {"mlflow.source.name": "pytest-tipbench", "mlflow.source.type": "LOCAL"}
        if user := user or _login_name():
            self._source["mlflow.user"] = user
        self._made: dict[str, TrackedRun] = {}

    def check(self) -> str:
        """Prove that the server takes our calls; return its version (``unknown`` if it is shy)."""
        self._client.call(
            "POST",
            "/experiments/search",
            {"max_results": 1},
            patience_seconds=IMPATIENCE_SECONDS,
            deadline_seconds=CHECK_DEADLINE_SECONDS,
        )
        return self._client.version()

    def runs_page(self, experiment: str) -> str:
        """Return where the UI lists the experiment's runs; it is made if it does not exist."""
        return f"{self.url}/#/experiments/{self._api.experiment_to_write(experiment)}/runs"

    def put_session(self, session: SessionRecord, *, may_exist: bool) -> str:
        """Make the parent run of a session's cells."""
        payload = mlflow_runs.session_payload(session, self._source_of(session))
        return self._put(payload, may_exist=may_exist).run_id

    def finish_session(
        self, tracking_run_id: str, board_text: str, metrics: Mapping[str, float], *, failed: bool
    ) -> None:
        """Attach the board as ``board.txt`` to the parent run and end it."""
        payload = mlflow_runs.board_payload(board_text, metrics)
        run = self._api.run(tracking_run_id)
        self._add(run, payload, status="FAILED" if failed else "FINISHED")

    def put_run(
        self,
        record: RunRecord,
        parent: str | None,
        *,
        session: SessionRecord | None = None,
        may_exist: bool,
    ) -> str:
        """Make a cell's run, whole and finished; its machine's fault makes it ``FAILED``."""
        payload = mlflow_runs.cell_payload(record, parent, self._source_of(session))
        run = self._put(payload, may_exist=may_exist)
        self._made[run.run_id] = replace(run, tags={})  # its tags weigh kilobytes
        return run.run_id

    def put_scores(self, tracking_run_id: str, scores: RunScores) -> None:
        """Write the scores as they are now; a run that a person has deleted takes none."""
        run = self._made.pop(tracking_run_id, None) or self._api.run(tracking_run_id)
        self._add(run, mlflow_runs.scores_payload(scores))

    def put_apply(
        self, apply: ApplyRecord, judgements: Sequence[Judgement], *, may_exist: bool
    ) -> str:
        """Make the judging run of one applied sheet, with its judgements for others to pull."""
        payload = mlflow_runs.apply_payload(apply, judgements, self._source)
        return self._put(payload, may_exist=may_exist).run_id

    def pull(self, experiment: str, cursor: str | None) -> Pulled:
        """Read what was delivered since ``cursor``, by the server's clock, whoever delivered it.

        What came shortly before comes again. Another version of this package starts anew, as it may
        read what this one could not. A deleted experiment is said in ``unreadable``.
        """
        found = self._api.experiment(experiment, patience_seconds=IMPATIENCE_SECONDS)
        if found is None:
            return Pulled(cursor=cursor or "")
        if found.is_deleted:
            said = (
                f"experiment {experiment!r} is deleted on {self.url}; to restore it: "
                f"mlflow experiments restore --experiment-id {found.experiment_id}"
            )
            return Pulled(cursor=cursor or "", unreadable=(said,))
        now = self._client.server_time()
        since = _since(cursor, found.experiment_id)
        pulled = _Pull(self._api)
        for run in self._api.delivered_runs(found.experiment_id, since):
            pulled.add(run)
        return pulled.result(_cursor(found.experiment_id, since=max(now - OVERLAP_SECONDS, since)))

    def close(self) -> None:
        """Close the connection; may be called twice, and ends a wait in another thread."""
        self._client.close()

    def _put(self, payload: RunPayload, *, may_exist: bool) -> TrackedRun:
        identity = {key: payload.tags[key] for key in payload.identity}

        def find() -> TrackedRun | None:
            return self._api.find_run(payload.experiment, identity)

        run = find() if may_exist else None
        if run is None:
            run = self._api.create_run(
                payload.experiment, payload.name, payload.started_ms, payload.tags, find
            )
        still_to_end = payload.ended_ms is not None and run.is_running
        if run.is_deleted or (run.delivered_at is not None and not still_to_end):
            return run
        self._api.log(
            run.run_id,
            payload.ended_ms or payload.started_ms,
            metrics=payload.metrics,
            tags=self._api.write_artifacts(run, payload.artifacts),
            params=payload.params,
            delivered=True,
        )
        if payload.ended_ms is not None:
            self._api.end_run(run.run_id, payload.status, payload.ended_ms)
        return run

    def _add(self, run: TrackedRun | None, payload: LatePayload, status: str | None = None) -> None:
        """Add to a run, and end it with the status; nothing where a person has deleted it."""
        if run is None:
            return
        # MLflow shows the value of the largest timestamp, so a later one must have a larger one.
        now_ms = max(int(self._client.server_time() * 1000), run.newest_metric_ms + 1)
        try:
            tags = {**payload.tags, **self._api.write_artifacts(run, payload.artifacts)}
            self._api.log(run.run_id, now_ms, metrics=payload.metrics, tags=tags)
            if status is not None:
                self._api.end_run(run.run_id, status, now_ms)
        except RefusalError as error:
            if not says_deleted(error):
                raise

    def _source_of(self, session: SessionRecord | None) -> dict[str, str]:
        """Return MLflow's own tags on who ran what; the git commit is the session's."""
        commit = session.environment.get("git_commit") if session is not None else None
        return {**self._source, "mlflow.source.git.commit": commit} if commit else self._source


class _Pull:
    """What one pull has read so far; of a record that is there twice, the first run counts."""

    def __init__(self, api: MlflowApi) -> None:
        self.is_whole = True
        """False where the server failed to give something that another pull may get."""
        self._api = api
        self._runs: dict[str, RunRecord] = {}
        self._copies: dict[str, list[tuple[float, str]]] = {}
        self._judgements: dict[str, Judgement] = {}
        self._applies: dict[str, ApplyRecord] = {}
        self._sessions: dict[str, SessionRecord] = {}
        self._unreadable: list[str] = []

    def add(self, run: TrackedRun) -> None:
        kind = run.tags.get(mlflow_runs.KIND_TAG)
        read_artifact = self._api.artifact_reader(run)
        try:
            if kind == "session":
                session = mlflow_runs.read_session(run.tags)
                self._sessions[session.session_id] = session
            elif run.is_running:
                pass  # still being written; it comes again when it is whole
            elif kind == "cell":
                record = mlflow_runs.read_cell(run.tags, read_artifact)
                self._runs[record.run_id] = record
                copies = self._copies.setdefault(record.run_id, [])
                copies.append((run.delivered_at or 0.0, run.run_id))
            elif kind == "judging":
                apply, judgements = mlflow_runs.read_apply(run.tags, read_artifact)
                self._applies[apply.apply_id] = apply
                self._judgements |= {each.judgement_id: each for each in judgements}
            else:
                self._unreadable.append(f"{_named(run)}: of the unknown kind {kind!r}")
        except ValueError as error:
            self.is_whole = self.is_whole and not isinstance(error, ArtifactTroubleError)
            reason = " ".join(str(error).split())
            self._unreadable.append(f"{_named(run)}: {reason[:300]}")

    def result(self, cursor: str) -> Pulled:
        return Pulled(
            cursor=cursor,
            runs=tuple(self._runs.values()),
            tracking_run_ids={run_id: min(copies)[1] for run_id, copies in self._copies.items()},
            judgements=tuple(self._judgements.values()),
            applies=tuple(self._applies.values()),
            sessions=tuple(self._sessions.values()),
            unreadable=tuple(self._unreadable),
        )


def _named(run: TrackedRun) -> str:
    return f"run {run.run_id} ({mlflow_values.storable(run.name)})"


def _cursor(experiment_id: str, *, since: float) -> str:
    return json.dumps([experiment_id, round(since, 3), __version__])


def _since(cursor: str | None, experiment_id: str) -> float:
    """Return the moment a cursor stands for; 0.0 for another experiment's or version's."""
    try:
        known = json.loads(cursor or "null")
    except ValueError:
        return 0.0
    match known:
        case [str(known_id), int() | float() as since, str(version)] if (
            known_id == experiment_id and version == __version__
        ):
            return float(since)
        case _:
            return 0.0


def _login_name() -> str | None:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in some containers
        return None

"""Which pages are run by the integration tests, since they need weights or an MLflow server."""

from __future__ import annotations

from tests.documents import Document

README = Document("README.md")
FIRST_EVALUATION = Document("docs/first-evaluation.md")
MLFLOW = Document("docs/mlflow.md")
RUN_THERE = (README, FIRST_EVALUATION, MLFLOW)

"""The user's project of the acceptance tests, here with real servers and real weights."""

from __future__ import annotations

from tests.acceptance.conftest import project, shared_home

__all__ = ["project", "shared_home"]

"""Owns finding Chromium for the tests, and pages in it that are watched for whatever they do wrong.

Use it as a plugin of a test module: ``pytest_plugins = ["tests.integration.browser"]``.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Yield the installed Chromium, headless; without one, skip the test that asked.

    One for each module: while Playwright runs, its event loop is the thread's running one.
    """
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip(f"no Chromium on the PATH (looked for {', '.join(NAMES)})")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield browser
        browser.close()


class OpenPage(Protocol):
    """Opens a file in a browser profile of its own, or beside the pages of another one."""

    def __call__(
        self,
        path: Path,
        *,
        context: BrowserContext | None = None,
        width: int = 1440,
        height: int = 900,
        color_scheme: Literal["light", "dark"] = "light",
        **options: Any,
    ) -> Page: ...


@pytest.fixture
def problems() -> list[str]:
    """Return what the test's pages did that no page may: empty it where the test provokes it."""
    return []


@pytest.fixture
def open_page(chromium: Browser, problems: list[str]) -> Iterator[OpenPage]:
    """Yield a function that opens a file; at the end no page may have done anything wrong.

    Wrong is: an error or a word on the console, a dialog, a request for anything but the file.
    """
    contexts: list[BrowserContext] = []

    def open_file(
        path: Path,
        *,
        context: BrowserContext | None = None,
        width: int = 1440,
        height: int = 900,
        color_scheme: Literal["light", "dark"] = "light",
        **options: Any,
    ) -> Page:
        if context is None:
            context = chromium.new_context(
                viewport={"width": width, "height": height}, color_scheme=color_scheme, **options
            )
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        _watch(page, path.as_uri(), problems)
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert problems == []


def _watch(page: Page, address: str, problems: list[str]) -> None:
    def on_request(request: Any) -> None:
        # What a page saves is a `blob:` of its own, which leaves the browser for the disk alone.
        if request.url != address and not request.url.startswith("blob:"):
            problems.append(f"request: {request.url}")

    def on_dialog(dialog: Any) -> None:
        problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("request", on_request)
    page.on("dialog", on_dialog)
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))

"""What a service of the tests says of its faults, which a caller isn't told."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.integration.head_node import HeadNode


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows the last of the replicas' logs."""
    report = yield
    node = getattr(item, "funcargs", {}).get("head_node")
    if report.failed and isinstance(node, HeadNode):
        for log in sorted((node.folder / "session_latest" / "logs" / "serve").glob("*.log")):
            report.sections.append((f"{log.name}, its end", log.read_text(encoding="utf-8", errors="replace")[-4000:]))
    return report

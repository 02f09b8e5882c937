from collections.abc import Generator

import pytest

from tests.evaluate.judge.server import JudgeServer, judging


@pytest.fixture
def judge() -> Generator[JudgeServer]:
    """A judge of this test's own."""
    with judging() as server:
        yield server

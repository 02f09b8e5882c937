"""Topologies are read, and what isn't one is refused in a line."""

import pytest

from tinyjax.errors import UserError
from tinyjax.planning.target import parse_topology


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("v5e:2x2", ("v5e", (2, 2))), ("v6e:16x16", ("v6e", (16, 16))), ("tpu7x:2x2x1", ("tpu7x", (2, 2, 1)))],
)
def test_a_topology_is_a_generation_and_its_sides(text: str, parsed: tuple):
    assert parse_topology(text) == parsed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no ''; give one of v4, v5e, v5p, v6e, tpu7x"),
        ("v9:2x2", "there is no 'v9'; give one of v4, v5e, v5p, v6e, tpu7x"),
        ("v5e", "'' isn't the chips along the 2 sides of a v5e; write it as in v5e:2x2"),
        ("v5e:2x2x2", "'2x2x2' isn't the chips along the 2 sides of a v5e; write it as in v5e:2x2"),
        ("v5p:8", "'8' isn't the chips along the 3 sides of a v5p; write it as in v5p:2x2x1"),
        ("v5e:0x2", "'0x2' isn't the chips"),
        ("v5e:2xtwo", "'2xtwo' isn't the chips"),
    ],
)
def test_what_is_no_topology_is_refused(text: str, said: str):
    with pytest.raises(UserError, match=said.replace("(", r"\(")) as error:
        parse_topology(text)
    assert "\n" not in str(error.value)

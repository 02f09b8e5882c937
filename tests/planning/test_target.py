"""Topologies are read, and what isn't one is refused in a line."""

import pytest

from tinyjax.config import MeshConfig
from tinyjax.errors import UserError
from tinyjax.parallel.sharding import make_mesh
from tinyjax.planning.target import find_target, parse_topology


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


@pytest.mark.slow
def test_a_mesh_may_split_the_sides_of_a_topology():
    pytest.importorskip("libtpu", reason="libtpu describes the chips; it is in the extra [tpu]")
    mesh = make_mesh(MeshConfig(fsdp=16, tensor=2), find_target("v6e:16x16").devices)
    assert dict(mesh.shape) == {"replica": 8, "fsdp": 16, "sequence": 1, "tensor": 2}

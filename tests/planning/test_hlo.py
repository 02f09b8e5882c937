"""Programs are read as XLA writes them: sizes with padding, loops, and what stays on the chip."""

import pytest

from tests.planning.programs import LOOP
from tinyjax.planning.hlo import Array, parse, runs


@pytest.mark.parametrize(
    ("array", "size"),
    [
        (Array("f32", (3, 5), ""), 60),
        (Array("f32", (), ":T(128)"), 4),
        (Array("bf16", (512, 48), "1,0:T(8,128)(2,1)"), 512 * 128 * 2),  # lanes beyond 48 are padding
        (Array("bf16", (512, 48), "0,1:T(8,128)(2,1)"), 512 * 48 * 2),
        (Array("f32", (4, 3, 130), "2,1,0:T(8,128)"), 4 * 8 * 256 * 4),
        (Array("f32", (4, 32, 512, 1), "2,1,3,0:T(8,128)"), 4 * 32 * 512 * 4),
        (Array("f32", (700,), "0:T(1024)"), 4096),
        (Array("pred", (8, 128), "1,0:T(8,128)(4,1)"), 1024),
        (Array("s4", (8, 128), "1,0:T(8,128)(8,1)"), 512),
        (Array("f8e4m3fn", (8, 128), "1,0"), 1024),
        (Array("token", (), ""), 0),
    ],
)
def test_the_size_of_an_array_counts_whole_tiles(array: Array, size: int):
    assert array.bytes == size


def test_memory_spaces_other_than_0_are_on_the_chip():
    assert Array("f32", (8, 128), "1,0:T(8,128)S(1)").on_chip
    assert Array("f32", (8, 128), "1,0:T(8,128)S(1)").hbm_bytes == 0
    assert not Array("f32", (8, 128), "1,0:T(8,128)").on_chip
    assert not Array("f32", (8, 128), "1,0:T(8,128)S(0)").on_chip


def test_a_program_is_read_with_its_tuples_comments_and_attributes():
    program = parse(LOOP)
    assert program.entry == "main"
    assert program.aliases == 2
    loop = program.computations["main"]["loop"]
    assert (loop.opcode, loop.operands) == ("while", ("start",))
    assert [array.shape for array in loop.arrays] == [(), (8, 128), (4, 8, 128)]
    assert loop.called("body") == ["body"]
    assert program.computations["body"]["new"].is_root
    assert program.computations["condition"]["bound"].literal == "4"


def test_a_loop_runs_as_often_as_its_condition_says_and_branches_share():
    assert runs(parse(LOOP)) == {
        "main": 1, "body": 4, "fused": 4, "even": 2, "odd": 2, "double": 4,
    }  # fmt: skip

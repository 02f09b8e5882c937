"""Collectives are told by the mesh axes they go over, and what each device sends."""

import numpy as np
import pytest

from tests.planning.programs import LOOP
from tinyjax.planning.collectives import Collective, collectives, groups, spanned
from tinyjax.planning.hlo import Array, Instruction, parse

MESH = {"replica": 2, "fsdp": 4, "sequence": 1, "tensor": 2}


def read(attributes: str) -> np.ndarray:
    instruction = Instruction(
        "x", (Array("f32", (), ""),), "all-reduce", (), f", {attributes}, to_apply=%a", "", False
    )
    return groups(instruction, 16)


@pytest.mark.parametrize(
    ("attributes", "axes", "members"),
    [
        ("replica_groups={{0,2,4,6},{8,10,12,14},{1,3,5,7},{9,11,13,15}}", ("fsdp",), 4),
        ("replica_groups=[8,2]<=[16]", ("tensor",), 2),
        ("replica_groups=[4,4]<=[8,2]T(1,0)", ("fsdp",), 4),
        ("replica_groups=[2,8]<=[8,2]T(1,0)", ("replica", "fsdp"), 8),
        ("replica_groups=[8,2]<=[2,8]T(1,0)", ("replica",), 2),
        ("replica_groups=[1,16]<=[16]", ("replica", "fsdp", "tensor"), 16),
        ("replica_groups=mesh['replica'=2,'fsdp'=4,'tensor'=2] {'replica','fsdp'}", ("replica", "fsdp"), 8),
        ("replica_groups=mesh['axis_0'=8,'axis_1'=2] {'axis_1'}", ("tensor",), 2),
        ("replica_groups=mesh['axis_0'=16] {'axis_0':(2)4}", ("fsdp",), 4),
        ("source_target_pairs={{0,2},{2,4},{4,6},{6,0}}", ("fsdp",), 2),
        ("replica_groups={}", ("replica", "fsdp", "tensor"), 16),
    ],
)  # fmt: skip
def test_groups_are_read_in_all_of_xlas_forms(attributes: str, axes: tuple[str, ...], members: int):
    found = read(attributes)
    assert found.shape[1] == members
    assert spanned(found, MESH) == axes


def test_a_collective_in_a_loop_counts_as_often_as_the_loop_runs():
    tile = 8 * 128 * 4
    assert collectives(parse(LOOP), {"replica": 2, "tensor": 2}) == [
        Collective("all-reduce", ("tensor",), count=4, sent_bytes=4 * tile * 2 * 1 / 2)
    ]


def test_one_that_stands_in_several_fusions_counts_once():
    again = LOOP.replace(
        "%twice = ",
        "%same = f32[8,128]{1,0} all-reduce(%d), channel_id=1, replica_groups=[2,2]<=[4]\n  ROOT %twice = ",
    ).replace("ROOT %same", "%same")
    assert collectives(parse(again), {"replica": 2, "tensor": 2})[0].count == 4

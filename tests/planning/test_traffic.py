"""HBM traffic is what one counts by hand."""

import pytest

from tests.planning.programs import LOOP
from tinyjax.planning.hlo import parse
from tinyjax.planning.traffic import hbm_bytes, rows

TILE = 8 * 128 * 4  # bytes of a float32 tile
SCALAR = 4


def by_name(text: str) -> dict[str, float]:
    return {instruction.name: size for instruction, size in rows(parse(text)) if size}


def test_each_kind_of_instruction_of_a_loop_counts_as_often_as_it_runs():
    assert by_name(LOOP) == {
        "next": 4
        * (3 * TILE + SCALAR),  # the slice, not all of what it is taken from; the other operand; written
        "kept": 2 * 2 * TILE,  # every second time
        "negated": 2 * TILE,  # read; the result stays on the chip
        "doubled": 4 * TILE,
        "sent": 4 * 2 * TILE,
        "begun": TILE,  # copied onto the chip, counted where it starts
    }
    assert hbm_bytes(parse(LOOP)) == sum(by_name(LOOP).values())


FUSIONS = """HloModule f

%inner (n.0: f32[16,8,128], n.1: s32[]) -> f32[1,8,128] {
  %n.0 = f32[16,8,128]{2,1,0:T(8,128)} parameter(0)
  %n.1 = s32[]{:T(128)} parameter(1)
  ROOT %part = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%n.0, %n.1), dynamic_slice_sizes={1,8,128}
}

%renamed (m: f32[8,128]) -> f32[1,8,128] {
  %m = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %other = f32[1,8,128]{2,1,0:T(8,128)} bitcast(%m)
}

%outer (q.0: f32[16,8,128], q.1: s32[], q.2: f32[16,8,128], q.3: f32[8,128]) -> f32[16,8,128] {
  %q.0 = f32[16,8,128]{2,1,0:T(8,128)} parameter(0)
  %q.1 = s32[]{:T(128)} parameter(1)
  %taken = f32[1,8,128]{2,1,0:T(8,128)} fusion(%q.0, %q.1), kind=kLoop, calls=%inner
  %q.2 = f32[16,8,128]{2,1,0:T(8,128)} parameter(2)
  %q.3 = f32[8,128]{1,0:T(8,128)} parameter(3)
  %whole = f32[1,8,128]{2,1,0:T(8,128)} fusion(%q.3), kind=kLoop, calls=%renamed
  %both = f32[1,8,128]{2,1,0:T(8,128)} add(%taken, %whole)
  ROOT %put = f32[16,8,128]{2,1,0:T(8,128)} dynamic-update-slice(%q.2, %both, %q.1)
}

ENTRY %main (a: f32[16,8,128], b: s32[], c: f32[16,8,128], d: f32[8,128]) -> f32[16,8,128] {
  %a = f32[16,8,128]{2,1,0:T(8,128)} parameter(0)
  %b = s32[]{:T(128)} parameter(1)
  %c = f32[16,8,128]{2,1,0:T(8,128)} parameter(2)
  %d = f32[8,128]{1,0:T(8,128)} parameter(3)
  %f = f32[16,8,128]{2,1,0:T(8,128)} fusion(%a, %b, %c, %d), kind=kLoop, calls=%outer
  %begun = ((f32[16,8,128]{2,1,0:T(8,128)}), f32[2,8,128]{2,1,0:T(8,128)S(1)}, s32[]{:S(2)}) slice-start(%f), slice={[0:2], [0:8], [0:128]}
  %end = f32[2,8,128]{2,1,0:T(8,128)S(1)} slice-done(%begun)
  %kernel = (f32[8,128]{1,0:T(8,128)}, f32[8,128]{1,0:T(8,128)S(1)}) custom-call(%d, %end), custom_call_target="tpu_custom_call"
  %nothing = f32[16,8,128]{2,1,0:T(8,128)} custom-call(), custom_call_target="AllocateBuffer"
  ROOT %g = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%f, %b), dynamic_slice_sizes={1,8,128}
}
"""  # noqa: E501


def test_slices_and_updates_within_fusions_count_by_their_parts():
    assert by_name(FUSIONS) == {
        "f": TILE + SCALAR + 0 + TILE + TILE,  # sliced, index, updated in place, read whole; the update
        "begun": 2 * TILE,
        "kernel": 2 * TILE,
        "g": 2 * TILE,
    }


def test_what_a_fusion_reads_whole_elsewhere_counts_whole():
    text = FUSIONS.replace("add(%taken, %whole)", "add(%taken, %q.0)")
    assert by_name(text)["f"] == pytest.approx(16 * TILE + SCALAR + TILE + TILE)

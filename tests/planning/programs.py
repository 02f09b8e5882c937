"""A program as XLA writes it, small enough to be counted by hand."""

LOOP = """HloModule jit_f, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias), {1}: (1, {}, must-alias) }

%fused (p.0: f32[4,8,128], p.1: s32[], p.2: f32[8,128]) -> f32[8,128] {
  %p.0 = f32[4,8,128]{2,1,0:T(8,128)} parameter(0)
  %p.1 = s32[]{:T(128)} parameter(1)
  %slice = f32[1,8,128]{2,1,0:T(8,128)} dynamic-slice(%p.0, %p.1), dynamic_slice_sizes={1,8,128}
  %row = f32[8,128]{1,0:T(8,128)} bitcast(%slice)
  %p.2 = f32[8,128]{1,0:T(8,128)} parameter(2)
  ROOT %sum = f32[8,128]{1,0:T(8,128)} add(%row, %p.2)
}

%double (d: f32[8,128]) -> f32[8,128] {
  %d = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %twice = f32[8,128]{1,0:T(8,128)} add(%d, %d)
}

%even (e: f32[8,128]) -> f32[8,128] {
  %e = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %kept = f32[8,128]{1,0:T(8,128)} copy(%e)
}

%odd (o: f32[8,128]) -> f32[8,128] {
  %o = f32[8,128]{1,0:T(8,128)} parameter(0)
  ROOT %negated = f32[8,128]{1,0:T(8,128)S(1)} negate(%o)
}

%body (s: (s32[], f32[8,128], f32[4,8,128])) -> (s32[], f32[8,128], f32[4,8,128]) {
  %s = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, /*index=2*/f32[4,8,128]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%s), index=0
  %x = f32[8,128]{1,0:T(8,128)} get-tuple-element(%s), index=1
  %all = f32[4,8,128]{2,1,0:T(8,128)} get-tuple-element(%s), index=2
  %next = f32[8,128]{1,0:T(8,128)} fusion(%all, %i, %x), kind=kLoop, calls=%fused, metadata={op_name="calls=%x"}
  %which = f32[8,128]{1,0:T(8,128)} conditional(%i, %next, %next), branch_computations={%even, %odd}
  %doubled = f32[8,128]{1,0:T(8,128)S(1)} fusion(%which), kind=kLoop, calls=%double
  %sent = f32[8,128]{1,0:T(8,128)} all-reduce(%which), channel_id=1, replica_groups=[2,2]<=[4], to_apply=%none
  ROOT %new = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) tuple(%i, %which, %all)
}

%condition (c: (s32[], f32[8,128], f32[4,8,128])) -> pred[] {
  %c = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) parameter(0)
  %bound = s32[]{:T(128)} constant(4)
  %at = s32[]{:T(128)} get-tuple-element(%c), index=0
  ROOT %below = pred[]{:T(512)} compare(%at, %bound), direction=LT
}

ENTRY %main (a: f32[8,128], b: f32[4,8,128]) -> f32[8,128] {
  %a = f32[8,128]{1,0:T(8,128)} parameter(0), metadata={op_name="a"}
  %b = f32[4,8,128]{2,1,0:T(8,128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %start = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) tuple(%zero, %a, %b)
  %loop = (s32[]{:T(128)}, f32[8,128]{1,0:T(8,128)}, f32[4,8,128]{2,1,0:T(8,128)}) while(%start), condition=%condition, body=%body
  %begun = (f32[8,128]{1,0:T(8,128)S(1)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%a)
  ROOT %done = f32[8,128]{1,0:T(8,128)S(1)} copy-done(%begun)
}
"""  # noqa: E501

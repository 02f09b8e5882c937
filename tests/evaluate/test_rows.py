"""Every piece is in one batch, and few programs serve all lengths."""

import numpy as np
import pytest

from tinyjax.evaluate.rows import batches


@pytest.mark.parametrize(("tokens", "shards"), [(4096, 1), (4096, 3), (300, 8), (1, 1)])
def test_few_programs_serve_all_lengths_and_each_piece_is_in_one_batch(tokens: int, shards: int):
    pieces = [np.arange(length + 1) for length in range(1, 513)]
    told = list(batches(pieces, 512, tokens=tokens, shards=shards))
    shapes = {batch["inputs"].shape for _, batch in told}
    assert {length for _, length in shapes} == {32, 64, 128, 256, 512}
    assert len(shapes) == 5
    assert all(rows % shards == 0 for rows, _ in shapes)
    assert sorted(np.concatenate([chosen for chosen, _ in told])) == list(range(512))
    for chosen, batch in told:
        for row, piece in enumerate(chosen):
            used = batch["segments"][row] > 0
            np.testing.assert_array_equal(batch["inputs"][row][used], pieces[piece][:-1])
            np.testing.assert_array_equal(batch["targets"][row][used], pieces[piece][1:])
        assert not batch["weights"][len(chosen) :].any()

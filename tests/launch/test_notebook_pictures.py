"""What the notebook shows, without a notebook."""

import json
import pathlib
import sys

import numpy as np
import pytest

from launch.notebook import live, pictures
from tinyjax.data.manifests import Prepared


def test_stories_are_text_whatever_is_in_them():
    shown = pictures.story("<i>given", " & told <script>", " given")
    assert "<b>&lt;i&gt;given</b> &amp; told &lt;script&gt;<b> given</b>" in shown


def test_a_line_of_metrics_that_is_being_written_waits(tmp_path: pathlib.Path):
    assert pictures.metrics(tmp_path) == []
    lines = [{"step": step, "bits_per_byte": 2.0 / step} for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    assert pictures.metrics(tmp_path) == lines


def test_a_curve_has_a_line_for_training_and_a_dot_for_a_single_validation():
    assert pictures.curve([]) == ""
    lines = [{"step": step, "bits_per_byte": 2.0 / step} for step in (1, 2, 3)]
    drawn = pictures.curve([*lines, {"step": 3, "validation/bits_per_byte": 0.7}])
    assert drawn.count("<polyline") == 1
    assert drawn.count("<circle") == 1


def test_tokens_are_shown_as_what_they_stand_for(tiny_data: Prepared):
    tokenizer = tiny_data.tokenizer
    ids = [tokenizer.bos_id, *tokenizer.encode("Tom saw\na kite."), tokenizer.eos_id]
    shown = pictures.pieces(tokenizer, np.array(ids))
    assert "".join(shown) == "[start]Tom saw⏎a kite.[end]"


def test_progress_takes_the_place_of_progress_and_other_words_reach_the_screen(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    with live.training(tmp_path):
        print("  4% step 10  loss 3.2", file=sys.stderr)
        print("warning: the disk is slow", file=sys.stderr)
    told = capsys.readouterr()
    assert told.err == "warning: the disk is slow\n"

"""The report of vocabularies says what each size would give, measured on stories it wasn't trained on."""

import dataclasses
import re

import pytest

from tests.conftest import make_stories
from tinyjax.config import ModelConfig
from tinyjax.data.vocabulary import Row, embedding_share, format_rows, report_vocabularies
from tinyjax.errors import UserError
from tinyjax.model import parameters
from tinyjax.tokenizer import train_tokenizer

MODEL = ModelConfig(d_model=64, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=32, d_ff=128)


def test_rows_say_what_each_size_gives(stories):
    small, large = report_vocabularies(stories, [280, 320], MODEL)
    tokenizer = train_tokenizer([text for i, text in enumerate(stories) if i % 10], 280)
    measured = stories[::10]
    tokens = sum(len(tokenizer.encode(text)) + 1 for text in measured)
    assert (small.name, small.pieces, small.changed) == ("280", 280, 0)
    assert small.tokens_per_story == tokens / len(measured)
    assert small.bytes_per_token == sum(len(text.encode()) for text in measured) / tokens
    assert large.pieces == 320
    assert large.tokens_per_story < small.tokens_per_story
    assert large.bytes_per_token > small.bytes_per_token
    assert small.seconds is not None
    assert small.seconds > 0


def test_what_is_measured_was_not_trained_on():
    texts = ["apple pie " * 5 if i % 10 else "zebra quiz " * 5 for i in range(40)]
    (row,) = report_vocabularies(texts, [300], MODEL)
    assert row.bytes_per_token < 1.5


def test_existing_models_are_rows_after_the_sizes(stories, tmp_path):
    train_tokenizer(make_stories(50, seed=9), 300).save(tmp_path / "t.model")
    rows = report_vocabularies(iter(stories), [280], MODEL, paths=[tmp_path / "t.model"])
    assert [(row.name, row.pieces) for row in rows] == [("280", 280), (str(tmp_path / "t.model"), 300)]
    assert rows[1].seconds is None


def test_what_others_models_lose_is_counted(shared_data, stories):
    (row,) = report_vocabularies(
        [f"{text}  " for text in stories], [], MODEL, paths=[shared_data / "llama2c/tok512.model"]
    )
    assert row.changed == 20


@pytest.mark.parametrize("tied", [True, False])
def test_the_embeddings_share_is_the_models_own(tied):
    model = dataclasses.replace(MODEL, tie_embeddings=tied, vocab_size=7)
    counts = parameters.count(dataclasses.replace(model, vocab_size=1024))
    assert embedding_share(1000, model) == counts["embedding"] / counts["total"]
    assert embedding_share(1000, model) == embedding_share(1024, model) < embedding_share(1025, model)


def test_only_so_much_text_is_read():
    read = []

    def endless():
        while True:
            read.append(1)
            yield f"Story {len(read)}. Tom took the ball."

    report_vocabularies(endless(), [270], MODEL, sample_bytes=10_000)
    assert 10_000 / 40 < len(read) < 10_000 / 20


def test_the_table_is_aligned():
    rows = [
        Row("512", 512, 374.48, 2.204, 0.0391, 0.25, 0),
        Row("a/path.model", 32_000, 200.0, 4.1, 0.63, None, 12),
    ]
    lines = format_rows(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert re.split(r"  +", lines[1]) == ["512", "512", "374.5", "2.20", "3.9%", "0.2 s", "0"]
    assert re.split(r"  +", lines[2]) == ["a/path.model", "32,000", "200.0", "4.10", "63.0%", "-", "12"]


def test_too_little_text_and_too_small_a_size(stories):
    with pytest.raises(UserError, match="two stories or more"):
        report_vocabularies(stories[:1], [512], MODEL)
    with pytest.raises(UserError, match="vocabulary of 100 is too small"):
        report_vocabularies(stories, [100], MODEL)

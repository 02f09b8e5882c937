"""Mixtures: exact shares at any point, and folders that don't fit together are refused."""

import dataclasses
import fractions
import math
import pathlib
import shutil
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import VOCAB_SIZE
from tinyjax.data.manifests import Prepared
from tinyjax.data.mixture import Shares, open_mixture, parse_mixture, unique_names, whole_weights
from tinyjax.data.options import Options
from tinyjax.data.prepare import prepare
from tinyjax.errors import UserError

pytestmark = pytest.mark.alone

WEIGHTS = st.lists(st.integers(1, 1000), min_size=1, max_size=6)


@given(WEIGHTS, st.integers(0, 10**9))
def test_each_source_has_its_share_at_any_point(weights: list[int], draws: int):
    counts = Shares(weights).counts(draws)
    assert sum(counts) == draws
    for weight, count in zip(weights, counts, strict=True):
        assert abs(count - draws * fractions.Fraction(weight, sum(weights))) < len(weights)


@given(WEIGHTS)
def test_the_shares_are_exact_after_each_round(weights: list[int]):
    assert Shares(weights).counts(7 * sum(weights)) == [7 * weight for weight in weights]


@given(WEIGHTS, st.integers(0, 10**9))
def test_every_source_is_read_in_order_without_a_gap(weights: list[int], start: int):
    shares = Shares(weights)
    upcoming = shares.counts(start)
    for draw in range(start, start + 50):
        source, index = shares[draw]
        assert index == upcoming[source]
        upcoming[source] += 1


def test_a_late_draw_takes_no_longer():
    start = time.monotonic()
    assert Shares([7, 3])[10**15] == (0, 7 * 10**14)
    assert time.monotonic() - start < 0.1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("data/a", [("data/a", 1)]),
        ("data/a:0.7,data/b:0.3", [("data/a", 0.7), ("data/b", 0.3)]),
        ("gs://a/b:3,gs://c:1e-1", [("gs://a/b", 3), ("gs://c", 0.1)]),
        ("gs://bucket/a", [("gs://bucket/a", 1)]),
        ("runs/12:30/data", [("runs/12:30/data", 1)]),
        ("data/a:x:2", [("data/a:x", 2)]),
        ("data/a:5", [("data/a", 5)]),
    ],
)
def test_paths_and_weights(text: str, parts: list[tuple[str, float]]):
    assert parse_mixture(text) == [(path, fractions.Fraction(str(weight))) for path, weight in parts]


def test_a_folder_with_a_comma_in_its_name_is_one_folder(tmp_path: pathlib.Path):
    (tmp_path / "a,b").mkdir()
    assert parse_mixture(str(tmp_path / "a,b")) == [(str(tmp_path / "a,b"), 1)]


@pytest.mark.parametrize(
    "text", ["a:0.5,b", "a,b", "a:0.5,", "a:0", "a:1,b:-1", "a:nan,b:1", "a:inf,b:1", ":0.5,b:0.5"]
)
def test_what_is_no_mixture_is_refused_with_an_example(text: str):
    with pytest.raises(UserError, match=r"config\.data\.path is '.*needs a path and a weight above 0.*as in"):
        parse_mixture(text)


def test_an_empty_path_is_refused():
    with pytest.raises(UserError, match=r"config\.data\.path is empty; give a folder"):
        parse_mixture("")


@given(st.lists(st.decimals("0.001", "1000", places=3), min_size=1, max_size=5), st.integers(1, 100))
def test_weights_become_the_smallest_whole_numbers_of_the_same_proportions(decimals: list, factor: int):
    weights = [fractions.Fraction(str(decimal)) for decimal in decimals]
    whole = whole_weights(weights)
    assert math.gcd(*whole) == 1
    assert {fractions.Fraction(a) / b for a, b in zip(whole, weights, strict=True)} == {whole[0] / weights[0]}
    assert whole_weights([factor * weight for weight in weights]) == whole


def test_names_are_the_last_components_made_unique():
    assert unique_names(["x/a", "y/a/", "gs://b/a", "c"]) == ["a", "a-2", "a-3", "c"]
    assert unique_names(["a", "a-2", "x/a"]) == ["a", "a-2", "a-3"]


@pytest.fixture(scope="module")
def copy(tiny_data: Prepared, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(tiny_data.path, tmp_path_factory.mktemp("copy") / "copy"))


def test_what_all_sources_share(tiny_data: Prepared, copy: pathlib.Path):
    mixture = open_mixture(f"{tiny_data.path}:0.6,{copy}:0.2")
    windows = len(tiny_data.windows("train"))
    assert [(source.name, source.weight) for source in mixture.sources] == [("tiny_data", 3), ("copy", 1)]
    assert mixture.num_windows == 2 * windows
    assert mixture.tokenizer.sha256 == tiny_data.tokenizer.sha256
    assert mixture.context_length == 64
    assert mixture.bytes_per_token == pytest.approx(tiny_data.manifest["tokenizer"]["bytes_per_token"])
    assert 1 < mixture.sources[0].tokens_per_window <= 64


def test_the_bytes_of_a_token_are_those_of_what_is_drawn(tiny_data: Prepared):
    mixture = open_mixture(f"{tiny_data.path}:3,{tiny_data.path}:1")
    manifest = tiny_data.manifest | {"tokenizer": {"bytes_per_token": 6.0}}
    first = dataclasses.replace(
        mixture.sources[0], prepared=dataclasses.replace(tiny_data, manifest=manifest)
    )
    other = tiny_data.manifest["tokenizer"]["bytes_per_token"]
    mixed = dataclasses.replace(mixture, sources=(first, mixture.sources[1]))
    assert mixed.bytes_per_token == pytest.approx(0.75 * 6 + 0.25 * other)


def test_the_fingerprint_is_of_texts_and_weights_not_of_places(tiny_data: Prepared, copy: pathlib.Path):
    def fingerprint(text: str) -> str:
        return open_mixture(text).fingerprint

    assert fingerprint(str(copy)) == fingerprint(f"{tiny_data.path}:3") == tiny_data.fingerprint
    both = fingerprint(f"{copy}:0.7,{tiny_data.path}:0.3")
    assert both == fingerprint(f"{tiny_data.path}:70,{copy}:30")
    assert both != fingerprint(f"{tiny_data.path}:0.6,{copy}:0.4")
    assert both != fingerprint(f"{tiny_data.path}:0.7,{copy}:0.2,{copy}:0.1")


def test_another_tokenizer_is_refused_by_name(tiny_data: Prepared, stories_file, tmp_path: pathlib.Path):
    prepare(str(stories_file), tmp_path / "other", Options(context_length=64, vocab_size=VOCAB_SIZE))
    with pytest.raises(UserError) as error:
        open_mixture(f"{tiny_data.path}:1,{tmp_path / 'other'}:1")
    assert f"'{tiny_data.path}' and '{tmp_path / 'other'}' have different tokenizers" in str(error.value)
    assert f"--tokenizer={tiny_data.path}" in str(error.value)


def test_another_window_length_is_refused_by_name(tiny_data: Prepared, tmp_path: pathlib.Path):
    other = pathlib.Path(shutil.copytree(tiny_data.path, tmp_path / "other"))
    prepare(tiny_data.manifest["origin"]["source"]["path"], other, Options(context_length=32))
    with pytest.raises(UserError) as error:
        open_mixture(f"{tiny_data.path}:1,{other}:1")
    assert f"'{tiny_data.path}' and '{other}' have windows of 64 and 32 positions" in str(error.value)
    assert "--context_length=64" in str(error.value)

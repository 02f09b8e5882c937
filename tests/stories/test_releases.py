"""The manifest of the public releases says what is published, and pins it."""

import dataclasses
import re

import pytest

from tinyjax.stories.releases import RELEASES, File, Release

ALL = [pytest.param(release, id=name) for name, release in RELEASES.items()]


def test_the_four_releases_are_there_by_name():
    assert list(RELEASES) == ["tinystories-v1", "tinystories-v2", "tinystories-all", "tinystories-instruct"]
    assert all(release.name == name for name, release in RELEASES.items())


@pytest.mark.parametrize("release", ALL)
def test_an_entry_is_whole_and_pinned(release: Release):
    assert re.fullmatch(r"https://\S+/resolve/[0-9a-f]{40}", release.url)
    assert re.fullmatch(r"\d+\.\d+\.\d+", release.version)
    assert release.licence
    assert release.description
    assert "\n" not in release.description
    for file in release.files.values():
        assert file.bytes > 1_000_000
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)


def test_no_two_files_are_the_same():
    files = [file for release in RELEASES.values() for file in release.files.values()]
    for field in ("name", "bytes", "sha256"):
        assert len({getattr(file, field) for file in files}) == len(files) == 7


def test_published_sizes():
    """Bytes as the publisher's file lists state them."""
    sizes = {file.name: file.bytes for release in RELEASES.values() for file in release.files.values()}
    assert sizes["TinyStories-train.txt"] == 1_924_281_556
    assert sizes["TinyStories-valid.txt"] == 19_447_282
    assert sizes["TinyStoriesV2-GPT4-train.txt"] == 2_227_753_162
    assert sizes["TinyStoriesV2-GPT4-valid.txt"] == 22_502_601
    assert sizes["TinyStories_all_data.tar.gz"] == 1_608_001_638
    assert round(sizes["TinyStories-Instruct-train.txt"] / 1e9, 2) == 2.66
    assert round(sizes["TinyStories-Instruct-valid.txt"] / 1e6, 1) == 26.9


def test_only_the_release_of_all_data_has_no_validation_split():
    assert [name for name, release in RELEASES.items() if "validation" not in release.files] == [
        "tinystories-all"
    ]


def test_entries_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RELEASES["tinystories-v1"].url = ""  # ty: ignore[invalid-assignment]
    assert File("a", 1, "b") == File("a", 1, "b")

"""The public releases of TinyStories: where their files are, and what is in them to the byte.

Sizes and SHA-256 digests are those of the Git LFS pointers in the publishers' repositories at the pinned
revisions; those of TinyStories were also found, equal, in the manifests of independent projects.
"""

import dataclasses

_HUB = "https://huggingface.co/datasets/roneneldan"
_STORIES = f"{_HUB}/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
_INSTRUCT = f"{_HUB}/TinyStoriesInstruct/resolve/ee050ed1f8720795be342921335e821856a2b42e"
_LICENCE = "CDLA-Sharing-1.0"


@dataclasses.dataclass(frozen=True)
class File:
    """A published file: its name, its size in bytes and its SHA-256 in hex."""

    name: str
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Release:
    """A named set of files; `version` changes whenever a byte of one does."""

    name: str
    version: str
    url: str  # of the folder of the files, at a fixed revision
    train: File
    validation: File | None
    licence: str
    description: str

    @property
    def files(self) -> dict[str, File]:
        """The files by split; without "validation" where none was published."""
        return {"train": self.train} | ({"validation": self.validation} if self.validation else {})


_ALL = (
    Release(
        "tinystories-v1",
        "1.0.0",
        _STORIES,
        File(
            "TinyStories-train.txt",
            1_924_281_556,
            "c5cf5e22ff13614e830afbe61a99fbcbe8bcb7dd72252b989fa1117a368d401f",
        ),
        File(
            "TinyStories-valid.txt",
            19_447_282,
            "94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4",
        ),
        _LICENCE,
        "2.1 million stories by GPT-3.5 and GPT-4, which the paper's models were trained on",
    ),
    Release(
        "tinystories-v2",
        "1.0.0",
        _STORIES,
        File(
            "TinyStoriesV2-GPT4-train.txt",
            2_227_753_162,
            "6418d412de72888f52b5142c761ac21a582f7d1166f0bfbdb5f03ccfdec90443",
        ),
        File(
            "TinyStoriesV2-GPT4-valid.txt",
            22_502_601,
            "6874bae9a4c1a4e7edcf0e53b86c17817e9cf881fc75ff2368da457b80c0585d",
        ),
        _LICENCE,
        "2.7 million stories by GPT-4 alone",
    ),
    Release(
        "tinystories-all",
        "1.0.0",
        _STORIES,
        File(
            "TinyStories_all_data.tar.gz",
            1_608_001_638,
            "26cf7605aca15bc4ea6fa637256400d9d01317b28ed296172b2d1dd160cd7699",
        ),
        None,
        _LICENCE,
        "5 million stories by GPT-3.5 and GPT-4 with prompt, words, features and summary, in 50 JSON files",
    ),
    Release(
        "tinystories-instruct",
        "1.0.0",
        _INSTRUCT,
        File(
            "TinyStories-Instruct-train.txt",
            2_663_428_109,
            "c2c667bc6b608509c0f02f1d5da1414a4b8810b99487fc525086ca664b6e8aa4",
        ),
        File(
            "TinyStories-Instruct-valid.txt",
            26_900_027,
            "5c54f64a9134334601336050c3f2250099d0a1a796b5ca46e14c61d2b4aee449",
        ),
        _LICENCE,
        "stories after instructions: words, features, a sentence or a summary to write them to",
    ),
)

RELEASES: dict[str, Release] = {release.name: release for release in _ALL}

"""The files of a prepared folder that say what is in it.

In a prepared folder:

    stories/           the TFDS data set `tinyjax_stories`, and manifest.json
    tokenizer.model    SentencePiece, or byte-level BPE
    windows/<key>/     packed windows, and manifest.json; the key names all they were made from
    prepared.json      written last: what is here, and that it is complete
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from tinyjax import recordio
from tinyjax.data import publish, windows
from tinyjax.errors import UserError
from tinyjax.stories import builder, examples
from tinyjax.textio import Record
from tinyjax.tokenizer import Tokenizer, load_tokenizer

FORMAT = 1  # of everything in the folder; another format is never read
PREPARED = "prepared.json"
STORIES = f"stories/{publish.MARK}"
TOKENIZER = "tokenizer.model"

# Told (stage, what is done of it, the whole or 0 when that isn't known).
Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A folder of packed windows with the tokenizer that made them."""

    path: epath.Path
    manifest: dict[str, Any]  # what prepared.json says: origin, counts, bytes, digests
    tokenizer: Tokenizer
    reused: tuple[str, ...] = ()  # of stories, tokenizer, windows: what was there before

    @property
    def context_length(self) -> int:
        """Slots of a window."""
        return self.manifest["windows"]["recipe"]["context_length"]

    @property
    def instruct(self) -> bool:
        """Whether instructions stand before the stories."""
        return self.manifest["windows"]["recipe"]["instruct"]

    @property
    def fingerprint(self) -> str:
        """Hex digest of the texts of all splits and of how examples were made of them."""
        return self.manifest["windows"]["fingerprint"]

    def windows(self, split: str, *, story_only: bool = False) -> windows.Windows:
        """Returns random access to the windows of `train` or `validation`.

        With `story_only` the targets of instructions have no weight.
        """
        packed = self.manifest["windows"]
        folder = publish.local_copy(self.path / packed["folder"])
        files = packed["splits"][split]["files"]
        return windows.open_windows(
            folder,
            [file["name"] for file in files],
            self.context_length,
            packed["dtype"],
            bands=[file["bands"] for file in files],
            story_only=story_only,
        )

    def stories(self, split: str) -> Iterator[Record]:
        """Streams the stories of a split, in order."""
        for shard in shards(self.path, split):
            yield from examples.read_stories(shard)


def load_prepared(path: epath.PathLike) -> Prepared:
    """Opens what `prepare` completed; UserError when it is absent, unfinished or damaged."""
    path = epath.Path(path)
    file = path / PREPARED
    if not file.exists():
        state = "isn't complete" if path.exists() else "doesn't exist"
        raise UserError(
            f"no prepared stories at '{path}' (the folder {state}); make them with "
            f"python -m tinyjax.bin.prepare --source=... --data_dir={path}"
        )
    manifest = read(file)
    check_format(path, manifest)
    tokenizer = load_tokenizer(path / TOKENIZER)
    if tokenizer.sha256 != manifest["tokenizer"]["sha256"]:
        raise UserError(
            f"'{path / TOKENIZER}' is not the tokenizer that the windows beside it were made "
            "with; restore it, or prepare the stories again into another folder"
        )
    _check_files(path / manifest["windows"]["folder"], manifest["windows"])
    return Prepared(path, manifest, tokenizer)


def shards(path: epath.Path, split: str) -> list[epath.Path]:
    """Returns the shards of a split of the stories in a prepared folder, local copies where need be."""
    version_dir = publish.local_copy(path / "stories") / read(path / STORIES)["folder"]
    return builder.shards(version_dir, split)


def check_format(path: epath.Path, manifest: dict[str, Any]) -> None:
    """Raises UserError for a manifest of a format that isn't known here."""
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"'{path}' was prepared in format {manifest.get('format')}, and this program knows "
            f"{FORMAT}; prepare the stories again into another folder"
        )


def _check_files(folder: epath.Path, packed: dict[str, Any]) -> None:
    for split in packed["splits"].values():
        for file in split["files"]:
            path = folder / file["name"]
            if not path.exists() or path.stat().length != file["bytes"]:
                raise recordio.damaged(path)


def to_json(manifest: dict[str, Any]) -> bytes:
    """Returns a manifest as the bytes of its file."""
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode()


def read(path: epath.Path) -> dict[str, Any]:
    """Reads a manifest; UserError when it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise UserError(
            f"'{path}' is damaged: it is not JSON; remove the folder it is in and run prepare again"
        ) from None

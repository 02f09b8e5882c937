"""From any source of stories to packed windows: the job behind `tinyjax.bin.prepare`.

In `data_dir`:

    stories/           the TFDS data set `tinyjax_stories`, and manifest.json
    tokenizer.model    SentencePiece
    windows/<key>/     packed windows, and manifest.json; the key names all they were made from
    prepared.json      written last: what is here, and that it is complete

Each of these appears whole or not at all, so a job that was killed is run again and takes up what
is there. A folder holds one source; nothing in it is ever overwritten by another.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

from etils import epath

from tinyjax import recordio, textio
from tinyjax.data import publish, windows
from tinyjax.errors import UserError
from tinyjax.stories import builder
from tinyjax.tokenizer import Tokenizer, default_vocab_size, load_tokenizer, train_tokenizer

FORMAT = 1  # of everything below `data_dir`; another format is never read
PREPARED = "prepared.json"

_STORIES = f"stories/{publish.MARK}"
_TOKENIZER = "tokenizer.model"
_TOKENIZER_BYTES = 1 << 25  # text that a tokenizer is trained on; more makes no better pieces
_CHECKED_STORIES = 1000  # stories that must come back from the tokenizer unchanged

# Told (stage, stories or files done, the number there will be or 0 when that isn't known).
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
        return self.manifest["windows"]["context_length"]

    @property
    def fingerprint(self) -> str:
        """Hex digest of the texts of all splits."""
        return self.manifest["fingerprint"]

    def windows(self, split: str) -> windows.Windows:
        """Returns random access to the windows of `train` or `validation`."""
        packed = self.manifest["windows"]
        folder = publish.local_copy(self.path / packed["folder"])
        names = [file["name"] for file in packed["splits"][split]["files"]]
        return windows.open_windows(folder, names, packed["context_length"], packed["dtype"])


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
    manifest = _read_json(file)
    _check_format(path, manifest)
    tokenizer = load_tokenizer(path / _TOKENIZER)
    if tokenizer.sha256 != manifest["tokenizer"]["sha256"]:
        raise UserError(
            f"'{path / _TOKENIZER}' is not the tokenizer that the windows beside it were made "
            "with; restore it, or prepare the stories again into another folder"
        )
    _check_files(path / manifest["windows"]["folder"], manifest["windows"])
    return Prepared(path, manifest, tokenizer)


def prepare(
    source: str,
    data_dir: epath.PathLike,
    *,
    validation: str = "",
    context_length: int = 512,
    vocab_size: int = 0,
    encoding: str = "utf-8",
    text_key: str = "",
    progress: Progress = lambda stage, done, total: None,
) -> Prepared:
    """Makes packed windows of the stories at `source` in `data_dir`, or finds them there.

    Args:
      source: a file or folder (local or gs://), or world:COUNT[:SEED] for the embedded stories.
      data_dir: the folder; what it holds of the same source is taken up.
      validation: a validation set of the user's own; without, 2 % of the stories, chosen by hash.
      context_length: slots of a window.
      vocab_size: ids of the tokenizer; 0: by the size of the text, at most 4096.
      encoding: of text files.
      text_key: JSON key or column of the text; without, text or story.
      progress: is told how far each stage is.

    Raises UserError for whatever the user can mend; what `data_dir` held is then as it was.
    """
    path = epath.Path(data_dir)
    _check_sizes(context_length, vocab_size)
    config = builder.StoriesConfig(
        name="world" if source.startswith(builder.WORLD) else "local",
        source=source,
        validation=validation,
        encoding=encoding,
        text_key=text_key,
    )
    origin = _describe_origin(config, progress)
    _check_folder(path, origin)
    publish.remove_partial(path)
    publish.remove_partial(path / "windows")
    reused = [_make_stories(path / "stories", config, origin, progress)]
    asked = _asked_vocab_size(path, vocab_size)
    reused.append(_make_tokenizer(path, asked, progress))
    reused.append(_make_windows(path, context_length, progress))
    _commit(path, asked, context_length)
    return dataclasses.replace(load_prepared(path), reused=tuple(filter(None, reused)))


# What the source is, and whether the folder is free for it.


def _describe_origin(config: builder.StoriesConfig, progress: Progress) -> dict[str, Any]:
    """Returns what tells one source from another, contents included, and how it is laid out."""
    return {
        "source": _describe_path(config.source, config.encoding, progress),
        "validation": _describe_path(config.validation, config.encoding, progress),
        "encoding": config.encoding,
        "text_key": config.text_key,
    }


def _describe_path(path: str, encoding: str, progress: Progress) -> dict[str, Any]:
    if not path:
        return {}
    if path.startswith(builder.WORLD):
        count, seed = builder.parse_world(path)
        return {"path": path, "layout": f"{count:,} embedded stories (seed {seed})"}
    found = textio.find(path, encoding=encoding)
    files = []
    for i, file in enumerate(found.files):
        progress("checking the source", i, len(found.files))
        files.append({"name": file.path.name, "sha256": textio.sha256(file.path)})
    return {"path": path, "layout": found.describe(), "files": files}


def _identity(origin: dict[str, Any]) -> Any:
    """Returns what must be equal for two sources to be the same; a copy elsewhere is."""
    sources = [origin["source"], origin["validation"]]
    digests = [[file["sha256"] for file in source.get("files", [])] for source in sources]
    embedded = [source["layout"] for source in sources if source and "files" not in source]
    return digests, embedded, origin["encoding"], origin["text_key"]


def _check_sizes(context_length: int, vocab_size: int) -> None:
    if context_length < 8:
        raise UserError(f"context_length is {context_length}; it must be 8 or more")
    if vocab_size < 0:
        raise UserError(f"vocab_size is {vocab_size}; it must be 0 (chosen by itself) or more")


def _check_folder(path: epath.Path, origin: dict[str, Any]) -> None:
    """Raises UserError unless `path` is free, or holds what was prepared from the same source."""
    if path.exists() and not path.is_dir():
        raise UserError(f"'{path}' is a file; name a folder with --data_dir")
    manifests = [file for file in (path / _STORIES, path / PREPARED) if file.exists()]
    if manifests:
        _check_origin(path, _read_json(manifests[0]), origin)
        return
    for name in ("stories", _TOKENIZER, "windows"):
        if (path / name).exists():
            raise UserError(
                f"'{path}' holds '{name}', which prepare did not make; name another folder with --data_dir"
            )


def _check_origin(path: epath.Path, stored: dict[str, Any], origin: dict[str, Any]) -> None:
    _check_format(path, stored)
    if _identity(stored["origin"]) != _identity(origin):
        raise UserError(
            f"'{path}' holds stories prepared from '{stored['origin']['source']['path']}', of "
            "other content, validation set, encoding or text key than now; name another folder "
            "with --data_dir"
        )


def _check_format(path: epath.Path, manifest: dict[str, Any]) -> None:
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


# The stages. Each returns its name when what it makes is there already, else nothing.


def _make_stories(
    folder: epath.Path, config: builder.StoriesConfig, origin: dict[str, Any], progress: Progress
) -> str:
    if publish.is_published(folder):
        return "stories"
    is_world = config.source.startswith(builder.WORLD)
    total = builder.parse_world(config.source)[0] if is_world else 0
    with publish.publish(folder) as partial:
        version_dir, metadata = builder.build(
            config, partial, lambda done: progress("reading stories", done, total)
        )
        digests = "".join(split["sha256"] for split in metadata["splits"].values())
        manifest = {
            "format": FORMAT,
            "folder": str(version_dir.relative_to(partial)),
            "origin": origin,
            "fingerprint": hashlib.sha256(digests.encode()).hexdigest(),
            **metadata,
        }
        (partial / publish.MARK).write_bytes(_json(manifest))
    return ""


def _asked_vocab_size(path: epath.Path, vocab_size: int) -> int:
    """Returns the size the tokenizer of this folder has been or is to be asked for."""
    if not (path / PREPARED).exists():
        train = _read_json(path / _STORIES)["splits"][builder.TRAIN]
        return vocab_size or default_vocab_size(train["bytes"])
    asked = _read_json(path / PREPARED)["tokenizer"]["asked"]
    if vocab_size not in (0, asked):
        raise UserError(
            f"'{path}' holds a tokenizer made for a vocabulary of {asked}, not {vocab_size}; "
            "name another folder with --data_dir"
        )
    return asked


def _make_tokenizer(path: epath.Path, vocab_size: int, progress: Progress) -> str:
    if (path / PREPARED).exists() and (path / _TOKENIZER).exists():
        return "tokenizer"
    progress("training the tokenizer", 0, 0)
    train = _read_json(path / _STORIES)["splits"][builder.TRAIN]
    shards = builder.shards(_version_dir(path), builder.TRAIN)
    stride = math.ceil(train["bytes"] / _TOKENIZER_BYTES)
    texts = (text for shard in shards for text in builder.read_texts(shard, stride))
    tokenizer = train_tokenizer(texts, vocab_size)
    _check_lossless(tokenizer, shards, train["stories"])
    publish.write_file(path / _TOKENIZER, tokenizer.model)
    return ""


def _check_lossless(tokenizer: Tokenizer, shards: list[epath.Path], stories: int) -> None:
    """Raises UserError unless stories from all over the split come back unchanged."""
    stride = math.ceil(stories / _CHECKED_STORIES)
    for text in (text for shard in shards for text in builder.read_texts(shard, stride)):
        ids = tokenizer.encode(text)
        counted = tokenizer.token_bytes_V[ids].sum()
        if tokenizer.decode(ids) != text or counted != len(text.encode()):
            raise UserError(
                f"the tokenizer does not give back the story that begins {text[:40]!r}; "
                "please report it with that story"
            )


def _make_windows(path: epath.Path, context_length: int, progress: Progress) -> str:
    folder = path / _windows_folder(path, context_length)
    if publish.is_published(folder):
        return "windows"
    stories, tokenizer = _read_json(path / _STORIES), load_tokenizer(path / _TOKENIZER)
    told = _counted(progress, sum(split["stories"] for split in stories["splits"].values()))
    with publish.publish(folder) as partial:
        splits = {
            split: _pack_split(partial, split, _version_dir(path), tokenizer, context_length, told)
            for split in builder.SPLITS
        }
        dtype = windows.record_dtype(tokenizer.vocab_size, context_length)
        manifest = {"context_length": context_length, "dtype": dtype, "splits": splits}
        (partial / publish.MARK).write_bytes(_json(manifest))
    return ""


def _windows_folder(path: epath.Path, context_length: int) -> str:
    """Returns the name of the folder of windows made from just this text, tokenizer and length."""
    fingerprint = _read_json(path / _STORIES)["fingerprint"]
    tokenizer = load_tokenizer(path / _TOKENIZER)
    key = hashlib.sha256(f"{FORMAT} {fingerprint} {tokenizer.sha256} {context_length}".encode())
    return f"windows/{key.hexdigest()[:16]}"


def _counted(progress: Progress, total: int) -> Callable[[int], None]:
    """Returns a function that is told of so many stories more and reports how far packing is."""
    done = 0

    def told(stories: int) -> None:
        nonlocal done
        done += stories
        progress("packing windows", done, total)

    told(0)
    return told


def _pack_split(
    folder: epath.Path,
    split: str,
    version_dir: epath.Path,
    tokenizer: Tokenizer,
    context_length: int,
    told: Callable[[int], None],
) -> dict[str, Any]:
    shards = builder.shards(version_dir, split)
    targets = [folder / f"{split}-{i:05d}.array_record" for i in range(len(shards))]
    packed = windows.pack_split(shards, targets, tokenizer, context_length, told)
    count, tokens = sum(p.windows for p in packed), sum(p.tokens for p in packed)
    return {
        "windows": count,
        "tokens": tokens,
        "padding_share": 1 - tokens / (count * context_length),
        "files": [
            {"name": file.name, "windows": p.windows, "bytes": file.stat().length}
            for file, p in zip(targets, packed, strict=True)
        ],
    }


def _commit(path: epath.Path, asked_vocab_size: int, context_length: int) -> None:
    """Writes prepared.json, unless it says the same already."""
    stories, tokenizer = _read_json(path / _STORIES), load_tokenizer(path / _TOKENIZER)
    folder = _windows_folder(path, context_length)
    packed = _read_json(path / folder / publish.MARK)
    text_bytes = sum(split["bytes"] for split in stories["splits"].values())
    tokens = sum(split["tokens"] for split in packed["splits"].values())
    manifest = {
        "format": FORMAT,
        "origin": stories["origin"],
        "fingerprint": stories["fingerprint"],
        "stories": stories["splits"],
        "dropped": stories["dropped"],
        "tokenizer": {
            "sha256": tokenizer.sha256,
            "asked": asked_vocab_size,
            "vocab_size": tokenizer.vocab_size,
            "bytes_per_token": text_bytes / tokens,
        },
        "windows": {"folder": folder, **packed},
    }
    if not (path / PREPARED).exists() or _read_json(path / PREPARED) != manifest:
        publish.write_file(path / PREPARED, _json(manifest))


def _version_dir(path: epath.Path) -> epath.Path:
    return publish.local_copy(path / "stories") / _read_json(path / _STORIES)["folder"]


def _json(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest, indent=2, ensure_ascii=False).encode()


def _read_json(path: epath.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        raise UserError(
            f"'{path}' is damaged: it is not JSON; remove the folder it is in and run prepare again"
        ) from None

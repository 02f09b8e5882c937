"""Where prepared stories come from: what the source is, and whether a folder is free for it."""

import dataclasses
from typing import Any

from etils import epath

from tinyjax import textio
from tinyjax.data import manifests, publish
from tinyjax.data.manifests import PREPARED, STORIES, TOKENIZER, Progress
from tinyjax.data.options import Options
from tinyjax.errors import UserError, nearest
from tinyjax.stories import sources
from tinyjax.stories.packaging import Reading
from tinyjax.stories.releases import RELEASES

Origin = dict[str, Any]  # as the manifests hold it


def describe(source: str, options: Options, reading: Reading, progress: Progress) -> Origin:
    """Returns what tells one source from another, contents included, and how it is laid out."""
    return {
        "source": _describe(source, options.encoding, progress),
        "validation": _describe(options.validation, options.encoding, progress),
        **dataclasses.asdict(reading),
        "rules": list(reading.rules),
    }


def _describe(source: str, encoding: str, progress: Progress) -> dict[str, Any]:
    if not source:
        return {}
    if source in RELEASES:
        return {"path": source, "layout": f"release {source}, version {RELEASES[source].version}"}
    if source.startswith(sources.WORLD):
        count, seed = sources.parse_world(source)
        return {"path": source, "layout": f"{count:,} embedded stories (seed {seed})"}
    if source.startswith("tinystories-") and not epath.Path(source).exists():
        raise UserError(
            f"'{source}' is no release{nearest(source, RELEASES)}; there are {', '.join(RELEASES)}"
        )
    found = textio.find(source, encoding=encoding)
    files = []
    for i, file in enumerate(found.files):
        progress("checking the source", i, len(found.files))
        files.append({"name": file.path.name, "sha256": textio.sha256(file.path)})
    return {"path": source, "layout": found.describe(), "files": files}


def _identity(origin: Origin) -> Any:
    """Returns what must be equal for two sources to be the same; a copy elsewhere is."""
    described = [origin["source"], origin["validation"]]
    digests = [[file["sha256"] for file in source.get("files", [])] for source in described]
    named = [source["layout"] for source in described if source and "files" not in source]
    return digests, named, origin["encoding"], origin["text_key"], origin["rules"]


def check_folder(path: epath.Path, origin: Origin) -> None:
    """Raises UserError where the folder holds another source, or what prepare didn't make."""
    if path.exists() and not path.is_dir():
        raise UserError(f"'{path}' is a file; name a folder with --data_dir")
    found = [file for file in (path / STORIES, path / PREPARED) if file.exists()]
    if found:
        _check_origin(path, manifests.read(found[0]), origin)
        return
    for name in ("stories", TOKENIZER, "windows"):
        if (path / name).exists() and not publish.is_unfinished(path / name):
            raise UserError(
                f"'{path}' holds '{name}', which prepare did not make; name another folder with --data_dir"
            )


def _check_origin(path: epath.Path, stored: dict[str, Any], origin: Origin) -> None:
    manifests.check_format(path, stored)
    if _identity(stored["origin"]) != _identity(origin):
        raise UserError(
            f"'{path}' holds stories prepared from '{stored['origin']['source']['path']}', of other "
            "content, validation set, encoding, text key or cleaning rules than now; name another "
            "folder with --data_dir"
        )

"""Fetches a release: taken up where it stopped, verified to the byte, and never fetched twice.

In the folder, for each file NAME of the release:

    NAME         there only when it is whole and has the right SHA-256
    NAME.part    what has come of it so far
    .NAME.etag   which version the server was sending
    .NAME.json   what was verified, so that gigabytes needn't be read at each start

The JSON files of an archive NAME.tar.gz lie in the folder NAME, which appears whole or not at all.
"""

import contextlib
import dataclasses
import errno
import gzip
import hashlib
import http.client
import json
import os
import re
import shutil
import tarfile
import time
import urllib.parse
import zlib
from collections.abc import Callable, Generator
from typing import IO, Any

import requests
import urllib3
from etils import epath

from tinyjax.errors import UserError
from tinyjax.recordio import is_local
from tinyjax.stories.releases import File, Release
from tinyjax.workers import one_at_a_time

# Told (stage, bytes done, the number there will be or 0 when that isn't known).
Progress = Callable[[str, int, int], None]

_BLOCK = 1 << 16  # bytes
_TIMEOUT = (10, 60)  # seconds to connect, and without a byte
_WAITS = (1, 2, 4, 8)  # seconds before each new attempt; from the first again when something has come
_BUSY = (408, 429, 500, 502, 503, 504)
_ARCHIVE = ".tar.gz"
_UNPACKED = ".unpacked.json"  # in the unpacked folder: the archive's digest, and size by file
_OTHERWISE = (
    "or give another server with --mirror=URL, or fetch the file yourself and give its folder with "
    "--source_dir=DIR"
)


@dataclasses.dataclass(frozen=True)
class _Job:
    """A file to have: where it is fetched from and to, or where it is given, and who is told of it."""

    file: File
    url: str
    folder: epath.Path
    given: epath.Path | None
    progress: Progress

    @property
    def path(self) -> epath.Path:
        return self.given or self.folder / self.file.name

    @property
    def unpacked(self) -> epath.Path | None:
        if not self.file.name.endswith(_ARCHIVE):
            return None
        return self.folder / self.file.name.removesuffix(_ARCHIVE)

    @property
    def part(self) -> epath.Path:
        return self.folder / f"{self.file.name}.part"

    @property
    def etag(self) -> epath.Path:
        return self.folder / f".{self.file.name}.etag"

    @property
    def record(self) -> epath.Path:
        return self.folder / f".{self.file.name}.json"


def fetch(
    release: Release,
    folder: epath.PathLike,
    *,
    source_dir: epath.PathLike = "",
    mirror: str = "",
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, epath.Path]:
    """Returns, by split, the verified story files of a release, or the folder of its JSON files.

    They are downloaded to the local `folder` where they aren't there yet, from `mirror` if given (a
    server that has them by name); files in `source_dir` (local or gs://) are used where they lie.
    Other processes that fetch to the same folder wait. Raises UserError.
    """
    folder = epath.Path(folder)
    source = epath.Path(source_dir) if source_dir else None
    base = (mirror or release.url).rstrip("/")
    jobs = {
        split: _Job(file, f"{base}/{file.name}", folder, source and source / file.name, progress)
        for split, file in release.files.items()
    }
    _check_options(folder, source, mirror)
    folder.mkdir(parents=True, exist_ok=True)
    waiting = f"waiting for another process that fetches to '{folder}'"
    with one_at_a_time(folder, lambda: progress(waiting, 0, 0)):
        _check_given(release, list(jobs.values()))
        return {split: _have(job) for split, job in jobs.items()}


def _check_options(folder: epath.Path, source: epath.Path | None, mirror: str) -> None:
    if not is_local(folder):
        raise UserError(f"releases are fetched to a local disk; name a local folder, not '{folder}'")
    if mirror and source:
        raise UserError("--mirror and --source_dir exclude each other; give one of them")
    if mirror and not re.match("https?://.", mirror):
        raise UserError(f"--mirror={mirror} is no address; give one that begins with https:// or http://")


def _check_given(release: Release, jobs: list[_Job]) -> None:
    """Raises UserError that names all files of the release that are missing where they should be given."""
    missing = [
        job
        for job in jobs
        if job.given and not job.given.exists() and not (job.unpacked and job.unpacked.exists())
    ]
    if missing:
        raise UserError(
            f"'{missing[0].path.parent}' lacks {' and '.join(job.file.name for job in missing)} of "
            f"{release.name}; put the published files there under these names, or leave --source_dir out to "
            "have them fetched"
        )


def _have(job: _Job) -> epath.Path:
    """Returns the verified file, or the folder of an archive's files."""
    if job.unpacked is None:
        return _have_file(job)
    if not job.unpacked.exists():
        _unpack(job, _have_file(job), job.unpacked)
    _check_unpacked(job, job.unpacked)
    return job.unpacked


def _have_file(job: _Job) -> epath.Path:
    if not job.given and not job.path.exists():
        _download(job)
    elif not _is_remembered(job):
        if problem := _problem(job, job.path):
            mend = "put the published file there" if job.given else "move it away to have the file fetched"
            raise UserError(f"'{job.path}' is not {job.file.name} as published: {problem}; {mend}")
        _remember(job)
    return job.path


# Verifying


def _facts(job: _Job) -> dict[str, Any]:
    stat = os.stat(job.path)
    return {
        "name": job.file.name,
        "bytes": stat.st_size,
        "sha256": job.file.sha256,
        "url": _shown(job.url),
        "path": os.path.realpath(job.path),
        "mtime_ns": stat.st_mtime_ns,
    }


def _is_remembered(job: _Job) -> bool:
    """Returns whether a local file was verified and neither its size nor its time has changed since."""
    try:
        record = json.loads(job.record.read_text())
    except (OSError, ValueError):
        return False
    return is_local(job.path) and {**record, "url": ""} == {**_facts(job), "url": ""}


def _remember(job: _Job) -> None:
    if is_local(job.path):
        job.record.write_text(json.dumps(_facts(job), indent=1))


def _problem(job: _Job, path: epath.Path) -> str:
    """Returns how a file differs from the published one and the likely cause, or an empty string."""
    size = path.stat().length
    if size != job.file.bytes:
        return f"expected {job.file.bytes:,} bytes, got {size:,}; {_likely_cause(job, path, size)}"
    digest = _sha256(job, path)
    if digest != job.file.sha256:
        cause = _likely_cause(job, path, size)
        return f"expected SHA-256 {job.file.sha256}, got {digest}; {cause}"
    return ""


def _likely_cause(job: _Job, path: epath.Path, size: int) -> str:
    with path.open("rb") as file:
        head = file.read(512).lower()
    if b"<html" in head or b"<!doctype" in head:
        return "it is an HTML page, perhaps of a login or an error"
    if b"git-lfs" in head:
        return "it is a Git LFS pointer (git lfs pull brings the file)"
    return "it is cut off" if size < job.file.bytes else "it is damaged or another version"


def _sha256(job: _Job, path: epath.Path) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            job.progress(f"checking {job.file.name}", done, job.file.bytes)
    return digest.hexdigest()


# Downloading


def _download(job: _Job) -> None:
    """Brings the file, from where an earlier process stopped, and verifies it."""
    with _told_when_full(job), open(job.part, "ab") as part:
        if _size(part) > job.file.bytes:
            _empty(part)
        _check_room(job, job.file.bytes - _size(part))
        _receive_all(job, part)
        os.fsync(part.fileno())
    problem = _problem(job, job.part)
    job.etag.unlink(missing_ok=True)
    if problem:
        job.part.unlink()
        raise UserError(
            f"what came from '{_shown(job.url)}' is not {job.file.name} as published and was removed: "
            f"{problem}; run the same command again, {_OTHERWISE}"
        )
    job.part.replace(job.path)
    _remember(job)


def _receive_all(job: _Job, part: IO[bytes]) -> None:
    """Requests the rest until all is there; gives up when attempt after attempt brings nothing new."""
    most, waits = _size(part), iter(_WAITS)
    while _size(part) < job.file.bytes:
        reason = _request(job, part)
        if _size(part) == job.file.bytes:
            return
        if _size(part) > most:
            most, waits = _size(part), iter(_WAITS)
        wait = next(waits, None)
        if wait is None:
            raise UserError(
                f"'{_shown(job.url)}' can't be fetched ({reason}); check the network and its proxy and run "
                f"the same command again, which goes on from {_size(part):,} of {job.file.bytes:,} bytes, "
                f"{_OTHERWISE}"
            )
        job.progress(f"{job.file.name}: {reason}, trying again in {wait} s", _size(part), job.file.bytes)
        time.sleep(wait)


def _request(job: _Job, part: IO[bytes]) -> str:
    """Makes one request for what is missing; returns why no more came, where it may come later."""
    headers = _headers(job, _size(part))
    try:
        with requests.get(job.url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            return _receive(job, response, part)
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        return _innermost(error)
    except requests.RequestException as error:
        raise UserError(
            f"'{_shown(job.url)}' can't be fetched ({type(error).__name__}); check the address, {_OTHERWISE}"
        ) from error


def _headers(job: _Job, have: int) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "tinyjax"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _etag(job).startswith('"'):  # a weak one (W/) may not be used
            headers["If-Range"] = _etag(job)
    return headers


def _etag(job: _Job) -> str:
    return job.etag.read_text() if job.etag.exists() else ""


def _receive(job: _Job, response: requests.Response, part: IO[bytes]) -> str:
    """Writes what a response brings to the end of the part, or where it must be from its start."""
    if response.status_code in _BUSY:
        return f"the server answers {response.status_code} {response.reason}"
    if response.status_code == 416 or not _continues(job, response, _size(part)):
        _empty(part)
        return "the file has changed on the server"
    _check_response(job, response)
    if response.status_code == 200:
        _empty(part)
        job.etag.write_text(response.headers.get("ETag", ""))
    # Undecoded, as some servers declare a .gz file to be an encoding.
    for block in response.raw.stream(_BLOCK, decode_content=False):
        part.write(block)
        part.flush()
        if _size(part) > job.file.bytes:
            _empty(part)
            raise _wrong_size(job, "more")
        job.progress(f"fetching {job.file.name}", _size(part), job.file.bytes)
    return "the connection was cut"


def _continues(job: _Job, response: requests.Response, have: int) -> bool:
    """Returns whether a partial response goes on where the part ends, in the same version of the file."""
    if response.status_code != 206:
        return True
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    etags = {_etag(job), response.headers.get("ETag", "")} - {""}
    return bool(start) and int(start[1]) == have and len(etags) < 2


def _check_response(job: _Job, response: requests.Response) -> None:
    """Raises UserError for what is not the file, before gigabytes of it come."""
    status = response.status_code
    if status not in (200, 206):
        raise UserError(
            f"'{_shown(job.url)}' can't be fetched: the server answers {status} {response.reason}; check "
            f"the address, {_OTHERWISE}"
        )
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(
            f"'{_shown(job.url)}' gives an HTML page, perhaps of a login or an error, where {job.file.name} "
            f"is expected; open the address in a browser to see it, {_OTHERWISE}"
        )
    stated = response.headers.get("Content-Length" if status == 200 else "Content-Range", "").split("/")[-1]
    if stated.isdecimal() and int(stated) != job.file.bytes:
        raise _wrong_size(job, f"{int(stated):,}")


def _wrong_size(job: _Job, got: str) -> UserError:
    return UserError(
        f"'{_shown(job.url)}' is not {job.file.name} as published: expected {job.file.bytes:,} bytes, got "
        f"{got} (a file that is cut off, or another version); check the address, {_OTHERWISE}"
    )


def _innermost(error: BaseException) -> str:
    """Returns the cause that lies at the bottom of a library's error, which alone names no address."""
    inner = error.__cause__ or error.__context__
    if isinstance(inner, OSError | urllib3.exceptions.HTTPError | http.client.HTTPException):
        return _innermost(inner)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _shown(url: str) -> str:
    """Returns an address without the user, the password and the query that it may hold."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _empty(part: IO[bytes]) -> None:
    """Throws away what can't be continued."""
    if _size(part):
        part.truncate(0)


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


# The disk


def _check_room(job: _Job, needed: int) -> None:
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise _no_room(job, f"; {job.file.name} needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free")


@contextlib.contextmanager
def _told_when_full(job: _Job) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_room(job, f" ({error.strerror})") from error


def _no_room(job: _Job, why: str) -> UserError:
    return UserError(
        f"the disk of '{job.folder}' is too full for {job.file.name}{why}; free some space and run the same "
        "command again, which goes on from there, or choose a folder on another disk"
    )


# Unpacking


def _unpack(job: _Job, archive: epath.Path, target: epath.Path) -> None:
    """Unpacks the JSON files of an archive into a folder that appears whole or not at all."""
    partial = target.parent / f".partial-{target.name}"
    shutil.rmtree(partial, ignore_errors=True)  # what a killed process left
    try:
        with _told_when_full(job):
            sizes = _extract(job, archive, partial)
            (partial / _UNPACKED).write_text(
                json.dumps({"sha256": job.file.sha256, "files": sizes}, indent=1)
            )
            partial.rename(target)
    except tarfile.FilterError as error:
        raise UserError(
            f"'{archive}' holds a file that would lie outside of its folder ({error}); don't use it"
        ) from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"'{archive}' is no archive or is cut off ({error}); move it away and fetch it again"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _extract(job: _Job, archive: epath.Path, folder: epath.Path) -> dict[str, int]:
    """Writes the JSON files of an archive below `folder`; returns size by name."""
    sizes = {}
    with (
        archive.open("rb") as packed,
        gzip.open(packed) as unzipped,
        tarfile.open(fileobj=unzipped, mode="r|", bufsize=_BLOCK) as tar,
    ):
        for member in tar:
            name = os.path.normpath(member.name).lstrip("/")
            if member.isfile() and name.endswith(".json") and not os.path.basename(name).startswith("."):
                tar.extract(member, folder, filter="data")
                sizes[name] = member.size
            job.progress(f"unpacking {job.file.name}", packed.tell(), job.file.bytes)
        while unzipped.read(_BLOCK):  # to the checksum at the end
            pass
    if not sizes:
        raise tarfile.ReadError("it holds no JSON file")
    return sizes


def _check_unpacked(job: _Job, folder: epath.Path) -> None:
    """Raises UserError where a folder isn't what was unpacked from the archive."""
    mark = folder / _UNPACKED
    content = json.loads(mark.read_text()) if mark.exists() else {"sha256": "", "files": {}}
    found = {name: (folder / name).stat().length for name in content["files"] if (folder / name).exists()}
    if content["sha256"] != job.file.sha256 or found != content["files"]:
        raise UserError(
            f"the folder '{folder}' is not what is unpacked from {job.file.name}, or not all of it; move it "
            "away to have it unpacked again"
        )

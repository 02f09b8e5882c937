"""What the account may do in a folder on gs://, found out before long work by doing each thing once."""

import contextlib
import dataclasses
import re
import uuid
from collections.abc import Callable, Generator, Sequence
from typing import Any

import fsspec
from etils import epath

from tinyjax.checkpoint.remote import reached
from tinyjax.errors import UserError
from tinyjax.recordio import is_local

_REFUSED = re.compile(r"^Forbidden|does not have storage\.")
_NOBODY = "Anonymous caller"
_CALLER = re.compile(rf"(\S+@\S+|{_NOBODY}) does not have")
_SCOPES = re.compile(r"authentication scope|Provided scope|Insufficient Permission", re.IGNORECASE)


class _Object:
    """A little object, and what is done with it; each thing is one request."""

    def __init__(self, folder: epath.PathLike):
        files, path = fsspec.url_to_fs(str(folder))
        self._files: Any = files
        self._bucket, _, folder_in_bucket = path.rstrip("/").partition("/")
        self.name = f"{folder_in_bucket}/.probe-{uuid.uuid4().hex}".lstrip("/")
        self._path = f"{self._bucket}/{self.name}"
        self.is_there = False

    def write(self) -> None:
        self._files.pipe_file(self._path, b"may I?")
        self.is_there = True

    def read(self) -> None:
        with self._maybe_absent():
            self._files.cat_file(self._path)

    def list(self) -> None:
        self._files.call("GET", "b/{}/o", self._bucket, prefix=self.name, maxResults=1)

    def delete(self) -> None:
        with self._maybe_absent():
            self._files.rm_file(self._path)
        self.is_there = False

    def look(self) -> None:
        self._files.call("GET", "b/{}", self._bucket)

    def _maybe_absent(self) -> contextlib.AbstractContextManager[Any]:
        """Where it may not be written it isn't there; but of who may not, the server refuses to look."""
        return contextlib.nullcontext() if self.is_there else contextlib.suppress(FileNotFoundError)


@dataclasses.dataclass(frozen=True)
class Permission:
    """Something that Cloud Storage allows or refuses."""

    verb: str  # what can be done with it
    name: str  # in IAM
    act: Callable[[_Object], None] = dataclasses.field(repr=False)
    role: str = "storage.objectAdmin"  # one that has it


WRITE = Permission("write", "storage.objects.create", _Object.write)
READ = Permission("read", "storage.objects.get", _Object.read)
LIST = Permission("list", "storage.objects.list", _Object.list)
DELETE = Permission("delete", "storage.objects.delete", _Object.delete)
LOOK = Permission("see its bucket", "storage.buckets.get", _Object.look, "storage.legacyBucketReader")

OBJECTS = (WRITE, READ, LIST, DELETE)
FOR_CHECKPOINTS = (*OBJECTS, LOOK)  # Orbax asks what kind of bucket it is


@dataclasses.dataclass(frozen=True)
class Answer:
    """Whether a permission is there."""

    permission: Permission
    refusal: str = ""  # what the server says, where it refuses


@dataclasses.dataclass(frozen=True)
class Answers:
    """What may be done in a folder."""

    folder: str
    answers: Sequence[Answer]
    left: str = ""  # the name of the object that could not be deleted

    @property
    def refused(self) -> list[Answer]:
        """What may not be done."""
        return [answer for answer in self.answers if answer.refusal]

    @property
    def caller(self) -> str:
        """The account, where the server says who it is."""
        found = _CALLER.search(" ".join(answer.refusal for answer in self.answers))
        return found[1] if found else ""


def probe(folder: epath.PathLike, needed: Sequence[Permission] = OBJECTS) -> None:
    """Writes, reads, lists and deletes a little object below a folder on gs://; for a local one does nothing.

    In a run of several processes each does it: all of them write, perhaps by accounts of their own.

    Args:
      folder: where something will be written; it need not be there.
      needed: what will be done there.

    Raises:
      UserError: something is refused, the bucket is not there, or it is out of reach.
    """
    if not is_local(folder) and (answers := ask(folder, needed)).refused:
        raise UserError(f"{explain(answers)}; {mend(answers)}")


def ask(folder: epath.PathLike, needed: Sequence[Permission] = OBJECTS) -> Answers:
    """Tries all that is needed, with an object that is gone in the end where it may be deleted.

    Raises:
      UserError: the bucket is not there, or out of reach.
    """
    with reached(folder), _object(folder) as probed:
        answers = [Answer(permission, _try(permission, probed)) for permission in needed]
        return Answers(str(folder), answers, probed.name if probed.is_there else "")


@contextlib.contextmanager
def _object(folder: epath.PathLike) -> Generator[_Object]:
    """Yields the object to try with, and deletes it where something came in between."""
    probed = _Object(folder)
    try:
        yield probed
    except BaseException:
        if probed.is_there:
            with contextlib.suppress(Exception):
                probed.delete()
        raise


def _try(permission: Permission, probed: _Object) -> str:
    """Returns what the server says where it refuses, "" where it doesn't."""
    try:
        permission.act(probed)
    except Exception as error:
        if not _REFUSED.search(str(error)):
            raise
        return " ".join(str(error).splitlines()[-1:])
    return ""


def explain(answers: Answers) -> str:
    """Says what was refused to whom, and what is missing."""
    verbs = _series([answer.permission.verb for answer in answers.refused])
    names = _series([answer.permission.name for answer in answers.refused])
    unnamed = [answer.refusal for answer in answers.refused if answer.permission.name not in answer.refusal]
    said = f" (the server says: {unnamed[0]})" if unnamed else ""
    left = f"; the object '{answers.left}' stays there" if answers.left else ""
    return (
        f"no permission to {verbs} at '{answers.folder}': {answers.caller or 'the account'} lacks {names} "
        f"on the bucket '{_bucket(answers)}'{said}{left}"
    )


def mend(answers: Answers) -> str:
    """Says what to do about what was refused."""
    if any(_SCOPES.search(answer.refusal) for answer in answers.refused):
        return "this machine was made without the scope cloud-platform; make it anew with it"
    if answers.caller == _NOBODY:
        return "log in (gcloud auth application-default login)"
    roles = list(dict.fromkeys(answer.permission.role for answer in answers.refused))
    kind = "serviceAccount" if answers.caller.endswith("gserviceaccount.com") else "user"
    return (
        f"grant it the role{'s' if len(roles) > 1 else ''} {_series(roles)}, as in: gcloud storage buckets "
        f"add-iam-policy-binding gs://{_bucket(answers)} --member={kind}:{answers.caller or 'ACCOUNT'} "
        f"--role=roles/{roles[0]}"
    )


def _bucket(answers: Answers) -> str:
    return answers.folder.split("/")[2]


def _series(words: Sequence[str]) -> str:
    """Returns words as in "write, list and delete"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last

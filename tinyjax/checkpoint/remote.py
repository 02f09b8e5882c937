"""Buckets that are missing, forbidden or out of reach: one message each."""

import contextlib
import logging
import re
from collections.abc import Generator

import fsspec.config
from etils import epath

from tinyjax.errors import UserError
from tinyjax.recordio import is_local

# They log, with a traceback, what they also raise, and what kind of bucket they could not find out.
for _library in ("gcsfs", "fsspec"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)
# It would go by its first look into a folder for ever, and read as much of a file as it had then.
fsspec.config.conf["gcs"] = {"use_listings_cache": False}


def exists(path: epath.Path) -> bool:
    """Returns whether a file or folder is there; UserError where that can't be told.

    `epath` itself takes a folder on gs:// that may not be read, or that no network leads to, for none.
    """
    with reached(path):
        if is_local(path) or path.exists():
            return path.exists()
        try:
            return next(iter(path.iterdir()), None) is not None
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def reached(path: epath.PathLike) -> Generator[None]:
    """Turns what the client libraries raise for a path on gs:// into one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_local(path):
            raise
        raise (
            refusal(path, error)
            or no_bucket(path, error)
            or UserError(
                f"'{path}' can't be reached ({first_line(error)}); check the network and the credentials "
                "(gcloud auth application-default login)"
            )
        ) from error


def refusal(path: epath.PathLike, error: BaseException) -> UserError | None:
    """Returns the message for a bucket that forbids something, None for any other error."""
    if is_local(path):
        return None
    if isinstance(error, ImportError):
        return UserError(f"reading '{path}' needs an extra: pip install 'tinyjax[gcs]'")
    lacking = re.search(r"\S+ (caller )?does not have storage\.\w+\.\w+", str(error))
    if not lacking and re.search(r"Invalid Credentials|UNAUTHENTICATED|\b401\b", str(error)):
        return UserError(
            f"the credentials are refused at '{path}' ({first_line(error)}); log in again (gcloud auth "
            "application-default login), and see whether this machine's clock is right"
        )
    if lacking or re.search(r"Forbidden|PERMISSION_DENIED|\b403\b|[Pp]ermission", str(error)):
        said = lacking[0] if lacking else first_line(error)
        return UserError(
            f"no permission at '{path}' ({said}); the account needs the roles "
            f"storage.objectAdmin and storage.legacyBucketReader on the bucket '{_bucket(path)}', "
            "and a TPU VM the scope cloud-platform"
        )
    return None


def no_bucket(path: epath.PathLike, error: BaseException) -> UserError | None:
    """Returns the message for a write into a bucket that is not there, None for any other error."""
    missing = isinstance(error, FileNotFoundError) or re.search(r"NOT_FOUND|\b404\b", str(error))
    if is_local(path) or not missing:
        return None
    return UserError(
        f"there is no bucket '{_bucket(path)}' for '{path}'; check the name, or create the bucket"
    )


def _bucket(path: epath.PathLike) -> str:
    return str(path).split("/")[2]


def first_line(error: BaseException) -> str:
    """Returns the beginning of what an exception says, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]

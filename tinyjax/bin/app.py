"""What every binary shares: parse flags, run, and turn a user's error into one message and exit code 2."""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote

from absl import app, flags, logging

from tinyjax import config as config_lib
from tinyjax.checkpoint.remote import refusal
from tinyjax.errors import Stopped, UserError

USER_ERROR = 2
PREEMPTED = 42  # told to stop by SIGTERM: everything is saved, start the same command again
INTERRUPTED = 130  # Ctrl-C
READER_GONE = 141  # whoever read the output went away, as `head` does


def run(main: Callable[[Sequence[str]], int | None]) -> None:
    """Parses absl flags, calls `main(argv)` and exits with its code (None: 0); never returns."""
    try:
        app.run(lambda argv: main(_no_extra(argv)), flags_parser=_parse)
    except UserError as error:
        _fail(str(error))
    except BrokenPipeError:
        os._exit(READER_GONE)
    except OSError as error:
        message = _explain(error)
        if message is None:
            raise
        _fail(message)
    except _Terminated:
        _stop("stopped by SIGTERM", PREEMPTED)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)
    except Stopped as error:
        _stop(str(error), INTERRUPTED if error.signum == signal.SIGINT else PREEMPTED)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which interrupts whatever Ctrl-C does."""


def end_on_sigterm() -> None:
    """Lets SIGTERM end the program as Ctrl-C does, so that files are closed, with `PREEMPTED`."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(signum: int, frame: object) -> None:
    raise _Terminated


def _stop(message: str, code: int) -> None:
    print(f"\n{message}; the same command goes on from there", file=sys.stderr)
    sys.exit(code)


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(USER_ERROR)  # at once: after a save that failed, Orbax's threads wait on for minutes


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(list(argv))
    except flags.Error as error:
        raise UserError(f"{' '.join(str(error).split())}; see --helpfull") from None
    except KeyError as error:  # ml_collections: an override of a field that doesn't exist
        raise _unknown_override(argv) or error from None
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # at INFO, Orbax tells every step of a save
        logging.get_absl_handler().addFilter(_is_news)  # of the root: what asyncio logs comes by it too
        sys.unraisablehook = _tell_unraisable
    return rest


def _is_news(record: Any) -> bool:
    """Drops what Orbax and event loops log, with a traceback, of what is also raised: errors, interrupts."""
    if not record.exc_info:
        return True
    if "orbax" in record.pathname or isinstance(record.exc_info[1], KeyboardInterrupt):
        return False
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(record.exc_info[2])]
    if any("orbax" in file for file in files):
        return False
    # A task that was in no frame but asyncio's awaited TensorStore, whose futures Orbax gathers.
    return record.name != "asyncio" or not files or any("asyncio" not in file for file in files)


def _tell_unraisable(unraisable: Any) -> None:
    """Drops what TensorStore's threads say when a write fails and the event loop is there no more."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _unknown_override(argv: Sequence[str]) -> UserError | None:
    known: Any = config_lib.Config()
    for argument in argv:
        name = argument.lstrip("-").split("=")[0]
        if not name.startswith("config."):
            continue
        node, path = known, "config"
        for key in name.split(".")[1:]:
            if not hasattr(node, key):
                return config_lib.unknown_key(f"{path}.{key}", config_lib.to_dict(node))
            node, path = getattr(node, key), f"{path}.{key}"
    return None


def _no_extra(argv: Sequence[str]) -> Sequence[str]:
    if len(argv) > 1:
        raise UserError(f"unexpected argument '{argv[1]}'; options are given as --name=value (see --help)")
    return argv


def _explain(error: OSError) -> str | None:
    """Returns a message for the failures of a disk or bucket that a user can mend, None for any other."""
    if error.errno is None and (message := _explain_bucket(error)):
        return message
    if str(error).startswith("Configuration is not available"):  # ml_collections says so when used
        return f"--config can't be read: {str(error).splitlines()[-1].strip()}; check the path"
    where = f" at '{error.filename}'" if error.filename else ""
    return {
        errno.ENOSPC: f"the disk is full{where}; free some space and run the same command again",
        errno.EDQUOT: f"the disk quota is used up{where}; free some space and run the same command again",
        errno.EFBIG: f"a file may not grow any more{where}; raise the limit (ulimit -f) and run the same "
        "command again",
        errno.EACCES: f"no permission{where}; choose a folder you may write to, or change its rights",
        errno.EPERM: f"not permitted{where}; choose a folder you may write to, or change its rights",
        errno.EROFS: f"the file system is read-only{where}; choose another folder",
        errno.ENOENT: f"no such file or folder{where}; check the path",
        errno.EISDIR: f"a folder stands where a file is expected{where}; check the path",
        errno.EEXIST: f"a file stands where a folder is expected{where}; check the path",
        errno.ENOTDIR: f"a file stands where a folder is expected{where}; check the path",
    }.get(error.errno or 0)


# An object's address in what gcsfs raises, to be read or to be written.
_OBJECT = re.compile(r"\bb/([^/\s]+)/o(?:/|\?\S*?\bname=)([^\s&?]*)")


def _explain_bucket(error: OSError) -> str | None:
    """Returns a message for an object that isn't there or is forbidden, None for any other error."""
    found = _OBJECT.search(f"{error} {error.__context__}")
    if not found:
        return None
    path = f"gs://{found[1]}/{unquote(found[2])}"
    if isinstance(error, FileNotFoundError):
        return f"no such file or bucket: '{path}'; check the path"
    refused = refusal(path, error)
    return str(refused) if refused else None


def config_from_flags(holder: flags.FlagHolder) -> config_lib.Config:
    """Returns the validated, frozen config that `--config` and its overrides describe."""
    if holder.value is None:
        raise UserError("--config is missing; give an experiment file, such as configs/quickstart.py")
    config = holder.value
    getattr(config, "model", None)  # raises the OSError of a file that could not be read
    if not isinstance(config, config_lib.Config):
        raise UserError(
            f"get_config() of the file given by --config returns a {type(config).__name__}; it must "
            "return a tinyjax.config.Config"
        )
    return config_lib.resolve(config)

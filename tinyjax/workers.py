"""The same function on many jobs: on all cores of this machine, or wherever a `Mapper` takes it; and locks.

Results come in the order of the jobs, and don't depend on who did them.
"""

import concurrent.futures
import contextlib
import fcntl
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

# (function, jobs) -> results in order; the function and the jobs pickle.
Mapper = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]

_FEW = 3  # jobs done before other processes have started


def num_cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def one_at_a_time(folder: str | os.PathLike[str], waiting: Callable[[], None]) -> Generator[None]:
    """Keeps other processes of this machine out of a local folder; the lock ends with the process.

    Where another is at work there, `waiting` is called once, and its end is waited for.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def local_workers() -> Generator[Mapper]:
    """Yields a mapper over this machine's cores; its processes start when they are first worth it."""
    pool: concurrent.futures.ProcessPoolExecutor | None = None

    def map_jobs(function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
        nonlocal pool
        if num_cores() == 1 or (pool is None and len(jobs) <= _FEW):
            return map(function, jobs)
        if pool is None:
            context = multiprocessing.get_context("spawn")
            pool = concurrent.futures.ProcessPoolExecutor(num_cores(), context, _end_on_interrupt)
        return _in_order(pool, function, jobs)

    try:
        yield map_jobs
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _in_order(
    pool: concurrent.futures.Executor, function: Callable[[Any], Any], jobs: Sequence[Any]
) -> Iterator[Any]:
    with _interrupts_wait():
        futures = [pool.submit(function, job) for job in jobs]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


@contextlib.contextmanager
def _interrupts_wait() -> Generator[None]:
    """Holds Ctrl-C back while workers start; they begin so, and would tell where their imports were."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_on_interrupt() -> None:
    """Lets a worker die of Ctrl-C in silence; the parent says what there is to say."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

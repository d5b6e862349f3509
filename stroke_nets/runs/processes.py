"""Work in processes that never outlive the one that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from stroke_nets.runs.interruption import Interrupted


def in_processes(work: Callable[[Any], Any], items: Iterable[Any], workers: int) -> Iterator[Any]:
    """The results of some work, in order, by processes that are spawned for it.

    They end at once with their parent, whatever ends that, and when it is interrupted.

    Args:
        work: of one item; it and its results can be pickled.
        items: what to do.
        workers: number of processes.

    Raises:
        Interrupted: the processes were stopped by SIGTERM.
        BrokenProcessPool: one of them died of another cause.
    """
    spawn = multiprocessing.get_context("spawn")  # fork is unsafe once torch has started threads
    children: list[Any] = []
    try:
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent) as pool:
            results = pool.map(work, items)
            children = multiprocessing.active_children()
            try:
                yield from results
            except BaseException:
                for child in children:
                    child.terminate()
                raise
    except BrokenProcessPool as error:
        if children and all(child.exitcode == -signal.SIGTERM for child in children):
            raise Interrupted(signal.SIGTERM, "its worker processes were stopped first") from error
        raise


def _end_with_parent() -> None:
    """In a worker: end as soon as the parent does; Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

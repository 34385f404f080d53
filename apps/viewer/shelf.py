"""Packed images and label maps of the last few studies, made once however many readers ask, and made ahead.

A key that is being made is waited for, so that two sessions never read the same DICOM files twice.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from medfuse.errors import MedfuseError, UsageError


class Shelf:
    """The last things made, by key.

    Args:
        most: How many are kept; the longest unused goes first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is kept under `key`, made now if nobody has; what cannot be made is tried again next time."""
        with self._lock:
            known = self._kept.get(key)
            future = known or Future()
            self._kept[key] = future
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        if known is None:
            self._make(key, future, make)
        return future.result()

    def ahead(self, make: Callable[[], Any]) -> None:
        """Make in the background what is likely to be asked for next; what fails then fails again when asked for."""
        self._ahead.submit(_quietly, make)

    def _make(self, key: Hashable, future: Future[Any], make: Callable[[], Any]) -> None:
        try:
            future.set_result(make())
        finally:
            if not future.done():
                with self._lock:
                    if self._kept.get(key) is future:
                        del self._kept[key]
                future.set_exception(sys.exception() or UsageError("nothing was made"))


def _quietly(make: Callable[[], Any]) -> None:
    try:
        make()
    except (MedfuseError, OSError):
        return

"""Whether other threads run the user's code beside a training: they may draw from torch's global generators, too."""

from __future__ import annotations

import sys
import sysconfig
import threading
from pathlib import Path
from types import FrameType

LIBRARY, OWN_FOLDER = sysconfig.get_path("stdlib"), str(Path(__file__).parents[1])
WAITING = ("threading.py", "queue.py", "selectors.py", "socket.py")
"""Files of Python's library in which a thread waits for another one, or for a message."""
PACKAGE_FOLDERS = ("site-packages", "dist-packages", "debugpy", "pydevd")
"""Where code lies that is not the user's, debuggers of editors too; and this package, which the user's threads run."""


def user_threads_run() -> bool:
    """Whether another thread runs the user's code: those of libraries, and workers that wait for a task, do not.

    Beside any thread but the main one runs the main one, which is the user's.
    """
    current = threading.current_thread()
    if current is not threading.main_thread():
        return True
    if threading.active_count() == 1:
        return False
    stacks = sys._current_frames()
    frames = [stacks.get(thread.ident or 0) for thread in threading.enumerate() if thread is not current]
    return any(frame is not None and runs_user_code(frame) for frame in frames)


def runs_user_code(frame: FrameType) -> bool:
    """Whether a frame, or one that called it, is of this package or a file outside of Python's library and packages.

    A thread that waits runs none.
    """
    innermost = Path(frame.f_code.co_filename)
    if innermost.name in WAITING and str(innermost).startswith(LIBRARY):
        return False
    caller: FrameType | None = frame
    while caller is not None:
        path = caller.f_code.co_filename
        installed = path.startswith(("<frozen", LIBRARY)) or any(name in path for name in PACKAGE_FOLDERS)
        if not installed or path.startswith(OWN_FOLDER):  # another fit draws too, and is only started by a user
            return True
        caller = caller.f_back
    return False

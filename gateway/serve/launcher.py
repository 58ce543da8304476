"""Starts a foreign program so that it dies with its parent and alone holds a lock file.

    python -I -S launcher.py PARENT_PID DEATH_SIGNAL LOCK_FILE PROGRAM [ARGUMENT ...]

The lock is taken on a descriptor that the program inherits and never closes, so the kernel keeps the lock
exactly as long as the program, or a process it forked, lives: two servers on one directory are impossible,
whoever started them. This file imports nothing of ours and almost nothing else: it runs without
site-packages, in about 20 ms, where a function between fork and exec would be unsafe beside threads.

Exit codes of its own: 75 when the lock is held, 76 when the parent has gone already.
"""

from __future__ import annotations

import os
import signal
import sys

LOCK_HELD = 75
PARENT_GONE = 76
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent_pid: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when the parent dies; exits at once when it is dead already.

    Linux only. Elsewhere it does nothing: there a child watches its standard input instead
    (gateway.serve.child), and a left-over server is found at the next start.
    """
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit(PARENT_GONE)


def main(arguments: list[str]) -> None:
    import fcntl

    parent_pid, death_signal, lock_file, *command = arguments
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(LOCK_HELD)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    os.set_inheritable(descriptor, True)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    die_with_parent(int(parent_pid), int(death_signal))
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])

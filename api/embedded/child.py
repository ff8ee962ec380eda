"""Become a Postgres program: give up root, arrange to end with the parent, then exec.

Arguments: the parent's pid, the uid and gid to run as, then the program and its own arguments.
process.py runs this file by its path, in a new interpreter, because no Python code may run safely
between fork and exec in a process that has threads. For that reason it imports nothing of ours.
"""

import ctypes
import os
import signal
import sys

# <linux/prctl.h>, <linux/securebits.h>, <linux/capability.h>
PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1

ON_LINUX = sys.platform == "linux"


def main() -> None:
    """Give up root, tie the process to its parent and exec the program."""
    parent, uid, gid = (int(argument) for argument in sys.argv[1:4])
    command = sys.argv[4:]
    if os.geteuid() == 0:
        drop_root(uid, gid)
    if ON_LINUX:
        stop_with_parent(parent)
    # Python ignores SIGPIPE, and an ignored signal stays ignored after exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def drop_root(uid: int, gid: int) -> None:
    """Become `uid`; on Linux keep CAP_DAC_OVERRIDE, also after exec.

    Postgres refuses to run as root. With this capability it can still reach its files inside a
    directory that only root may enter, such as a home directory of mode 0700.
    """
    if ON_LINUX:
        # Without this, the kernel removes every capability when the uid is no longer 0.
        prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if ON_LINUX:
        keep_only(CAP_DAC_OVERRIDE)


def keep_only(capability: int) -> None:
    """Give up every other capability, and pass this one on to the programs that are started."""
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; then the same for capabilities above 31
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
    check(ctypes.CDLL(None, use_errno=True).capset(header, sets), "capset")
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def stop_with_parent(parent: int) -> None:
    """Let the kernel send SIGINT when the thread that started us ends, even by kill -9.

    SIGINT is Postgres' fast shutdown: it rolls open transactions back and writes a checkpoint, so
    the next start needs no recovery. Call this after the change of uid, which would undo it.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit("The process that started Postgres has ended.")


def prctl(option: int, *arguments: int) -> None:
    """Set a property of this process; the kernel requires unused arguments to be zero."""
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    check(ctypes.CDLL(None, use_errno=True).prctl(option, *padded), f"prctl {option}")


def check(result: int, call: str) -> None:
    """Raise OSError if a system call failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(
            f"Cannot start {sys.argv[4]} as uid {sys.argv[2]}: {error}. "
            "Run as an ordinary user, or set DATABASE_URL."
        )

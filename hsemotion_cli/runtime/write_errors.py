"""Why a file cannot be written, and what helps: advice for each kind of operating-system error."""

from __future__ import annotations

import errno

ELSEWHERE = "choose another place"

_ADVICE = {
    "ENOSPC": f"the disk is full: free some space or {ELSEWHERE}",
    "EDQUOT": f"your disk quota is used up: delete files of yours there or {ELSEWHERE}",
    "EFBIG": f"the file system or a limit (ulimit -f) allows no larger file: {ELSEWHERE} or raise the limit",
    "EROFS": f"the file system is mounted read-only: {ELSEWHERE}",
    "EACCES": f"you have no permission to write there: change the permissions or {ELSEWHERE}",
    "EPERM": f"the system does not allow writing there: {ELSEWHERE}",
    "ENAMETOOLONG": "the file system allows no name or path of this length: rename the input, or choose a shorter path",
    "EILSEQ": "the file system does not allow these characters in a name: rename the input",
    "EINVAL": f"the file system may not allow this name: rename the input or {ELSEWHERE}",
    "EISDIR": f"a folder has this name: remove it or {ELSEWHERE}",
    "ENOTDIR": f"a file has the name of one of its folders: remove it or {ELSEWHERE}",
    "ENOENT": f"its folder does not exist: create it or {ELSEWHERE}",
    "ELOOP": f"links are not followed there: remove the link or {ELSEWHERE}",
    "EMFILE": "too many files are open: raise the limit (ulimit -n) or use fewer workers",
    "ENFILE": "too many files are open on this machine: close other programs and run it again",
    "EBUSY": "another program uses it: close that program and run it again",
    "ETXTBSY": "another program uses it: close that program and run it again",
    "EIO": f"the disk or network drive reports a fault: check it or {ELSEWHERE}",
    "ESTALE": "the network drive was remounted: run it again",
    "ENODEV": f"the drive is gone: connect it again or {ELSEWHERE}",
    "ENXIO": f"the drive is gone: connect it again or {ELSEWHERE}",
    "ENOTCONN": f"the network drive is not connected: connect it again or {ELSEWHERE}",
    "ETIMEDOUT": f"the network drive does not answer: connect it again or {ELSEWHERE}",
}
"""Name of an errno -> what it means here, and what to try. Not every system has every one."""

_BY_NUMBER = {number: text for name, text in _ADVICE.items() if (number := getattr(errno, name, None)) is not None}

_WINDOWS = {
    5: f"another program may have it open, or it is write-protected: close that program, unprotect it or {ELSEWHERE}",
    32: _ADVICE["EBUSY"],
    33: _ADVICE["EBUSY"],
    39: _ADVICE["ENOSPC"],
    112: _ADVICE["ENOSPC"],
    123: _ADVICE["EINVAL"],
    161: _ADVICE["EINVAL"],
    206: _ADVICE["ENAMETOOLONG"],
}
"""System error codes of Windows (winerror.h) that Python maps to an errno which says less than they do."""


def advice(error: OSError) -> str:
    """What to try, as the end of a sentence without its full stop."""
    by_windows = _WINDOWS.get(getattr(error, "winerror", None) or 0)
    return by_windows or _BY_NUMBER.get(error.errno or 0) or ELSEWHERE


def reason(error: OSError) -> str:
    """The system's message, or the text of the error if there is none."""
    return error.strerror or str(error) or type(error).__name__


def is_bad_name(error: OSError) -> bool:
    """Whether the file system does not allow the name."""
    numbers = (errno.ENAMETOOLONG, getattr(errno, "EILSEQ", -1), errno.EINVAL)
    return error.errno in numbers or getattr(error, "winerror", None) in (123, 161, 206)

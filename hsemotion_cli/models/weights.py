"""The cache of weights: ``WeightFile`` -> verified local file, downloaded if needed.

The cache is ``HSEMOTION_HOME``, or the platform's cache directory. A file is downloaded under a temporary
name, verified, and renamed. It is verified first by the checksum of the authors' repository (a git blob id), later by
the SHA-256 that is stored with it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import ModelUnavailable, OutputError
from ..runtime import file_lock
from ..runtime.user_folders import home
from ..runtime.whole_numbers import whole_number
from .cards import WeightFile
from .registry import MODELS, ModelCard

ATTEMPTS = 4
BACKOFF = 0.5
"""Seconds before the second attempt; doubled before each further one."""

TIMEOUT = 30.0
"""Seconds without data after which an attempt fails."""

CHUNK = 1 << 16
LARGEST = 1 << 30
"""Bytes; a larger response is not one of our files."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes downloaded and the total, or None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Cached:
    """State of one published file in the cache.

    Attributes:
        model: its model.
        file: the published file.
        path: where it is, or would be.
        size: in bytes, or None if it is missing.
        sha256: as stored when it was verified, or None.
    """

    model: str
    file: WeightFile
    path: Path
    size: int | None
    sha256: str | None


def offline_wanted() -> bool:
    """Whether ``HSEMOTION_OFFLINE`` is set, to anything but an empty text, 0, false or no."""
    return os.environ.get("HSEMOTION_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def place(file: WeightFile) -> Path:
    """The path of a published file in the cache."""
    return home() / "weights" / file.name


def derived(name: str) -> Path:
    """The path in the cache of a file made from weights (converted, exported)."""
    return home() / "converted" / name


def ensure(file: WeightFile, offline: bool = False, progress: Progress | None = None) -> Path:
    """The verified local copy of a published file, downloaded if needed.

    Args:
        offline: never access the internet, as with ``HSEMOTION_OFFLINE``.

    Raises:
        ModelUnavailable: it is missing and may not or cannot be downloaded, or has the wrong checksum.
        OutputError: it cannot be written.
    """
    path = place(file)
    if path.exists():
        verify(file, path)
        return path
    if offline or offline_wanted():
        raise ModelUnavailable(
            f"{file.name} is not in the cache and downloads are off: download it from {file.url} "
            f"elsewhere and put it at {path}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            if not path.exists():  # another process may have downloaded it while this one waited
                _fetch(file, path, progress)
    except OSError as error:
        raise OutputError(_unwritable(path, error)) from error
    return path


def verify(file: WeightFile, path: Path | None = None) -> str:
    """Check a local copy against the stored SHA-256, else the published checksum; then store the SHA-256.

    Returns:
        its SHA-256, hexadecimal.

    Raises:
        ModelUnavailable: it is missing, cannot be read, or differs.
    """
    path = path or place(file)
    try:
        sha256, blob = checksums(path)
    except FileNotFoundError:
        raise ModelUnavailable(f"{path} is missing: download it with 'hsemotion models download'.") from None
    except OSError as error:
        raise ModelUnavailable(f"{path} cannot be read ({error.strerror or error}).") from error
    _compare(file, path, sha256, blob, _noted(path))
    with contextlib.suppress(OSError):  # a read-only cache works without the stored checksum
        _note(file, path, sha256, blob)
    return sha256


def checksums(path: Path) -> tuple[str, str]:
    """SHA-256 and git blob id of a file, hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    sha256, blob = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    with open(path, "rb") as stream:
        blob.update(b"blob %d\0" % os.fstat(stream.fileno()).st_size)
        while chunk := stream.read(1 << 20):
            sha256.update(chunk)
            blob.update(chunk)
    return sha256.hexdigest(), blob.hexdigest()


def cached() -> list[Cached]:
    """Every published file of every model, with its state in the cache; files are not read."""
    rows = []
    for card in MODELS.values():
        for file in published(card):
            path = place(file)
            size = path.stat().st_size if path.is_file() else None
            rows.append(Cached(card.name, file, path, size, _noted(path) if size is not None else None))
    return rows


def published(card: ModelCard) -> tuple[WeightFile, ...]:
    """The published files of a model; empty if its weights are in the package or come from the user."""
    return card.network.files if card.network else ()


def stamp(path: Path, **facts: Any) -> None:
    """Store the SHA-256 of a file that was made here, with other facts about it.

    Raises:
        OSError: it cannot be written.
    """
    content = {"sha256": checksums(path)[0], **facts}
    partial = Path(f"{path}.json.part")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, f"{path}.json")


def intact(path: Path) -> bool:
    """Whether a file that was made here exists, with the SHA-256 that ``stamp`` stored."""
    try:
        return path.is_file() and checksums(path)[0] == _noted(path)
    except OSError:
        return False


def remove(card: ModelCard) -> list[Path]:
    """Remove all files of a model from the cache, including those made from them.

    Returns:
        the removed files.

    Raises:
        OutputError: one of them cannot be removed.
    """
    paths = [place(file) for file in published(card)]
    paths += [Path(f"{path}{suffix}") for path in list(paths) for suffix in (".json", ".part", ".lock")]
    # One model's name may be a prefix of another's: files made from it have a checksum between two dots.
    paths += sorted(derived("").glob(f"{card.name}.*"))
    gone = []
    for path in paths:
        try:
            path.unlink()
            gone.append(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(f"{path} cannot be removed ({error.strerror or error}).") from error
    return gone


# --- downloading ----------------------------------------------------------------------------------------------


def _fetch(file: WeightFile, path: Path, progress: Progress | None) -> None:
    """Download, verify and rename. A partial download is continued, or discarded if it does not match."""
    part = Path(f"{path}.part")
    resumed = part.exists() and part.stat().st_size > 0
    for fresh in (False, True):
        if fresh:
            part.unlink(missing_ok=True)
        _download(file, part, progress)
        sha256, blob = checksums(part)
        try:
            _compare(file, part, sha256, blob, None)
        except ModelUnavailable:
            if resumed and not fresh:  # the partial download may belong to another version of the file
                continue
            part.unlink()
            raise
        break
    with open(part, "rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(part, path)
    _note(file, path, sha256, blob)


def _download(file: WeightFile, part: Path, progress: Progress | None) -> None:
    """Download into ``part``, continuing a partial download, with several attempts.

    Raises:
        ModelUnavailable: the server has no such file, or no attempt succeeded.
        OSError: it cannot be written.
    """
    if urlsplit(file.url).scheme not in ("https", "http"):
        raise ModelUnavailable(f"{file.name}: {file.url} is not a web address.")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        try:
            _attempt(file, part, progress)
            return
        except urllib.error.HTTPError as error:
            problem: Exception = error
            error.close()
            if error.code == 416:  # nothing left to send: start over
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 425, 429):
                advice = "the file has moved" if error.code in (404, 410) else "the server refuses it"
                raise ModelUnavailable(
                    f"{file.name} cannot be downloaded: {advice} (HTTP {error.code} from {file.url}); "
                    f"put a copy at {place(file)} if you have one."
                ) from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            problem = error
    reason = getattr(problem, "reason", None) or problem
    raise ModelUnavailable(
        f"{file.name} cannot be downloaded: {urlsplit(file.url).hostname} failed after {ATTEMPTS} "
        f"attempts ({reason}); try again, or put a copy from {file.url} at {place(file)}."
    ) from problem


def _attempt(file: WeightFile, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(file.url, headers={"User-Agent": "hsemotion-cli"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        begin = str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")
        if not (answer.status == 206 and begin):
            have = 0  # the server ignores the range and sends the whole file
        length = whole_number(answer.headers.get("Content-Length") or "")
        total = None if length is None else have + length
        with open(part, "ab" if have else "wb") as stream:
            _copy(answer, stream, have, total, progress)


def _copy(answer: Any, stream: IO[bytes], have: int, total: int | None, progress: Progress | None) -> None:
    while chunk := answer.read(CHUNK):
        stream.write(chunk)
        have += len(chunk)
        if have > LARGEST:
            raise ModelUnavailable(f"{answer.url} sends more than {LARGEST:,} bytes, more than any of our files.")
        if progress:
            progress(have, total)
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time downloads a file; the others wait. The lock file is removed afterwards.

    On a file system without locks two may download it; ``os.replace`` still keeps it complete.
    """
    place = Path(f"{path}.lock")
    with file_lock.hold(place):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes it when it is unlocked
                place.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"{path}: the disk is full; free some space or set HSEMOTION_HOME to another disk."
    return f"{error.filename or path}: cannot be written ({error.strerror or error}); set HSEMOTION_HOME elsewhere."


# --- checksums ------------------------------------------------------------------------------------------------


def _compare(file: WeightFile, path: Path, sha256: str, blob: str, noted: str | None) -> None:
    """Compare with the first known checksum: the published SHA-256, the stored one, the published git blob id."""
    for kind, expected, got in (("SHA-256", file.sha256 or noted, sha256), ("git blob id", file.git_blob, blob)):
        if expected is not None and expected != got:
            raise ModelUnavailable(
                f"{path} is damaged or another file: its {kind} is {got}, expected {expected}; "
                f"remove it and download it again from {file.url}."
            )


def _noted(path: Path) -> str | None:
    """The SHA-256 that was stored with a file when it was first verified."""
    try:
        with open(f"{path}.json", encoding="utf-8") as stream:
            noted = json.load(stream).get("sha256")
    except (OSError, ValueError, AttributeError):
        return None  # missing or unreadable: the published checksum decides
    return noted if isinstance(noted, str) else None


def _note(file: WeightFile, path: Path, sha256: str, blob: str) -> None:
    if _noted(path) != sha256:
        stamp(path, git_blob=blob, bytes=path.stat().st_size, url=file.url)

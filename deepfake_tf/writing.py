"""The one way in which files are written: whole or not at all, past links, and into devices.

A regular file is written beside its place and then put there in one step, so that neither a full disk nor a cut leaves
half of it. A symbolic link stays one: the file that it leads to is written. What is no file (a terminal, a pipe,
`/dev/null`, the process's own `/dev/stdout`) cannot be replaced and is written to.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

_DESCRIPTORS = re.compile(r"/proc/(self|\d+)(/task/\d+)?/fd|/dev/fd")
_NAME_KEPT = 32  # characters of a name that its temporary one ends in, so that suffixes stay and names stay short


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file, or into a device; see the module.

    Args:
        path: str or Path. Its folder is created where missing.
        content: bytes, or text that UTF-8 can hold.

    Raises:
        OSError: as `whole_file`.
    """
    encoded = content if isinstance(content, bytes) else content.encode("utf-8")
    if is_stream(path):
        with open_stream(path) as stream:
            stream.write(encoded)
        return
    with whole_file(path) as temporary:
        temporary.write_bytes(encoded)


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary name to write to, with the same suffix, which takes its place when all went well.

    Args:
        path: str or Path. Its folder is created where missing.

    Raises:
        OSError: the place cannot be written to; the error names it.
    """
    streams = is_stream(path)
    target = link_target(path)
    folder = Path(tempfile.gettempdir()) if streams else target.parent
    with _naming(path):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".new-", suffix=f"-{target.name[-_NAME_KEPT:]}", dir=folder)
        os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with _naming(path):
            if streams:
                with temporary.open("rb") as source, open_stream(path) as stream:
                    shutil.copyfileobj(source, stream)
            else:
                put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, target: Path) -> None:
    """Give a finished file its name, once its content is on the disk; what stood there is replaced in the same step."""
    with _naming(target):
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # else a power cut may leave the new name with nothing behind it
        umask = os.umask(0)
        os.umask(umask)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~umask
        os.chmod(temporary, mode)  # mkstemp's own is 0600
        os.replace(temporary, target)


def is_stream(path: str | Path) -> bool:
    """Whether this is written to and not replaced: a device, a pipe, or an open descriptor such as `/dev/stdout`."""
    return _descriptor_of(path) is not None or (Path(path).exists() and not stat.S_ISREG(os.stat(path).st_mode))


def open_stream(path: str | Path) -> BinaryIO:
    """Open what `is_stream` for writing; a descriptor of this process goes on where it stands.

    Raises:
        OSError: it is a folder, or takes no bytes.
    """
    descriptor = _descriptor_of(path)
    if descriptor and os.path.dirname(descriptor) in (f"/proc/{os.getpid()}/fd", "/dev/fd"):
        number = int(os.path.basename(descriptor))
        standard = {1: sys.stdout, 2: sys.stderr}.get(number)
        if standard is not None:
            standard.flush()
            with contextlib.suppress(OSError, ValueError, AttributeError):  # no descriptor: under a test's capture
                number = standard.fileno()  # of stderr, it may be another: see `cli.terminal`
        return os.fdopen(os.dup(number), "wb")
    return open(path, "wb")


def link_target(path: str | Path) -> Path:
    """The file that a path leads to by its links, whether it is there or not.

    Raises:
        OSError: the links lead in a circle.
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))
    return target


def check_file(path: str | Path, option: str = "--output") -> None:
    """Whether a file can be written there; before work that would be lost.

    Args:
        path: str or Path.
        option: what the user calls it, for the message.

    Raises:
        OSError: it is a folder, lies below a file, or its folder may not be written to.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{option} must be a file. Received a folder: {path}")
    if is_stream(path):
        return
    _check_writable(link_target(path).parent, f"{option} {path}")


def check_folder(path: str | Path, option: str = "--output") -> None:
    """Whether files can be written into a folder of this name; before work that would be lost.

    Raises:
        OSError: it is a file, lies below one, or may not be written to.
    """
    if os.path.lexists(path) and not Path(path).is_dir():
        raise NotADirectoryError(f"{option} must be a folder. Received: {path}, which is none")
    _check_writable(Path(os.path.realpath(path)), f"{option} {path}")


def _descriptor_of(path: str | Path) -> str | None:
    """Where `path`, followed by its links, is a name of an open descriptor, such as `/proc/self/fd/1`: that name.

    It may stand for a regular file, by the shell's `>`: replaced, the shell's other lines would go elsewhere.
    """
    place = os.path.abspath(path)
    for _ in range(40):  # as many links as Linux follows
        folder, name = os.path.split(place)
        folder = os.path.realpath(folder)
        if name.isdigit() and _DESCRIPTORS.fullmatch(folder):
            return os.path.join(folder, name)
        if not os.path.islink(place):
            return None
        place = os.path.join(folder, os.readlink(place))
    return None


def _check_writable(folder: Path, what: str) -> None:
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise NotADirectoryError(f"{what}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{what}: the folder {there} may not be written to")


@contextlib.contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Errors name the place that the user knows, not the temporary one."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = os.fspath(path), None
        raise


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write files that belong together: none takes its place before all are complete.

    Whatever kills this between the renames, each file is whole, and those that are still to follow lie under `part_of`:
    a reader that sees that its files do not match finds the missing ones there. The next call overwrites them.

    Args:
        contents: path -> content, in the order in which they take their places.
    """
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        part_of(path).write_bytes(content)
    for path in contents:
        os.replace(part_of(path), path)


def part_of(path: Path) -> Path:
    """Where `write_together` holds a file ready."""
    return path.with_name(f".{path.name}.part")


def replace_folder(new: Path, target: Path) -> None:
    """Move a complete folder to its place; whatever kills this, the old or the new one stands there, whole.

    Where the file system can exchange two names at once (most of Linux), there is no moment between. Elsewhere the
    old folder is renamed aside first; `restore_folder` puts it back after a kill between the two renames.

    Args:
        new: Path. On the same file system as `target`; it is gone afterwards.
        target: Path. A folder to be replaced, or nothing yet.
    """
    old = new
    if not target.exists():
        os.replace(new, target)
    elif not _exchange(new, target):
        old = _aside(target)
        os.replace(target, old)
        os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(target: Path) -> None:
    """Put right what a killed `replace_folder` left behind: call it before the folder is looked at."""
    aside = _aside(target)
    if aside.exists() and not target.exists():
        os.replace(aside, target)
    shutil.rmtree(aside, ignore_errors=True)


def _aside(target: Path) -> Path:
    # Hidden, and no number: a server that watches the version folders beside it must not take it for one.
    return target.with_name(f".{target.name}.replaced")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # no such function, or (Windows) no such library
        return False
    at_working_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(at_working_folder, os.fsencode(one), at_working_folder, os.fsencode(other), exchange) == 0

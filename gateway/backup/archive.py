"""The file of a backup: a tar archive, compressed by gzip, with its manifest first.

Members come from a folder and go to a folder; nothing of a backup is used before all of it has been read and
every checksum was right. Names are of a closed form, so that no archive writes anywhere else.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import IO

from gateway.backup.manifest import BackupError, Manifest, Member, read_manifest

MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
BLOCK = 1024 * 1024
_NAME = re.compile(r"(?:(?:journal|spill)/)?[A-Za-z0-9_-][A-Za-z0-9._-]*")


def members_of(folder: Path) -> dict[str, Member]:
    """Every file below the folder, with its checksum."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = Member(path.stat().st_size, digest)
    return found


def write_archive(target: Path, folder: Path, manifest: Manifest) -> None:
    """Write the folder's members to `target`, which only its owner may read, in one step: a file there is
    replaced when the new one is whole and on the disk. Raises OSError."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            with tarfile.open(fileobj=out, mode="w:gz", compresslevel=6) as archive:
                text = manifest.encode()
                _add(archive, MANIFEST, len(text), manifest.made_ms, BytesIO(text))
                for name, member in manifest.members.items():
                    with (folder / name).open("rb") as file:
                        _add(archive, name, member.bytes, manifest.made_ms, file)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def unpack(source: Path, folder: Path) -> Manifest:
    """Write every member of the backup into the folder and prove that it is what was backed up.

    Raises BackupError for a file that is no backup, or a damaged one.
    """
    try:
        with tarfile.open(source, "r:gz") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or first.size > MANIFEST_BYTES_MAX:
                raise BackupError(f"{source} is no backup of Tollkeeper")
            manifest = read_manifest(_content(archive, first).read())
            missing = dict(manifest.members)
            while (item := archive.next()) is not None:
                expected = missing.pop(item.name, None)
                if expected is None or not _NAME.fullmatch(item.name):
                    raise BackupError(f"{source} holds {item.name!r}, which its manifest does not name")
                if _unpack_one(_content(archive, item), folder / item.name) != expected:
                    raise BackupError(f"{source} is damaged: the checksum of {item.name} is wrong")
    except FileNotFoundError:
        raise BackupError(f"{source}: no such file") from None
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise BackupError(f"{source} cannot be read: {error}") from error
    if missing:
        raise BackupError(f"{source} is damaged: {_listed(missing)} missing")
    return manifest


def _add(archive: tarfile.TarFile, name: str, size: int, at_ms: int, content: IO[bytes]) -> None:
    item = tarfile.TarInfo(name)
    item.size, item.mode, item.mtime = size, 0o600, at_ms // 1_000
    archive.addfile(item, content)


def _content(archive: tarfile.TarFile, item: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(item)
    if content is None:
        raise BackupError(f"the backup holds {item.name!r}, which is no file")
    return content


def _unpack_one(content: IO[bytes], path: Path) -> Member:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        while block := content.read(BLOCK):
            digest.update(block)
            size += len(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    return Member(size, digest.hexdigest())


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return f"{', '.join(found)} {'is' if len(found) == 1 else 'are'}"

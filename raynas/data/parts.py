"""Encoded images that are files, or parts of files: members of archives, found once and read by their place.

A member is read from its bytes in the archive, without a file that is kept open: so any process and thread may read at
any time. Nothing is extracted, and a member's name opens no path.
"""

from __future__ import annotations

import os
import re
import shlex
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from raynas.data.encoded import Reader
from raynas.errors import DataError, error_words, printable

_LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name
_LARGEST = 1 << 30  # bytes of one encoded image
_UNCOMPRESS = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}

_COMPRESSED_NAME = re.compile(r"(\.tar)?\.(gz|bz2|xz|zst)$|\.t(gz|bz2?|xz|zst)$")


class Part(NamedTuple):
    """Where an encoded image is.

    Args:
        path: The file that it is, or that it is in.
        name: What people know it by: its path in the folder or archive, with / between.
        offset: Where its first byte is; -1 where the file as a whole is the image.
        size: How many bytes it has.
        packed: How many bytes it takes in the archive, where it is compressed there; else -1.
        checksum: CRC-32 of its bytes, where the archive says it; else -1.
    """

    path: Path
    name: str
    offset: int = -1
    size: int = -1
    packed: int = -1
    checksum: int = -1


class Parts:
    """A store of images that are files or parts of files."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = list(parts)

    def __len__(self) -> int:
        return len(self._parts)

    def name(self, row: int) -> str:
        """See Store."""
        return self._parts[row].name

    def place(self, row: int) -> str:
        """See Store."""
        part = self._parts[row]
        return str(part.path) if part.offset < 0 else f"{part.name} in {part.path}"

    def readers(self, rows: np.ndarray) -> Iterator[tuple[int, Reader]]:
        """See Store."""
        for row in rows.tolist():
            yield row, partial(read_part, self._parts[row])

    def sizes(self, rows: np.ndarray) -> np.ndarray:
        """See Store."""
        return np.array([_size_of(self._parts[row]) for row in rows.tolist()], dtype=np.int64)

    def hold(self) -> None:
        """Nothing is to be done."""


def _size_of(part: Part) -> int:
    if part.offset >= 0:
        return part.size
    try:
        return os.stat(part.path).st_size  # noqa: PTH116 - a third faster than the path's own, of ten thousands
    except OSError:
        return -1


def read_part(part: Part) -> bytes:
    """The bytes of an encoded image.

    Raises:
        OSError: The file is missing or cannot be read, or the archive is damaged there.
    """
    if part.offset < 0:
        return part.path.read_bytes()
    if part.packed < 0:
        content = _bytes_at(part.path, part.offset, part.size)
    else:
        start = part.offset + _LOCAL_HEADER
        header = _bytes_at(part.path, part.offset, _LOCAL_HEADER)
        start += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        content = _bytes_at(part.path, start, part.packed)
        if part.packed != part.size or zlib.crc32(content) != part.checksum:
            content = _inflated(content, part)
    if len(content) != part.size or (part.checksum >= 0 and zlib.crc32(content) != part.checksum):
        raise OSError("it is damaged there")
    return content


def _inflated(content: bytes, part: Part) -> bytes:
    """Unpack a member, to no more than a byte beyond what the archive's directory has said, whatever is packed."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, part.size + 1)
    except zlib.error as error:
        raise OSError(f"it is damaged there ({error_words(error)})") from None


def _bytes_at(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), size, offset)


def members_of(spec: str, path: Path) -> tuple[list[Part], list[tuple[str, str]]]:
    """The members of an archive, and what is passed over in it, each with the reason.

    Raises:
        DataError: It is no archive, or one without a place for each member.
        OSError: It cannot be read.
    """
    try:
        if zipfile.is_zipfile(path):
            return _zip_members(path)
        with tarfile.open(path, "r:") as archive:
            return _tar_members(path, archive)
    except (tarfile.TarError, zipfile.BadZipFile, NotImplementedError) as error:
        if (tool := _compressed_by(path)) is not None:
            tar = shlex.quote(str(path.with_name(f"{_COMPRESSED_NAME.sub('', path.name)}.tar")))
            raise DataError(
                f"data {spec!r}: {path} is compressed as a whole, so that single images cannot be read from it; "
                f"`{tool} -c {shlex.quote(str(path))} > {tar}` makes a .tar of it, which is hardly larger with "
                "compressed images in it"
            ) from None
        raise DataError(f"data {spec!r}: {path} cannot be read as a zip or tar archive: {error_words(error)}") from None


def _compressed_by(path: Path) -> str | None:
    """The command that uncompresses a file, by how it begins; None if it is not compressed."""
    start = _bytes_at(path, 0, max(map(len, _UNCOMPRESS)))
    return next((tool for magic, tool in _UNCOMPRESS.items() if start.startswith(magic)), None)


def _tar_members(path: Path, archive: tarfile.TarFile) -> tuple[list[Part], list[tuple[str, str]]]:
    parts, passed = [], []
    for member in archive:
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            passed.append((_tidy(member.name), "no plain file in the archive"))
        elif member.size > _LARGEST:
            passed.append((_tidy(member.name), "too large for an image"))
        else:
            parts.append(Part(path, _tidy(member.name), member.offset_data, member.size))
    return parts, passed


def _zip_members(path: Path) -> tuple[list[Part], list[tuple[str, str]]]:
    parts, passed = [], []
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        if member.is_dir():
            continue
        if member.flag_bits & 1:
            passed.append((_tidy(member.filename), "encrypted in the archive"))
        elif member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            passed.append((_tidy(member.filename), "packed by a method other than deflate"))
        elif member.file_size > _LARGEST:
            passed.append((_tidy(member.filename), "too large for an image"))
        else:
            place = (member.header_offset, member.file_size, member.compress_size, member.CRC)
            parts.append(Part(path, _tidy(member.filename), *place))
    return parts, passed


def _tidy(name: str) -> str:
    return printable("/".join(part for part in name.split("/") if part not in ("", ".")))

"""Images that are files of a folder, wherever in it, without labels: what is new to a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raynas.data.class_folders import gathered, in_order
from raynas.data.decoding import readable_extensions
from raynas.data.encoded import EncodedImages
from raynas.data.folder import images_below
from raynas.data.labels import without_labels
from raynas.data.options import DataOptions
from raynas.data.parts import Part, Parts
from raynas.errors import DataError, printable
from raynas.wording import first_of

_SHOWN = 5


class FileImages(EncodedImages):
    """Images of a folder and of the folders in it, in the order of their paths.

    Args:
        spec: The text that opened the data set.
        root: The folder.
        parts: The files.
        options: How images are read.
        left_out: Names of images that are no rows of the data set.
        passed: Names of what is passed over, with the reason.
    """

    def __init__(
        self,
        spec: str,
        root: Path,
        parts: Sequence[Part],
        options: DataOptions,
        *,
        left_out: Sequence[str],
        passed: Sequence[tuple[str, str]],
    ) -> None:
        super().__init__(
            spec,
            Parts(parts),
            without_labels(len(parts)),
            options,
            lacks_labels="images of the form files:DIR have no labels",
            passed_over=gathered(passed),
            left_out=left_out,
        )
        self._paths = [part.path.relative_to(root).as_posix() for part in parts]

    def path(self, row: int) -> str:
        """The path of an image in the folder, with / between.

        It is that on the disk, where `name` has line breaks and the like escaped; but what is no UTF-8 is escaped here,
        too.
        """
        path = self._paths[int(self._rows[row])]
        try:
            path.encode()
        except UnicodeEncodeError:
            return printable(path)
        return path


def open_files(spec: str, where: str, options: DataOptions, left_out: Sequence[str]) -> FileImages:
    """All images of a folder and of the folders in it, or one image that is named itself; none has a label.

    Raises:
        DataError: There is no such folder, or no image is in it.
    """
    root = Path(where)
    if root.is_file():
        return FileImages(spec, root.parent, [Part(root, printable(root.name))], options, left_out=left_out, passed=())
    if not root.is_dir():
        raise DataError(f"data {spec!r}: there is no folder {where!r}")
    found, passed, _ = images_below(root)
    if not found:
        others = f"; there are {first_of([name for name, _ in passed], _SHOWN)}" if passed else ""
        raise DataError(
            f"data {spec!r}: no images in {where!r} and the folders in it; expected files ending with "
            f"{', '.join(readable_extensions())}{others}"
        )
    parts = [Part(found[name], name) for name in in_order(found)]
    return FileImages(spec, root, parts, options, left_out=left_out, passed=passed)

"""The source files of a training set, and the names of the images made from them."""

from pathlib import Path
from typing import NamedTuple

from basicsr_m2trans.data.dicom import anonymous_name, is_dicom_file
from basicsr_m2trans.data.images import is_image_file, list_images
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import safe_name


class SourceFile(NamedTuple):
    """An image file or a DICOM file."""

    path: str  # relative to the HR folder, with `/`
    name: str  # of its images; of a DICOM file by `anonymous_name`
    dicom: bool

    @property
    def key(self) -> str:
        """The file's key in the manifest, which does not hold the path of a DICOM file either."""
        return self.name if self.dicom else self.path


def find_sources(hr_folder: Path) -> tuple[dict[str, SourceFile], list[str]]:
    """Find image and DICOM files in a folder and its sub-folders; DICOM is read whole for its name.

    Returns:
        The sources by their key, and one sentence for each DICOM file left out because it repeats
        an earlier one.

    Raises:
        InputError: the folder does not exist or holds no such file, or two image files would have
            the same name.
    """
    sources: dict[str, SourceFile] = {}
    copies: list[str] = []
    owners: dict[str, str] = {}
    for file in list_images(
        hr_folder, recursive=True, accept=lambda path: is_image_file(path) or is_dicom_file(path)
    ):
        relative, dicom = file.relative_to(hr_folder), is_dicom_file(file)
        stem = "_".join(relative.with_suffix("").parts)
        name = anonymous_name(file) if dicom else safe_name(stem)
        source = SourceFile(relative.as_posix(), name, dicom)
        if source.key in sources:
            copies.append(f"{file}: is a copy of {hr_folder / sources[source.key].path}")
            continue
        if name in owners:
            raise InputError(
                f"{hr_folder}: {owners[name]} and {source.path} would both be called {name}; "
                "rename one of them"
            )
        owners[name] = source.path
        sources[source.key] = source
    return sources, copies

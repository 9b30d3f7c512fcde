"""Which files are upscaled, and where each result goes."""

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from basicsr_m2trans.apps.files.video import VIDEO_EXTENSIONS
from basicsr_m2trans.data.dicom import DICOM_EXTENSIONS, anonymous_name, is_dicom_file
from basicsr_m2trans.data.images import is_image_file
from basicsr_m2trans.utils.errors import InputError
from basicsr_m2trans.utils.names import IMAGE_EXTENSIONS

_SUPPORTED = ", ".join((*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS, "DICOM"))


@dataclass(frozen=True)
class Job:
    """One file to upscale: from `source` to `target`."""

    source: Path
    target: Path

    @property
    def comparison(self) -> Path:
        """Where the picture of bicubic and network side by side goes."""
        return self.target.with_name(f"{self.target.name}_compare.png")


def plan_jobs(inputs: Iterable[str], out: Path, deidentify: bool = False) -> list[Job]:
    """Find the files to upscale and the name of each result.

    Args:
        inputs: files, folders (searched with their sub-folders, whose structure is kept), and
            patterns such as `scans/**/*.png`.
        out: a folder; or, for one input file, the file to write, if it has the extension of an
            image, video or DICOM.
        deidentify: give DICOM results names that say nothing of the path.

    Returns:
        The jobs, sorted by source within each input, without hidden files and what lies in `out`.

    Raises:
        InputError: an input does not exist or holds nothing that can be upscaled, or two results
            would have one name, or one would replace its own source.
    """
    inputs = list(inputs)
    sources = [found for text in inputs for found in _find(text, out)]
    single = (
        len(sources) == 1
        and sources[0][0].is_file()
        and not Path(inputs[0]).is_dir()
        and not out.is_dir()
    )
    if single and out.suffix.lower() in (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS, *DICOM_EXTENSIONS):
        if _kind(out) != _kind(sources[0][0]):
            raise InputError(
                f"-o {out}: {sources[0][0]} cannot be written as {out.suffix}; keep its extension"
            )
        jobs = [Job(sources[0][0], out)]
    else:
        jobs = []
        for source, relative in sources:
            if deidentify and is_dicom_file(source):
                relative = Path(f"{anonymous_name(source)}.dcm")
            jobs.append(Job(source, out / relative))
    owners: dict[Path, Path] = {}
    for job in jobs:
        target = job.target.resolve()
        if target in owners:
            raise InputError(
                f"{owners[target]} and {job.source} would both become {job.target}; upscale them "
                "in two runs"
            )
        if target == job.source.resolve():
            raise InputError(
                f"{job.source}: would be replaced by its result; name another output by -o"
            )
        owners[target] = job.source
    return jobs


def _find(text: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """The files that one input means, and the path of each below the output folder."""
    path = Path(text)
    if path.is_file():
        if not _is_supported(path):
            raise InputError(f"{path}: is not a file that can be upscaled ({_SUPPORTED})")
        yield path, Path(path.name)
        return
    if path.is_dir():
        folder, found = path, path.rglob("*")
    else:
        folder, found = None, (Path(match) for match in glob.glob(text, recursive=True))
    files = sorted(
        file
        for file in found
        if not file.name.startswith(".")
        and out.resolve() not in file.resolve().parents
        and _is_supported(file)
    )
    if not files:
        no_match = "there is no such file or folder, or the pattern finds"
        raise InputError(
            f"{text}: {'this folder holds' if folder else no_match} nothing outside of {out} that "
            f"can be upscaled ({_SUPPORTED})"
        )
    for file in files:
        yield file, file.relative_to(folder) if folder else Path(file.name)


def _is_supported(path: Path) -> bool:
    return (
        is_image_file(path)
        or (path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file())
        or is_dicom_file(path)
    )


def _kind(path: Path) -> str:
    """What a file with this name is taken for; only images can change their format."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_EXTENSIONS:
        return "image"
    return suffix if suffix in VIDEO_EXTENSIONS else "DICOM"

"""Leaving out of a DICOM file what does not describe its pixels."""

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

# Group of tags kept but for its free text: how pixels are stored and shown.
_IMAGE_GROUP = 0x0028
_FREE_TEXT = ("LT", "ST", "UT", "UC", "UR", "SH", "LO", "PN")
# Terms of the standard, which are stored as text, without which levels cannot be read.
_TERMS = ("RescaleType", "ModalityLUTType")
_KEPT = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImageType",
    "Modality",
    "DerivationDescription",
    "DerivationCodeSequence",
    "SourceImageSequence",
    "SequenceOfUltrasoundRegions",
    "FrameTime",
    "FrameTimeVector",
    "FrameIncrementPointer",
    "FrameDelay",
    "CineRate",
    "RecommendedDisplayFrameRate",
    "PreferredPlaybackSequencing",
    "ActualFrameDuration",
    "EffectiveDuration",
    "StartTrim",
    "StopTrim",
    "NumberOfStages",
    "NumberOfViewsInStage",
    "HeartRate",
    "TransducerType",
    "TransducerFrequency",
    "LossyImageCompression",
)
# Attributes that a valid file must have, if only empty (type 2 of the Patient, Study, Series and
# Equipment modules).
_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "SeriesNumber",
    "InstanceNumber",
    "Manufacturer",
    "PatientOrientation",
)


class Deidentifier:
    """Keeps of DICOM files what describes pixels, regions, scale and timing, and nothing else.

    UIDs are replaced by pydicom's `generate_uid`, the same one by the same for all files of one
    `Deidentifier`, so that studies and series stay together; the secret that leads from one to the
    other is forgotten with it. Text that is burnt into the pixels stays. This is not one of the
    confidentiality profiles of DICOM PS3.15.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_hex(32)

    def apply(self, dataset: "Dataset") -> "Dataset":
        """What remains of `dataset`, with new file meta information; both share their values."""
        import pydicom

        kept = pydicom.Dataset()
        kept.file_meta = pydicom.dataset.FileMetaDataset()
        kept.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        for element in dataset:
            if element.tag.group == _IMAGE_GROUP or element.keyword in _KEPT:
                kept.add(element)
        kept.remove_private_tags()
        kept.walk(_remove_text)
        kept.walk(lambda _, element: self._replace_identifier(element))
        for keyword in _EMPTY:
            setattr(kept, keyword, None)
        kept.PatientIdentityRemoved = "YES"
        kept.DeidentificationMethod = "basicsr_m2trans: all but pixels, regions and timing removed"
        return kept

    def _replace_identifier(self, element: "DataElement") -> None:
        from pydicom.uid import generate_uid

        # The UIDs of DICOM itself, such as those of classes, begin with 1.2.840.10008.
        if element.VR == "UI" and not str(element.value).startswith("1.2.840.10008."):
            element.value = generate_uid(entropy_srcs=[self._secret, str(element.value)])


def _remove_text(dataset: "Dataset", element: "DataElement") -> None:
    """Remove from `dataset` what somebody may have typed into the description of the pixels."""
    free_text = element.VR in _FREE_TEXT and element.keyword not in _TERMS
    if free_text and element.tag.group == _IMAGE_GROUP:
        del dataset[element.tag]

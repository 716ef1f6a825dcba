"""What reading files yields, on its way from a codec worker to the tables."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """A row of ``pixels`` and its frame table.

    ``image`` is JSON. ``pages`` are the rows of the frame table in order,
    `domain.image_sets.frame_table.PAGE` entries each. ``checks`` are the rows of
    `domain.image_sets.frame_checks` that belong to them, None for what was stored before there were any.
    An instance whose pixel data could not be split has
    ``frame_count`` 0 and one entry that spans all its bytes.
    """

    key: int
    pack: int
    stored_syntax: str
    frame_count: int
    checksum_type: str
    width: int
    height: int
    image: bytes
    decoder: str
    pages: list[bytes]
    checks: list[bytes | None]


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A row of ``record`` and of ``staged``.

    ``patient``, ``study`` and ``series`` are hashes of level blocks, whose bodies are in
    `Dependencies.level_values`. ``fragment_z`` and ``dicom_z`` are the compressed attributes, as the native
    document shows them and in the DICOM JSON Model, each with the key of its dictionary. ``grouping`` is
    JSON, ``warnings`` the JSON array of the manifests. ``shared_pixels`` is the key of pixels that were
    already stored, and ``pack`` may be an existing one, too; see `ingest.duplicates`.
    """

    file: int
    input_file: str
    key: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str | None
    instance_number: int | None
    grouping: str
    patient: bytes
    study: bytes
    series: bytes
    fragment_z: bytes
    dictionary: int | None
    dicom_z: bytes
    dicom_dictionary: int | None
    pack: int
    original_offset: int
    original_length: int
    override_z: bytes | None
    warnings: str | None
    pixels: StoredPixels | None
    shared_pixels: int | None = None

    @property
    def pixels_key(self) -> int | None:
        """The key of its pixels, new or already stored."""
        return self.pixels.key if self.pixels is not None else self.shared_pixels


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that is not imported, and why; ``exception_type`` says whose fault it is.

    ``is_dicom`` is False of a file that shows no sign of being DICOM.
    """

    file: int
    input_file: str
    exception_type: str
    message: str
    is_dicom: bool = True


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the records of a chunk name and share.

    ``level_values``: hash of a level block → its zstd-compressed JSON. ``dictionaries``: key → bytes.
    ``packs``: key → (size, CRC-32 of the whole), all durable; ``seals``: key → seal of those that are sealed.
    """

    level_values: dict[bytes, bytes] = field(default_factory=dict)
    dictionaries: dict[int, bytes] = field(default_factory=dict)
    packs: dict[int, tuple[int, int]] = field(default_factory=dict)
    seals: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class ChunkResult:
    """Everything that reading a chunk yields."""

    records: list[NewRecord] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    dependencies: Dependencies = field(default_factory=Dependencies)

    def used(self) -> Dependencies:
        """What the records do name: a file may have failed after it had begun a pack or brought a block."""
        blocks = {value for r in self.records for value in (r.patient, r.study, r.series)}
        dictionaries = {key for r in self.records for key in (r.dictionary, r.dicom_dictionary)}
        packs = {r.pack for r in self.records} | {r.pixels.pack for r in self.records if r.pixels}
        given = self.dependencies
        return Dependencies(
            {value: body for value, body in given.level_values.items() if value in blocks},
            {key: body for key, body in given.dictionaries.items() if key in dictionaries},
            {key: place for key, place in given.packs.items() if key in packs},
            {key: seal for key, seal in given.seals.items() if key in packs},
        )

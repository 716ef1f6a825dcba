import imagecodecs
import jpeg_ls
import numpy as np
import pytest
from rle.rle import decode_frame

from lightwell.imaging.dataset.transfer_syntaxes import LOSSLESS_SYNTAXES, SYNTAXES
from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels import rle
from lightwell.imaging.pixels.codestream_header import read_header
from lightwell.imaging.pixels.decode import decode_frame as decode
from lightwell.imaging.pixels.lossless_encoders import encode, encoded_photometric
from lightwell.imaging.pixels.lossless_jpeg import check_coded_length
from tests.unit.imaging.pixel_files import image_of, noise

ROOT = "1.2.840.10008.1.2."
SV1, JPEG_LS, RLE = f"{ROOT}4.70", f"{ROOT}4.80", f"{ROOT}5"


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(2, 3), (33, 65), (33, 47, 3)])
def test_gives_the_same_samples_to_the_decoders_of_imports(
    syntax: str, kind: str, shape: tuple[int, ...]
) -> None:
    for samples in (noise(shape, kind), np.zeros(shape, kind)):
        coded = encode(samples, "RGB", syntax)
        found, _ = decode(coded, SYNTAXES[syntax].codec, image_of(samples))
        assert found.dtype == samples.dtype and np.array_equal(found, samples)


@pytest.mark.parametrize("kind", ["u1", "i2"])
@pytest.mark.parametrize("shape", [(1, 65), (65, 1), (33, 47), (33, 47, 3)])
def test_gives_the_same_samples_to_independent_decoders(kind: str, shape: tuple[int, ...]) -> None:
    samples = noise(shape, kind)
    plain = samples.view(f"u{samples.itemsize}")
    assert np.array_equal(jpeg_ls.decode(np.frombuffer(encode(samples, "RGB", JPEG_LS), np.uint8)), plain)
    planes = decode_frame(encode(samples, "RGB", RLE), shape[0] * shape[1], samples.itemsize * 8, "<")
    count = shape[2] if len(shape) == 3 else 1
    assert np.array_equal(
        np.frombuffer(planes, samples.dtype).reshape(count, -1).T, samples.reshape(-1, count)
    )
    if samples.ndim == 2:
        assert np.array_equal(imagecodecs.ljpeg_decode(encode(samples, "RGB", SV1)), plain)


@pytest.mark.parametrize("syntax", [SV1, JPEG_LS])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
def test_codes_all_bits_so_that_every_reader_gets_the_sign(syntax: str, kind: str) -> None:
    samples = np.array([[-1, 5, -7], [4, 3, -2]]).astype(kind)
    header = read_header(encode(samples, "MONOCHROME2", syntax), SYNTAXES[syntax].codec)
    assert (header.precision, header.process) == (samples.itemsize * 8, 0xC3 if syntax == SV1 else 0xF7)


@pytest.mark.parametrize(
    ("kind", "shape", "bits_stored", "greatest", "precision"),
    [
        ("u2", (33, 47), 10, 1023, 10),
        ("u2", (33, 47), 10, 1024, 16),  # above BitsStored, as old overlays are
        ("u2", (33, 47), 8, 255, 16),  # decoders make bytes of 8 bits
        ("u2", (33, 47, 3), 10, 1023, 16),
        ("i2", (33, 47), 10, 511, 16),
        ("u1", (33, 47), 6, 63, 8),
    ],
)
def test_names_the_bits_stored_of_grey_jpeg_2000(
    kind: str, shape: tuple[int, ...], bits_stored: int, greatest: int, precision: int
) -> None:
    samples = np.minimum(noise(shape, kind), greatest)
    samples.flat[0] = greatest
    coded = encode(samples, "RGB" if len(shape) == 3 else "MONOCHROME1", f"{ROOT}4.90", bits_stored)
    assert read_header(coded, "jpeg2000").precision == precision
    found, _ = decode(coded, "jpeg2000", image_of(samples, bits_stored=bits_stored))
    assert found.dtype == samples.dtype and np.array_equal(found, samples)


def test_codes_the_greatest_difference_of_lossless_jpeg() -> None:
    samples = np.array([[0, 32768, 0, 65535], [65535, 0, 32768, 32767]], np.uint16)
    coded = encode(samples, "MONOCHROME2", SV1)
    assert coded[coded.index(b"\xff\xda") + 7] == 1  # the selection value
    assert np.array_equal(imagecodecs.ljpeg_decode(coded), samples)


def test_leaves_padding_after_the_last_sample_of_lossless_jpeg() -> None:
    padded = 0
    for columns in range(2, 60):
        samples = noise((3, columns), "u2") & 0x3FF
        coded = encode(samples, "MONOCHROME2", SV1)
        whole = coded.endswith(b"\xff\x00\xff\xd9")
        plain = coded[:-4] + b"\xff\xd9" if whole else coded
        check_coded_length(coded, samples)
        # A whole byte of padding is added where there would be none: so one bit less is too few.
        shorter = plain[:-3] + bytes([plain[-3] & 0xFE]) + plain[-2:]
        assert np.array_equal(imagecodecs.ljpeg_decode(coded), samples)
        if not whole:
            assert plain[-3] & 1
        elif plain[-3] & 1:
            assert not np.array_equal(imagecodecs.ljpeg_decode(shorter), samples)
        padded += whole
    assert 0 < padded < 40


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_names_the_components_of_lossless_jpeg_by_their_colours(kind: str) -> None:
    samples = (np.indices((64, 80)).sum(0)[..., None] + [0, 1, 2]).astype(kind)
    for photometric, components, is_marked in (("RGB", b"RGB", True), ("YBR_FULL", b"\1\2\3", False)):
        coded = encode(samples, photometric, SV1)
        frame, scan = coded.index(b"\xff\xc3"), coded.index(b"\xff\xda")
        assert coded[frame + 10 : frame + 19 : 3] == coded[scan + 5 : scan + 11 : 2] == components
        assert (b"Adobe" in coded, b"JFIF" in coded) == (is_marked, False)
        space = "rgb" if is_marked else "ycbcr"
        assert np.array_equal(imagecodecs.jpeg8_decode(coded, colorspace=space, outcolorspace=space), samples)
        found, _ = decode(coded, "jpeg", image_of(samples, photometric=photometric))
        assert np.array_equal(found, samples)


def test_packs_each_row_by_itself_into_segments_of_even_length() -> None:
    coded = encode(np.zeros((3, 5), np.uint8), "MONOCHROME2", RLE)
    assert coded[64:] == b"\xfc\0" * 3
    coded = encode(np.arange(4, dtype=np.uint8).reshape(1, 4), "MONOCHROME2", RLE)
    assert coded[64:] == b"\3\0\1\2\3\0"


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
def test_says_which_colours_the_codestream_has(syntax: str) -> None:
    transforms = SYNTAXES[syntax].codec == "jpeg2000"
    assert encoded_photometric("RGB", syntax) == ("YBR_RCT" if transforms else "RGB")
    for unchanged in ("YBR_FULL", "MONOCHROME1", "PALETTE COLOR"):
        assert encoded_photometric(unchanged, syntax) == unchanged
    if transforms:
        for photometric in ("RGB", "YBR_FULL"):
            header = read_header(encode(noise((9, 9, 3), "u1"), photometric, syntax), "jpeg2000")
            assert header.transform is (photometric == "RGB")


@pytest.mark.parametrize(
    ("syntax", "decoder"), [(SV1, "jpeg8_decode"), (JPEG_LS, "jpegls_decode"), (RLE, "packbits_decode")]
)
def test_refuses_a_frame_that_decodes_to_something_else(
    syntax: str, decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagecodecs, decoder, lambda *_, **__: np.zeros((20, 30), np.uint16))
    with pytest.raises(PixelFailure, match="same pixels"):
        encode(noise((20, 30), "u2"), "MONOCHROME2", syntax)


@pytest.mark.parametrize("syntax", [SV1, JPEG_LS])
def test_refuses_what_cannot_be_coded(syntax: str) -> None:
    with pytest.raises(PixelFailure):
        encode(np.zeros((4, 4, 5), np.uint16), "RGB", syntax)


def test_reads_its_own_rle() -> None:
    samples = noise((7, 5, 3), "u2")
    assert np.array_equal(rle.decode(rle.encode(samples), image_of(samples)), samples)

import imagecodecs
import numpy as np
import pytest

from lightwell.imaging.errors import PixelFailure
from lightwell.imaging.pixels import jpeg2000
from lightwell.imaging.pixels.codestream_header import read_header
from tests.unit.imaging.pixel_files import noise


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2"])
@pytest.mark.parametrize("shape", [(2, 2), (64, 65), (33, 47, 3)])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_is_an_exact_bare_codestream(kind: str, shape: tuple[int, ...], photometric: str) -> None:
    samples = noise(shape, kind)
    coded = jpeg2000.encode(samples, photometric)
    header = read_header(coded, "jpeg2000")
    assert header.precision == samples.itemsize * 8
    assert header.transform is (len(shape) == 3 and photometric == "RGB")
    assert np.array_equal(imagecodecs.jpeg2k_decode(coded, planar=False), samples)


def test_uses_the_reversible_wavelet_without_ht() -> None:
    coded = jpeg2000.encode(noise((64, 65), "u2"), "MONOCHROME2")
    style = coded[coded.index(b"\xff\x52") :]
    assert style[13] == 1
    assert style[12] == 0


def test_refuses_a_frame_that_decodes_to_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", lambda *_, **__: np.zeros((20, 30), np.uint16))
    with pytest.raises(PixelFailure, match="same pixels"):
        jpeg2000.encode(noise((20, 30), "u2"), "MONOCHROME2")


def test_refuses_what_cannot_be_coded() -> None:
    with pytest.raises(PixelFailure):
        jpeg2000.encode(np.zeros((20, 30), np.float16), "MONOCHROME2")

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from medseg.errors import InputError, LimitExceededError, UnreadableFileError
from medseg.io.image2d import read_picture, read_picture_labels
from medseg.io.limits import Limits
from medseg.io.tiff import write_tiff

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (4, 6), np.uint8)
RGB = RNG.integers(0, 255, (4, 6, 3), np.uint8)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def grey_of(path, **limits):
    channels = read_picture(path, Limits(**limits))
    assert list(channels) == ["image"]
    return channels["image"].array[:, :, 0].T


def colours_of(path):
    channels = read_picture(path)
    assert list(channels) == ["red", "green", "blue"]
    return np.stack([channels[name].array[:, :, 0].T for name in channels], axis=-1)


@pytest.mark.parametrize("extension", ["png", "bmp", "tif"])
def test_grey_eight_bit(tmp_path, extension):
    np.testing.assert_array_equal(grey_of(saved(tmp_path / f"x.{extension}", GREY)), GREY)


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_grey_sixteen_bit(tmp_path, extension):
    array = RNG.integers(0, 65535, (4, 6), np.uint16)
    np.testing.assert_array_equal(grey_of(saved(tmp_path / f"x.{extension}", array)), array)


@pytest.mark.parametrize("extension", ["png", "bmp", "tif"])
def test_colour(tmp_path, extension):
    np.testing.assert_array_equal(colours_of(saved(tmp_path / f"x.{extension}", RGB)), RGB)


def test_jpeg_equals_pillow(tmp_path):
    path = saved(tmp_path / "x.jpg", RGB)
    np.testing.assert_array_equal(colours_of(path), np.asarray(Image.open(path)))


def test_a_pixel_lies_where_simpleitk_says(tmp_path):
    path = saved(tmp_path / "x.png", GREY)
    (volume,) = read_picture(path).values()
    image = sitk.ReadImage(str(path))
    for index in [(0, 0), (5, 0), (2, 3)]:
        x, y = image.TransformIndexToPhysicalPoint(index)
        assert volume.array[(*index, 0)] == image[index]
        np.testing.assert_array_equal(volume.geometry.to_world((*index, 0)), (-x, -y, 0))
    assert volume.geometry.shape == (6, 4, 1)
    assert not volume.geometry.calibrated
    assert volume.source.startswith("sha256:")


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_where_it_says_nothing(tmp_path, mode):
    image = Image.fromarray(RGB).convert(mode)
    image.putalpha(200)
    image.save(tmp_path / "x.png")
    if mode == "RGBA":
        np.testing.assert_array_equal(colours_of(tmp_path / "x.png"), RGB)
    else:
        grey_of(tmp_path / "x.png")
    image.putpixel((2, 2), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    image.save(tmp_path / "x.png")
    with pytest.raises(InputError, match="transparent in places"):
        read_picture(tmp_path / "x.png")


@pytest.mark.parametrize("extension", ["png", "bmp", "tif"])
def test_palette(tmp_path, extension):
    indices = RNG.integers(0, 4, (4, 6), np.uint8)
    image = Image.fromarray(indices)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 10, 20, 30])
    image.save(tmp_path / f"x.{extension}")
    expected = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [10, 20, 30]])[indices]
    np.testing.assert_array_equal(colours_of(tmp_path / f"x.{extension}"), expected)
    labels = read_picture_labels(tmp_path / f"x.{extension}").array[:, :, 0].T
    np.testing.assert_array_equal(labels, indices)


def test_palette_of_greys_is_grey(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    image.putpalette([7, 7, 7, 200, 200, 200])
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(grey_of(tmp_path / "x.png"), [[7, 200], [200, 7]])


def test_one_bit(tmp_path):
    array = GREY > 100
    for extension in ("png", "bmp", "tif"):
        path = saved(tmp_path / f"x.{extension}", array)
        found = grey_of(path)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found > 0, array)
    tifffile.imwrite(tmp_path / "y.tif", array, photometric="minisblack")
    np.testing.assert_array_equal(grey_of(tmp_path / "y.tif"), array)


def png(bits, colour_type, rows, size):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("bits", "rows"), [(2, [b"\x1b", b"\xe4"]), (4, [b"\x01\x23", b"\x32\x10"])])
def test_few_bits_keep_their_values(tmp_path, bits, rows):
    (tmp_path / "x.png").write_bytes(png(bits, 0, rows, (4, 2)))
    labels = read_picture_labels(tmp_path / "x.png").array[:, :, 0].T
    np.testing.assert_array_equal(labels, [[0, 1, 2, 3], [3, 2, 1, 0]])


def test_sixteen_bit_colours_of_png_are_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(png(16, 2, [bytes(12)], (2, 1)))
    with pytest.raises(InputError, match="16-bit colours; convert it to TIFF"):
        read_picture(tmp_path / "x.png")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4", "f8"])
def test_tiff_types(tmp_path, compression, dtype):
    array = RNG.integers(0, 100, (40, 60)).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", array, photometric="minisblack", compression=compression)
    found = grey_of(tmp_path / "x.tif")
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "options",
    [{"byteorder": ">"}, {"bigtiff": True}, {"tile": (16, 16)}, {"predictor": True, "compression": "zlib"}],
)
def test_tiff_layouts(tmp_path, options):
    array = RNG.integers(0, 65535, (40, 60), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", array, photometric="minisblack", **options)
    found = grey_of(tmp_path / "x.tif")
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_colours_of_sixteen_bit(tmp_path, planar):
    array = RNG.integers(0, 65535, (4, 6, 3), np.uint16)
    data = array if planar == "contig" else np.moveaxis(array, -1, 0)
    tifffile.imwrite(tmp_path / "x.tif", data, photometric="rgb", planarconfig=planar)
    np.testing.assert_array_equal(colours_of(tmp_path / "x.tif"), array)


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits"])
def test_tiff_with_foreign_codecs_goes_through_pillow(tmp_path, compression):
    path = saved(tmp_path / "x.tif", RGB, compression=compression)
    np.testing.assert_array_equal(colours_of(path), np.asarray(Image.open(path)))


def test_tiff_bands_that_are_no_colours(tmp_path):
    tifffile.imwrite(
        tmp_path / "x.tif", np.zeros((4, 6, 5), np.uint8), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(InputError, match="5 numbers a pixel"):
        read_picture(tmp_path / "x.tif")
    tifffile.imwrite(tmp_path / "y.tif", np.zeros((4, 6), np.complex64), photometric="minisblack")
    with pytest.raises(InputError, match="complex64"):
        read_picture(tmp_path / "y.tif")


@pytest.mark.parametrize("shape", [(1, 6), (4, 1), (1, 1)])
def test_tiff_of_one_row_or_column(tmp_path, shape):
    write_tiff(
        np.arange(1, 1 + shape[0] * shape[1], dtype=np.uint8).reshape(shape), None, tmp_path / "x.tif", ""
    )
    assert grey_of(tmp_path / "x.tif").shape == shape


def test_volumetric_tiff(tmp_path):
    array = np.zeros((16, 32, 32), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", array, photometric="minisblack", volumetric=True, tile=(16, 16, 16))
    with pytest.raises(InputError, match="in 16 slices"):
        read_picture(tmp_path / "x.tif")


def test_pages_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((31, 6, 5), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="31 pages where one picture is expected"):
        read_picture(tmp_path / "x.tif")


def test_white_at_zero(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", GREY, photometric="miniswhite")
    with pytest.raises(InputError, match="white as 0"):
        read_picture(tmp_path / "x.tif")


def test_animation(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "x.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="animation"):
        read_picture(tmp_path / "x.png")


def test_other_colour_spaces(tmp_path):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="kind CMYK"):
        read_picture(tmp_path / "x.jpg")


def test_colours_are_no_labels(tmp_path):
    with pytest.raises(InputError, match="coloured picture where a label map is expected"):
        read_picture_labels(saved(tmp_path / "x.png", RGB))


# Pixel size.


def pixel_mm(path):
    (volume,) = read_picture(path).values()
    return volume.geometry.spacing_mm[:2] if volume.geometry.calibrated else None


@pytest.mark.parametrize("unit", ["um", "\\u00B5m", "micron"])
def test_imagej_states_microns(tmp_path, unit):
    tifffile.imwrite(tmp_path / "x.tif", GREY, imagej=True, resolution=(4.0, 2.0), metadata={"unit": unit})
    assert pixel_mm(tmp_path / "x.tif") == pytest.approx((0.25e-3, 0.5e-3))


def test_imagej_without_a_physical_unit(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", GREY, imagej=True, resolution=(4.0, 2.0), metadata={"unit": "pixel"})
    assert pixel_mm(tmp_path / "x.tif") is None


def test_ome_states_a_unit(tmp_path):
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 500,
        "PhysicalSizeYUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "x.ome.tif", GREY, metadata=metadata, ome=True)
    assert pixel_mm(tmp_path / "x.ome.tif") == pytest.approx((0.5e-3, 0.5e-3))


@pytest.mark.parametrize(
    "sizes",
    [{}, {"PhysicalSizeX": 1.0}, {"PhysicalSizeX": 1.0, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 1.0}],
)
def test_ome_without_both_sizes(tmp_path, sizes):
    tifffile.imwrite(tmp_path / "x.ome.tif", GREY, metadata={"axes": "YX", **sizes}, ome=True)
    assert pixel_mm(tmp_path / "x.ome.tif") is None


def test_ome_unit_defaults_to_microns(tmp_path):
    tifffile.imwrite(
        tmp_path / "x.ome.tif",
        GREY,
        metadata={"axes": "YX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 2.0},
        ome=True,
    )
    assert pixel_mm(tmp_path / "x.ome.tif") == pytest.approx((1e-3, 2e-3))


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((20.0, 40.0), "CENTIMETER", (0.5, 0.25)),
        ((72 / 2.54, 72 / 2.54), "CENTIMETER", None),
        ((300.0, 300.0), "INCH", None),
        ((20.0, 20.0), "NONE", None),
        ((1e9, 1e9), "CENTIMETER", None),
        ((0.01, 0.01), "CENTIMETER", None),
    ],
)
def test_resolution_tags(tmp_path, resolution, unit, expected):
    tifffile.imwrite(tmp_path / "x.tif", GREY, metadata=None, resolution=resolution, resolutionunit=unit)
    assert pixel_mm(tmp_path / "x.tif") == (None if expected is None else pytest.approx(expected))


def test_no_resolution_tags(tmp_path):
    assert pixel_mm(saved(tmp_path / "x.tif", GREY)) is None


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_dots_per_inch_say_nothing(tmp_path, extension):
    path = saved(tmp_path / f"x.{extension}", GREY, dpi=(254, 254))
    assert pixel_mm(path) is None


@pytest.mark.parametrize("size", [None, (0.25e-3, 0.5e-3), (0.7, 0.7)])
def test_written_and_read_again(tmp_path, size):
    labels = RNG.integers(0, 70_000, (4, 6), np.uint32)
    for name in ("x.tif", "y.tif"):
        write_tiff(labels, size, tmp_path / name, "a notice")
    np.testing.assert_array_equal(grey_of(tmp_path / "x.tif"), labels)
    assert pixel_mm(tmp_path / "x.tif") == (None if size is None else pytest.approx(size, rel=1e-6))
    assert (tmp_path / "x.tif").read_bytes() == (tmp_path / "y.tif").read_bytes()


# Damage and size.


def encoded(kind):
    stream = io.BytesIO()
    picture = RNG.integers(0, 255, (20, 30, 3), np.uint8)
    if kind == "tiff-zlib":
        tifffile.imwrite(stream, picture, photometric="rgb", compression="zlib")
    elif kind == "tiff":
        tifffile.imwrite(stream, picture, photometric="rgb")
    elif kind == "tiff-lzw":
        Image.fromarray(picture).save(stream, "TIFF", compression="tiff_lzw")
    else:
        Image.fromarray(picture).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "tiff", "tiff-zlib", "tiff-lzw"])
def test_every_cut_is_noticed_or_harmless(tmp_path, kind):
    whole = encoded(kind)
    path = tmp_path / "x.bin"
    path.write_bytes(whole)
    expected = colours_of(path)
    harmless = 0
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        try:
            found = colours_of(path)
        except UnreadableFileError:
            continue
        harmless += 1
        np.testing.assert_array_equal(found, expected)
    assert harmless < 20


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "tiff", "tiff-zlib", "tiff-lzw"])
def test_damaged_pictures_give_a_picture_or_a_typed_error(tmp_path, kind):
    whole = encoded(kind)
    path = tmp_path / "x.bin"
    rng = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(whole)
        for position in rng.integers(0, min(len(whole), 400), 3):
            damaged[position] = rng.integers(0, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            read_picture(path, Limits(max_array_bytes=10_000_000))


def test_tiff_strip_that_unpacks_to_too_much(tmp_path):
    good = io.BytesIO()
    tifffile.imwrite(good, np.zeros((20, 30), np.uint8), compression="zlib", metadata=None)
    with tifffile.TiffFile(io.BytesIO(good.getvalue())) as file:
        page = file.pages.first
        offset_tag, count_tag = page.tags["StripOffsets"], page.tags["StripByteCounts"]
        positions = offset_tag.valueoffset, count_tag.valueoffset
    bomb = zlib.compress(bytes(50_000_000))
    data = bytearray(good.getvalue())
    struct.pack_into("<I", data, positions[0], len(data))
    struct.pack_into("<I" if count_tag.dtype == 4 else "<H", data, positions[1], min(len(bomb), 65_535))
    (tmp_path / "x.tif").write_bytes(bytes(data) + bomb)
    with pytest.raises(UnreadableFileError, match="unpacks to more pixels"):
        read_picture(tmp_path / "x.tif")


def test_size_limits(tmp_path):
    path = saved(tmp_path / "x.png", RNG.integers(0, 255, (50, 50), np.uint8))
    with pytest.raises(LimitExceededError, match="50 × 50"):
        read_picture(path, Limits(max_voxels=100))
    with pytest.raises(LimitExceededError, match=r"bytes; the limit is 100 \(MEDSEG_MAX_ARRAY_BYTES"):
        read_picture(path, Limits(max_array_bytes=100))
    tif = saved(tmp_path / "x.tif", GREY)
    with pytest.raises(LimitExceededError, match="4 × 6"):
        read_picture(tif, Limits(max_voxels=10))


def test_more_pixels_than_pillow_decodes(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert grey_of(path).shape == GREY.shape
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(LimitExceededError, match=r"more pixels than Pillow decodes \(10\)"):
        read_picture(path)


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_picture(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(UnreadableFileError, match="empty"):
        read_picture(tmp_path / "x.png")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (set MEDSEG_DATA)")
def test_real_pictures_equal_pillow():
    for path in sorted((DATA / "nuclei2d").glob("*/*.png"))[::100]:
        stored = np.asarray(Image.open(path))
        found = colours_of(path) if stored.ndim == 3 else grey_of(path)
        np.testing.assert_array_equal(found, stored[..., :3] if stored.ndim == 3 else stored)

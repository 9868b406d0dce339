"""One picture: every mode comes out as the bytes that a person would expect."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisette.data.images import decode, extensions, header


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0], rgba[:2, :, 3] = 200, 255  # upper half solid red, lower half transparent
    Image.fromarray(rgba).save(tmp_path / "a.png")
    x = decode(tmp_path / "a.png", None, 3)
    assert (x[:2] == (200, 0, 0)).all() and (x[2:] == 255).all()


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    x = decode(tmp_path / "p.png", None, 3)
    assert tuple(x[0, 0]) == (40, 50, 60) and (x[1] == 255).all()


def test_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert header(tmp_path / "deep.png").grey
    x = decode(tmp_path / "deep.png", None, 1)
    assert x.shape == (16, 16, 1) and abs(x.reshape(-1).astype(int) - np.arange(256)).max() <= 1


def test_float_tiff_and_bilevel(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)).save(tmp_path / "f.tiff")
    x = decode(tmp_path / "f.tiff", None, 1)
    assert x.min() == 0 and x.max() == 255
    Image.fromarray(np.eye(4, dtype=bool)).save(tmp_path / "b.png")
    assert (decode(tmp_path / "b.png", None, 1)[..., 0] == np.eye(4) * 255).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
    red = decode(tmp_path / "c.jpg", None, 3).reshape(-1, 3).mean(0)
    assert red[0] > 230 and red[1] < 25 and red[2] < 25


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    original = Image.fromarray(np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3))
    original.save(tmp_path / "o.png", exif=exif)
    with Image.open(tmp_path / "o.png") as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert (decode(tmp_path / "o.png", None, 3) == upright).all()
    head = header(tmp_path / "o.png")
    assert (head.height, head.width) == upright.shape[:2]


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 6), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert tuple(decode(tmp_path / "a.gif", None, 3)[0, 0]) == (255, 0, 0)


def test_the_middle_square_is_kept() -> None:
    x = np.zeros((10, 30, 1), np.uint8)
    x[:, 10:20] = 255
    assert (decode(x, 10, 1) == 255).all()


def test_shrinking_averages() -> None:
    fine = np.indices((64, 64)).sum(0) % 2 * 255  # without a filter this checkerboard aliases to black or white
    small = decode(fine.astype(np.uint8)[..., None], 8, 1).astype(int)
    assert abs(small - 127).max() < 12


def test_a_large_jpeg_is_shrunk_while_decoding_to_nearly_the_same(tmp_path: Path) -> None:
    y, x = np.mgrid[0:400, 0:640]
    smooth = np.stack([x * 255 / 640, y * 255 / 400, (x + y) / 5], -1).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "big.jpg", quality=95)
    Image.fromarray(smooth).save(tmp_path / "big.png")
    a, b = (decode(tmp_path / f"big.{e}", 32, 3).astype(int) for e in ("jpg", "png"))
    assert a.shape == (32, 32, 3) and abs(a - b).mean() < 3


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "PNG")
    (tmp_path / "t.png").write_bytes(buffer.getvalue()[:800])
    with pytest.raises(OSError):
        decode(tmp_path / "t.png", 8, 1)


def test_formats() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff", ".ppm"} <= extensions()
    assert not {".pdf", ".eps", ".txt"} & extensions()

"""Pictures and masks as files: any common format in, PNG out.

Reading never guesses silently: a truncated or foreign file is an error naming it. Grey, RGB, RGBA, palette and 16-bit
pictures all become H x W x 3 uint8 RGB; whether the file was grey is kept, so that what is written later can match
what the camera gives.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ias_zoo.errors import DataError, OptionError

if TYPE_CHECKING:
    from ias_zoo.synthesizer import RGB, Mask

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
FULL_SCALE_16 = 65535


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture from a file.

    Attributes
    ----------
    image:
        H x W x 3 uint8 RGB.
    grey:
        Whether the file has one channel.
    plain:
        Whether any program that opens the file sees the same pixels: 8 bits, grey or RGB, not to be turned, one frame.
    notes:
        What a person should know about the file: transparency that was dropped, unused 16-bit range.
    """

    image: RGB
    grey: bool
    plain: bool = False
    notes: tuple[str, ...] = ()


def read_image(path: str | os.PathLike[str], *, white: int | None = None) -> Picture:
    """Read a picture.

    Parameters
    ----------
    path:
        jpg, png, bmp, tif or webp; the file's EXIF rotation is applied, transparency is dropped.
    white:
        The 16-bit value that is white, for cameras that fill fewer than 16 bits (4095 for 12). Default 65535.

    Raises
    ------
    DataError
        Naming the file, if it is missing, truncated, no picture, or of a kind that has no agreed scale (float).
    """
    check_white(white)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's limit is twice its warning
            with Image.open(path) as opened:
                if _is_deep(opened):
                    return _from_array(_read_deep(path, opened), path, white)
                opened.load()
                upright = ImageOps.exif_transpose(opened)
                plain = opened.mode in ("L", "RGB") and upright.size == opened.size and _upright(opened)
                return replace(_from_pillow(upright, path), plain=plain)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DataError(f"{path}: more than {limit} megapixels; cut it into tiles first") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a picture ({error})") from error


def as_rgb(array: Any, *, white: int | None = None, name: str = "the array") -> RGB:
    """Turn an H x W, H x W x 1, H x W x 3 or H x W x 4 array of uint8, uint16 or bool into H x W x 3 uint8 RGB.

    Raises
    ------
    DataError
        For another shape or dtype.
    """
    check_white(white)
    return _from_array(np.asarray(array), name, white).image


def check_white(white: int | None) -> None:
    """Refuse a white that is no 16-bit value.

    Raises
    ------
    OptionError
    """
    if white is not None and not 1 <= white <= FULL_SCALE_16:
        raise OptionError(f"white={white!r}: expected 1 to {FULL_SCALE_16}; 4095 for 12 bits")


def read_mask(path: str | os.PathLike[str]) -> Mask:
    """Read a mask as H x W bool: True above half of the largest value, so 0/1, 0/255 and soft edges all work.

    Raises
    ------
    DataError
        As :func:`read_image`.
    """
    grey = read_image(path).image.max(axis=2)
    return np.asarray(grey > grey.max() / 2, dtype=np.bool_)


def to_grey(image: RGB) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Luma of an RGB picture, H x W uint8; equal channels keep their value exactly."""
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def is_grey(image: RGB) -> bool:
    """Whether the three channels of an H x W x 3 picture are equal."""
    first = image[..., 0]
    return np.array_equal(first, image[..., 1]) and np.array_equal(first, image[..., 2])


def resize_image(image: RGB, height: int, width: int) -> RGB:
    """Resize with area averaging when shrinking and bilinear when growing."""
    import cv2

    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def resize_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize a mask: True where at least half of the pixel's area is."""
    if mask.shape == (height, width):
        return mask
    grey = resize_image(np.repeat(mask[:, :, None].astype(np.uint8) * 255, 3, axis=2), height, width)
    return np.asarray(grey[:, :, 0] >= 128, dtype=np.bool_)


def encode_png(array: np.ndarray[Any, Any]) -> bytes:
    """PNG bytes of H x W x 3 uint8 RGB, H x W uint8, or H x W bool (written as 0 and 255)."""
    import cv2

    is_mask = array.dtype == np.bool_
    if is_mask:
        array = array.astype(np.uint8) * 255
    if array.ndim == 3:
        array = cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2BGR)
    # Level 1 with one fixed filter: as small as trying every filter and twice as fast. Masks do best with none.
    filtering = cv2.IMWRITE_PNG_FILTER_NONE if is_mask else cv2.IMWRITE_PNG_FILTER_UP
    done, data = cv2.imencode(".png", array, [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, filtering])
    if not done:
        raise DataError(f"cannot encode a {array.shape} {array.dtype} array as PNG")
    return bytes(data.tobytes())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file and rename it into place, so that nobody ever sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def _is_deep(opened: Image.Image) -> bool:
    """Whether the file has more than 8 bits a channel; Pillow keeps only the high byte of colour ones."""
    if opened.mode.startswith(("I", "F")):
        return True
    return any("16" in str(tile.args) for tile in getattr(opened, "tile", ()))


def _read_deep(path: str | os.PathLike[str], opened: Image.Image) -> np.ndarray[Any, Any]:
    import cv2

    opened.load()  # Pillow refuses truncated files, OpenCV fills them up with grey
    data = np.fromfile(path, dtype=np.uint8)
    array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if array is None:
        return np.asarray(opened)
    if array.ndim == 3:
        order = [2, 1, 0] if array.shape[2] == 3 else [2, 1, 0, 3]
        array = array[:, :, order]
    return np.asarray(array)


def _from_pillow(opened: Image.Image, path: str | os.PathLike[str]) -> Picture:
    notes: tuple[str, ...] = ()
    if opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info:
        opened = opened.convert("RGBA")
        if np.asarray(opened)[:, :, 3].min() < 255:
            notes = ("transparency is dropped",)
        grey = False
    else:
        grey = opened.mode in ("L", "1")
    if 0 in opened.size:
        raise DataError(f"{path}: the picture is empty")
    return Picture(np.array(opened.convert("RGB"), dtype=np.uint8), grey, notes=notes)


def _upright(opened: Image.Image) -> bool:
    """Whether the file has one frame and no tag that says to turn it."""
    return opened.getexif().get(0x0112, 1) == 1 and getattr(opened, "n_frames", 1) == 1


def _from_array(array: np.ndarray[Any, Any], name: str | os.PathLike[str], white: int | None) -> Picture:
    notes: list[str] = []
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        top = int(array.max()) if array.size else 0
        if white is None and top < 4096:
            notes.append(f"16-bit, but the brightest value is {top}: looks dark unless --white {_likely_white(top)}")
        scale = white or FULL_SCALE_16
        array = np.minimum(np.rint(array * (255.0 / scale)), 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise DataError(f"{name}: {array.dtype} pixels have no agreed scale; save as 8- or 16-bit")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise DataError(f"{name}: shape {array.shape}; expected H x W with 1, 3 or 4 channels")
    grey = array.shape[2] == 1
    if array.shape[2] == 4 and int(array[:, :, 3].min()) < 255:
        notes.append("transparency is dropped")
    rgb = np.repeat(array, 3, axis=2) if grey else np.ascontiguousarray(array[:, :, :3])
    return Picture(rgb, grey, notes=tuple(notes))


def _likely_white(top: int) -> int:
    return max(255, (1 << max(top, 1).bit_length()) - 1)

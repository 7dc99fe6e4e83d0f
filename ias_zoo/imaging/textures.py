"""Texture pictures to mix into images: a folder of the user's, or what there is without one.

Without a folder a texture is, by a fair coin, a random part of a picture that the scikit-image wheel carries, turned,
mirrored and recoloured, or a procedural one. Nothing is ever downloaded.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from ias_zoo.data.cache import PictureCache
from ias_zoo.data.images import EXTENSIONS, read_image
from ias_zoo.errors import DataError
from ias_zoo.imaging.procedural import draw_texture

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    RGB = npt.NDArray[np.uint8]

__all__ = ["BUNDLED", "BuiltInTextures", "FolderTextures", "Textures", "textures"]

BUNDLED = (
    "brick.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "text.png",
)
"""Pictures in scikit-image's wheel that are rich in texture and show no person."""


class Textures(Protocol):
    """A source of texture pictures."""

    def sample(self, height: int, width: int, rng: np.random.Generator) -> tuple[RGB, dict[str, Any]]:
        """Draw one.

        Returns
        -------
        ``height`` x ``width`` x 3 uint8 RGB, the caller's own to change; and JSON-able words on where it is from,
        among them ``provider``.
        """
        ...


def textures(folder: str | os.PathLike[str] | None, cache_bytes: int = 256 * 2**20) -> Textures:
    """Open the textures of a folder, or the built-in ones.

    Raises
    ------
    DataError
        If the folder does not exist or holds no pictures.
    """
    return BuiltInTextures(cache_bytes) if folder is None else FolderTextures(folder, cache_bytes)


class FolderTextures:
    """Every picture below a folder (jpg, png, bmp, tif, webp), each as likely as any other.

    A picture is resized whole to the size asked for, bilinearly and without regard to its aspect ratio, as the
    texture-mixing methods publish it.

    Parameters
    ----------
    folder:
        Searched with its subfolders.
    cache_bytes:
        How much decoded pictures may take.

    Raises
    ------
    DataError
        If the folder does not exist or holds no pictures.
    """

    def __init__(self, folder: str | os.PathLike[str], cache_bytes: int = 256 * 2**20) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"texture folder {str(folder)!r}: no such folder")
        self.files = sorted(path for path in self.folder.rglob("*") if path.suffix.lower() in EXTENSIONS)
        if not self.files:
            kinds = ", ".join(sorted(EXTENSIONS))
            raise DataError(f"texture folder {str(folder)!r}: no pictures in it or below it (looked for {kinds})")
        self._cache = _cache(cache_bytes)

    def sample(self, height: int, width: int, rng: np.random.Generator) -> tuple[RGB, dict[str, Any]]:
        """Draw one picture; see :class:`Textures`.

        Raises
        ------
        DataError
            If the drawn file cannot be read as a picture.
        """
        path = self.files[int(rng.integers(len(self.files)))]
        picture = _read(path, self._cache)
        if picture.shape[:2] == (height, width):
            resized = picture.copy()
        else:
            resized = _rgb(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR))
        return resized, {"provider": "folder", "picture": path.relative_to(self.folder).as_posix()}


class BuiltInTextures:
    """Parts of scikit-image's bundled pictures and procedural textures, half and half.

    Which bundled pictures there are depends on the installed wheel; where none is found every texture is procedural.
    """

    def __init__(self, cache_bytes: int = 256 * 2**20) -> None:
        folder = _bundled_folder()
        self.files = [] if folder is None else [folder / name for name in BUNDLED if (folder / name).is_file()]
        self._cache = _cache(cache_bytes)

    def sample(self, height: int, width: int, rng: np.random.Generator) -> tuple[RGB, dict[str, Any]]:
        """Draw one texture; see :class:`Textures`."""
        if self.files and rng.random() < 0.5:
            path = self.files[int(rng.integers(len(self.files)))]
            part = _random_part(_read(path, self._cache), height, width, rng)
            return part, {"provider": "scikit-image", "picture": path.name}
        texture, kind = draw_texture(height, width, rng)
        return texture, {"provider": "procedural", "kind": kind}


def _random_part(picture: RGB, height: int, width: int, rng: np.random.Generator) -> RGB:
    """Cut a random part of the picture (a quarter of its sides to all), resize, turn, mirror and recolour it."""
    transposed = rng.random() < 0.5
    rows, columns = (width, height) if transposed else (height, width)
    # The largest part with the wanted aspect ratio, times a share.
    fit = min(picture.shape[0] / rows, picture.shape[1] / columns) * rng.uniform(0.25, 1.0)
    part_rows, part_columns = max(1, int(rows * fit)), max(1, int(columns * fit))
    top = int(rng.integers(picture.shape[0] - part_rows + 1))
    left = int(rng.integers(picture.shape[1] - part_columns + 1))
    part: Any = picture[top : top + part_rows, left : left + part_columns]
    # INTER_AREA shrinks without aliasing.
    part = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA if fit > 1 else cv2.INTER_LINEAR)
    if transposed:
        part = cv2.transpose(part)
    mirror = int(rng.integers(-1, 3))  # OpenCV's codes: both axes, upside down, left to right; 2: none
    if mirror < 2:
        part = cv2.flip(part, mirror)
    gains = rng.permutation([1.0, *rng.uniform(0.3, 1.0, 2)])  # a tint, also for the grey ones
    planes = [np.rint(np.arange(256) * gain).astype(np.uint8) for gain in gains]
    tinted = cv2.split(cv2.LUT(part, np.stack(planes, axis=1)[:, None, :]))
    return _rgb(cv2.merge([tinted[int(channel)] for channel in rng.permutation(3)]))


def _bundled_folder() -> Path | None:
    """The folder of pictures within scikit-image, found without importing the package (which takes a while)."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _cache(limit: int) -> PictureCache[RGB]:
    return PictureCache(limit, _bytes)


def _bytes(picture: RGB) -> int:
    return picture.nbytes


def _read(path: Path, cache: PictureCache[RGB]) -> RGB:
    """Decode a picture, or take it from the cache; read-only. Raises DataError as :func:`read_image`."""

    def decode() -> RGB:
        picture = read_image(path).image
        picture.setflags(write=False)
        return picture

    return cache.get(path, decode)


def _rgb(image: Any) -> RGB:
    """Give OpenCV's result the type that it has."""
    return np.asarray(image, dtype=np.uint8)

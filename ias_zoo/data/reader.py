"""Open a folder or a manifest, whichever of the four layouts it has.

``mvtec``
    ``train/good``, ``test/good``, ``test/<defect>``, masks ``ground_truth/<defect>/<stem>_mask.png``.
``plain``
    ``normal/`` (or ``good/``), ``defect/<type>/``, masks ``masks/<type>/<stem>[_mask].png``.
``manifest``
    a ``.csv`` or ``.jsonl`` file, or a folder with ``manifest.csv`` or ``manifest.jsonl``; columns ``image`` and, as
    wanted, ``defect`` (empty, ``good`` or ``normal`` for normals), ``mask``, ``region``, ``split``; paths relative to
    the manifest.
``loose``
    pictures straight in the folder: all of them are taken as normals.

In folders, ``foreground/<same path>`` beside the pictures holds product masks; they become the items' ``region``.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ias_zoo.data.dataset import DataSet, Item, Problem
from ias_zoo.data.images import EXTENSIONS
from ias_zoo.errors import DataError

NORMAL_NAMES = frozenset({"", "good", "normal", "ok"})
_LAYOUTS = (
    "expected train/good (MVTec layout), normal/ and defect/<type>/ (plain layout), a manifest.csv with a column "
    "'image', or pictures of good parts"
)


def open_data(path: str | os.PathLike[str], *, white: int | None = None) -> DataSet:
    """Find the pictures of a folder or manifest. Nothing is decoded yet.

    Parameters
    ----------
    path:
        A folder in one of the four layouts, or a manifest file.
    white:
        The value that is white in 16-bit pictures (default 65535; 4095 for a 12-bit camera).

    Raises
    ------
    DataError
        If the path is missing or has none of the layouts.
    """
    root = Path(path).expanduser()
    if root.is_file():
        return _open_manifest(root, white)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder or manifest")
    for manifest in (root / "manifest.csv", root / "manifest.jsonl"):
        if manifest.is_file():
            return _open_manifest(manifest, white)
    if (root / "train").is_dir():
        return _open_mvtec(root, white)
    if any((root / name).is_dir() for name in ("normal", "good", "defect")):
        return _open_plain(root, white)
    loose = [_item(root, picture, None, "train", None) for picture in _pictures(root)]
    if loose:
        return DataSet(root, "loose (all pictures taken as normals)", _sorted(loose), (), white)
    products = [folder.name for folder in _folders(root) if (folder / "train").is_dir()]
    hint = f"; it holds several products, give one of them: {', '.join(products)}" if products else ""
    raise DataError(f"{root}: layout not recognised: {_LAYOUTS}{hint}")


def _open_mvtec(root: Path, white: int | None) -> DataSet:
    items: list[Item] = []
    masks = _Masks(root, "ground_truth")
    for split in ("train", "test"):
        for folder in _folders(root / split):
            defect = None if folder.name.lower() in NORMAL_NAMES else folder.name
            for picture in _pictures(folder):
                mask = masks.take(folder.name, picture) if defect is not None else None
                items.append(_item(root, picture, defect, split, mask))
    return DataSet(root, "mvtec", _sorted(items), tuple(masks.orphans()), white)


def _open_plain(root: Path, white: int | None) -> DataSet:
    items = [
        _item(root, picture, None, "train", None)
        for name in ("normal", "good")
        for picture in _pictures(root / name, deep=True)
    ]
    masks = _Masks(root, "masks")
    for folder in _folders(root / "defect"):
        items += [
            _item(root, picture, folder.name, "test", masks.take(folder.name, picture)) for picture in _pictures(folder)
        ]
    return DataSet(root, "plain", _sorted(items), tuple(masks.orphans()), white)


class _Masks:
    """The masks below a folder, found by defect type and the picture's stem; what nobody takes is an orphan."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._left = {
            (folder.name, picture.stem.removesuffix("_mask")): picture
            for folder in _folders(root / name)
            for picture in _pictures(folder)
        }

    def take(self, defect: str, picture: Path) -> Path | None:
        return self._left.pop((defect, picture.stem), None)

    def orphans(self) -> Iterator[Problem]:
        for path in sorted(self._left.values()):
            yield Problem(path.relative_to(self._root).as_posix(), "a mask without a picture")


def _open_manifest(manifest: Path, white: int | None) -> DataSet:
    items: dict[str, Item] = {}
    problems: list[Problem] = []
    for line, row in _rows(manifest):
        where = f"{manifest.name}:{line}"
        name = row.get("image", "")
        if not name:
            raise DataError(f"{manifest}, line {line}: no 'image'; the columns are {', '.join(sorted(row))}")
        defect = row.get("defect") or row.get("label") or ""
        path = manifest.parent / name
        item_id = Path(name).as_posix()
        if not path.is_file():
            problems.append(Problem(where, f"no such picture: {name}"))
            continue
        if item_id in items:
            problems.append(Problem(where, f"listed twice: {name}"))
            continue
        normal = defect.lower() in NORMAL_NAMES
        items[item_id] = Item(
            id=item_id,
            path=path,
            defect=None if normal else defect,
            split=row.get("split") or ("train" if normal else "test"),
            mask=_named(manifest, where, row, "mask", problems),
            region=_named(manifest, where, row, "region", problems),
        )
    return DataSet(manifest.parent, f"manifest ({manifest.name})", _sorted(items.values()), tuple(problems), white)


def _rows(manifest: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{manifest}: cannot be read as text ({error})") from error
    if manifest.suffix.lower() == ".csv":
        for line, row in enumerate(csv.DictReader(text.splitlines()), start=2):
            yield line, {str(key).strip(): str(value or "").strip() for key, value in row.items()}
    elif manifest.suffix.lower() == ".jsonl":
        for line, raw in enumerate(text.splitlines(), start=1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
            except ValueError as error:
                raise DataError(f"{manifest}, line {line}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise DataError(f'{manifest}, line {line}: expected an object like {{"image": "a.png"}}')
            yield line, {str(key): str(value or "") for key, value in row.items()}
    else:
        raise DataError(f"{manifest}: a manifest ends in .csv or .jsonl")


def _named(manifest: Path, where: str, row: Mapping[str, str], key: str, problems: list[Problem]) -> Path | None:
    name = row.get(key, "")
    if not name:
        return None
    path = manifest.parent / name
    if path.is_file():
        return path
    problems.append(Problem(where, f"no such {key}: {name}"))
    return None


def _item(root: Path, picture: Path, defect: str | None, split: str, mask: Path | None) -> Item:
    relative = picture.relative_to(root)
    region = next(
        (path for path in ((root / "foreground" / relative).with_suffix(end) for end in (".png", picture.suffix))
         if path.is_file()),
        None,
    )  # fmt: skip
    return Item(relative.as_posix(), picture, defect, split, mask, region)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _pictures(folder: Path, *, deep: bool = False) -> Iterator[Path]:
    if not folder.is_dir():
        return
    paths = folder.rglob("*") if deep else folder.iterdir()
    yield from sorted(
        path for path in paths if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
    )


def _sorted(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.id))

"""Open a folder or a manifest, whichever of the four layouts it has.

``mvtec``
    ``train/good``, ``test/good``, ``test/<defect>``, masks ``ground_truth/<defect>/<stem>_mask.png``.
``plain``
    ``normal/`` (or ``good/``), ``defect/<type>/``, masks ``masks/<type>/<stem>[_mask].png``.
``manifest``
    a ``.csv`` or ``.jsonl`` file, or a folder with ``manifest.csv`` or ``manifest.jsonl``; columns ``image`` and, as
    wanted, ``defect`` or ``label`` (empty, ``good`` or ``normal`` for normals), ``mask``, ``region``, ``split``; paths
    relative to the manifest. One with a column that looks like a misspelt ``defect`` is refused.
``loose``
    pictures straight in the folder: all of them are taken as normals.

In folders, ``foreground/<same path>`` beside the pictures holds product masks; they become the items' ``region``.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ias_zoo.data.columns import refuse_hidden_defects, unknown_columns
from ias_zoo.data.dataset import DataSet, Item, Problem
from ias_zoo.data.images import EXTENSIONS, check_white
from ias_zoo.errors import DataError

_NORMAL_FOLDERS = ("normal", "good", "ok")
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
    check_white(white)
    root = Path(path).expanduser()
    if root.is_file() and root.suffix.lower() in EXTENSIONS:
        raise DataError(f"{root} is one picture; give its folder")
    if root.is_file():
        return _open_manifest(root, white)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder or manifest")
    for manifest in (root / "manifest.csv", root / "manifest.jsonl"):
        if manifest.is_file():
            return _open_manifest(manifest, white)
    if _child(root, "train").is_dir():
        return _open_mvtec(root, white)
    if any(_child(root, name).is_dir() for name in (*_NORMAL_FOLDERS, "defect")):
        return _open_plain(root, white)
    loose = [_item(root, picture, None, "train", None) for picture in _pictures(root)]
    if loose:
        return DataSet(root, "loose (all pictures taken as normals)", _sorted(loose), (), white)
    products = [folder.name for folder in _folders(root) if (folder / "train").is_dir()]
    hint = f"; it holds several products, give one of them: {', '.join(products)}" if products else ""
    raise DataError(f"{root}: {_found(root)}; {_LAYOUTS}{hint}")


def _open_mvtec(root: Path, white: int | None) -> DataSet:
    items: list[Item] = []
    masks = _Masks(root, "ground_truth")
    for split in ("train", "test"):
        for folder in _folders(_child(root, split)):
            defect = None if folder.name.lower() in NORMAL_NAMES else folder.name
            for picture in _pictures(folder):
                mask = masks.take(folder.name, picture) if defect is not None else None
                items.append(_item(root, picture, defect, split, mask))
    return DataSet(root, "mvtec", _sorted(items), (*masks.orphans(), *_odd_foregrounds(root, items)), white)


def _open_plain(root: Path, white: int | None) -> DataSet:
    items = [
        _item(root, picture, None, "train", None)
        for name in _NORMAL_FOLDERS
        for picture in _pictures(_child(root, name), deep=True)
    ]
    masks = _Masks(root, "masks")
    for folder in _folders(_child(root, "defect")):
        items += [
            _item(root, picture, folder.name, "test", masks.take(folder.name, picture)) for picture in _pictures(folder)
        ]
    return DataSet(root, "plain", _sorted(items), (*masks.orphans(), *_odd_foregrounds(root, items)), white)


class _Masks:
    """The masks below a folder, found by defect type and the picture's stem; what nobody takes is an orphan."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._left = {
            (folder.name, picture.stem.removesuffix("_mask")): picture
            for folder in _folders(_child(root, name))
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
    columns: dict[str, None] = {}  # of all rows, in the order they come: lines of JSON need not be alike
    for line, row in _rows(manifest):
        where = f"{manifest.name}:{line}"
        refuse_hidden_defects(f"{manifest}, line {line}", row)
        columns |= dict.fromkeys(row)
        name = row.get("image", "")
        if not name:
            raise DataError(f"{manifest}, line {line}: no 'image'; the columns are {', '.join(sorted(row))}")
        defect = row.get("defect") or row.get("label") or ""
        path = manifest.parent / name
        if not path.is_file():  # written on Windows?
            path = manifest.parent / (name := name.replace("\\", "/"))
        item_id = _portable(name)
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
    problems += unknown_columns(manifest.name, columns)
    return DataSet(manifest.parent, f"manifest ({manifest.name})", _sorted(items.values()), tuple(problems), white)


def _rows(manifest: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{manifest}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise DataError(f"{manifest}: not UTF-8 text; save it as UTF-8") from None
    if manifest.suffix.lower() == ".csv":
        header = text.partition("\n")[0]
        comma = next((sign for sign in ",;\t" if sign in header), ",")  # spreadsheets write any of them
        for line, row in enumerate(csv.DictReader(text.splitlines(), delimiter=comma), start=2):
            yield line, _clean(row)
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
            yield line, _clean(row)
    else:
        raise DataError(f"{manifest}: a manifest ends in .csv or .jsonl")


def _clean(row: Mapping[Any, Any]) -> dict[str, str]:
    """A row with its columns in small letters; cells below no name, as spreadsheets leave them, are dropped."""
    return {str(key).strip().lower(): str(value or "").strip() for key, value in row.items() if str(key or "").strip()}


def _portable(name: str) -> str:
    """An id that is the same on every machine: of an absolute path, the end."""
    path = Path(name)
    return "/".join(path.parts[-3:]) if path.is_absolute() else path.as_posix()


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
        path
        for path in paths
        if path.suffix.lower() in EXTENSIONS
        and not path.name.startswith(".")
        and "foreground" not in path.relative_to(folder).parts
        and path.is_file()
    )


def _child(root: Path, name: str) -> Path:
    """A folder by its name in any case: ``train``, ``Train``."""
    exact = root / name
    if exact.is_dir() or not root.is_dir():
        return exact
    return next((path for path in root.iterdir() if path.is_dir() and path.name.lower() == name), exact)


def _odd_foregrounds(root: Path, items: Iterable[Item]) -> Iterator[Problem]:
    """Foreground masks that belong to no picture, or lie where they are not looked for."""
    used = {item.region for item in items}
    for path in sorted(root.rglob("foreground/**/*")):
        if path.suffix.lower() in EXTENSIONS and path not in used:
            where = path.relative_to(root).as_posix()
            yield Problem(
                where, "a foreground mask without a picture; expected foreground/<path of the picture>", False
            )


def _found(root: Path) -> str:
    """What a folder that is no data set holds, in a few words."""
    kinds = Counter(path.suffix.lower() or "files without suffix" for path in root.iterdir() if path.is_file())
    files = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    folders = ", ".join(folder.name for folder in _folders(root)[:5])
    return f"holds {files or 'no files'} and {f'folders {folders}' if folders else 'no folders'}"


def _sorted(items: Iterable[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.id))

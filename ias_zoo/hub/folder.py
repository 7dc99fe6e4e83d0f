"""Weights folders on disk: written whole or not at all, and read with every check before a byte is used."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from ias_zoo.errors import WeightsError
from ias_zoo.hub.manifest import MANIFEST, SUFFIXES, Manifest, is_absolute, why_unsafe
from ias_zoo.method import PLUGIN_API

CARD = "README.md"
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz"})
# peft imports the module that these name.
_CODE_KEYS = ("auto_mapping", "auto_map", "megatron_config")
_LARGEST_JSON = 64 << 20  # bytes; room for the hashes of half a million training files


def write_weights(
    folder: str | os.PathLike[str], manifest: Manifest, write_parts: Callable[[Path], None], card: str
) -> Path:
    """Write a weights folder whole.

    ``write_parts`` gets an empty temporary folder beside ``folder`` and fills it; every file of it is then hashed into
    the manifest, flushed to the disk, and the folder renamed into place. A process killed at any point leaves the
    former weights or the new ones, and perhaps a temporary folder ``.NAME.*.tmp`` that may be deleted.

    Parameters
    ----------
    folder:
        Where to: nothing, an empty folder, or a weights folder, which is replaced.
    manifest:
        All but ``files``.
    write_parts:
        Writes the adapters and modules into the folder that it is given. What it raises is passed on (an ``OSError``
        as a ``WeightsError``), and nothing is left behind.
    card:
        The text of ``README.md``; see :func:`ias_zoo.cards.make_card`.

    Returns
    -------
    ``folder`` as a path.

    Raises
    ------
    WeightsError
        When ``folder`` holds something else, a part is of a kind that a weights folder does not hold, or the disk
        refuses.
    """
    folder = Path(folder)
    with _disk_errors(folder), _published(folder, replace=True) as temporary:
        write_parts(temporary)
        for name in (MANIFEST, CARD):
            if (temporary / name).exists():
                raise WeightsError(f"{name} was written by the method; the zoo writes it")
        files = _walk(temporary)
        _check_parts(temporary, files)
        hashes = {name: _sha256(path) for name, path in sorted(files.items())}
        text = dataclasses.replace(manifest, files=hashes).to_json()
        (temporary / CARD).write_text(card, encoding="utf-8")
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
    return folder


def read_weights(
    folder: str | os.PathLike[str], *, method: str | None = None, plugin_api: int = PLUGIN_API
) -> Manifest:
    """Check a weights folder and give its manifest. Nothing is unpickled, nothing in the folder is run.

    Parameters
    ----------
    method:
        The method that the weights have to be for; None accepts any.
    plugin_api:
        The contract that the caller speaks.

    Raises
    ------
    WeightsError
        Naming the file and what is wrong: no manifest or a bad one, weights of another method or contract, a file
        that is missing, changed, unlisted, of a foreign kind or linked to the outside, a broken safetensors file, an
        adapter without its other half or one whose configuration names code.
    """
    folder = Path(folder)
    for tries_left in (4, 3, 2, 1, 0):
        seen = _peek(folder)
        try:
            with _disk_errors(folder):
                return _read(folder, method, plugin_api)
        except WeightsError:
            # Weights that were replaced while they were read look damaged; then the new ones are read.
            if not tries_left or _peek(folder) == seen:
                raise
    raise AssertionError("the last try returns or raises")


def check_manifest(text: bytes, where: str, method: str | None, plugin_api: int = PLUGIN_API) -> Manifest:
    """Read a manifest and refuse one for another method or contract; ``where`` starts the message."""
    try:
        manifest = Manifest.from_json(text)
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from error
    if method is not None and manifest.method != method:
        raise WeightsError(
            f"{where}: these are weights of {manifest.method}, not of {method}: "
            f"ias_zoo.load({manifest.method!r}, ...) takes them"
        )
    if manifest.plugin_api != plugin_api:
        age = "newer" if manifest.plugin_api > plugin_api else "older"
        raise WeightsError(
            f"{where}: written for plugin_api {manifest.plugin_api} by ias-zoo {manifest.zoo_version}, and this one "
            f"speaks {plugin_api}: install a{'n' if age == 'older' else ''} {age} ias-zoo, or fit again"
        )
    return manifest


def no_manifest(where: str, names: Iterable[str]) -> str:
    """What to say of a folder or repository without a manifest, by the names of its files."""
    names = sorted(names)
    pickles = [name for name in names if PurePosixPath(name).suffix.lower() in _PICKLES]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        return (
            f"{where} holds only pickled weights ({', '.join(pickles[:3])}): unpickling runs whatever code the file "
            "brings, so the zoo never does it; ask the author for the weights as .safetensors with an "
            f"{MANIFEST}, as save_pretrained writes them"
        )
    return f"{where} has no {MANIFEST}: it is no weights folder of the zoo (`ias-zoo fit` writes them)"


def copy_weights(source: Path, manifest: Manifest, folder: Path) -> None:
    """Copy a checked weights folder to a new or empty folder, whole or not at all, and check the copy."""
    with _disk_errors(folder), _published(folder, replace=False) as temporary:
        for name in (*manifest.files, MANIFEST, CARD):
            if (source / name).is_file():
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, target)
        _read(temporary, manifest.method, manifest.plugin_api)


def _read(folder: Path, method: str | None, plugin_api: int) -> Manifest:
    if not folder.is_dir():
        former = sorted(folder.parent.glob(f".{folder.name}.*.old")) if folder.name else []
        hint = f"; replacing it was cut off, the former weights are {former[-1]}: rename that" if former else ""
        raise WeightsError(f"{folder}: no such folder{hint}")
    files = _walk(folder)
    if MANIFEST not in files:
        raise WeightsError(no_manifest(str(folder), files))
    manifest = check_manifest(_read_json_bytes(folder, files, MANIFEST), str(folder), method, plugin_api)
    _check_parts(folder, files)
    for name in manifest.files:
        if name not in files:
            raise WeightsError(f"{folder}: {name} is listed in {MANIFEST} and is not there: copy or fetch it again")
    unlisted = sorted(files.keys() - manifest.files.keys() - {MANIFEST, CARD})
    if unlisted:
        raise WeightsError(f"{folder}: {unlisted[0]} is not listed in {MANIFEST}: it does not belong there")
    for name, expected in manifest.files.items():
        if _sha256(files[name]) != expected:
            raise WeightsError(
                f"{folder}: {name} is not the file that was written (its sha256 differs from {MANIFEST}): "
                "copy or fetch it again"
            )
    return manifest


def _walk(folder: Path) -> dict[str, Path]:
    """Every file by its name in the folder; hidden bookkeeping of git and huggingface_hub at its top is left out."""
    root = folder.resolve()
    # In huggingface_hub's cache the files of a snapshot are links to the blobs of the same repository.
    blobs = root.parent.parent / "blobs"
    allowed = (root, blobs) if root.parent.name == "snapshots" and blobs.is_dir() else (root,)
    found = {}

    def refuse(error: OSError) -> None:
        raise error

    for directory, folders, names in os.walk(root, onerror=refuse):
        here = Path(directory)
        if here == root and ".cache" in folders:
            folders.remove(".cache")
        for name in (*folders, *names):
            path = here / name
            target = Path(os.path.realpath(path))
            if path.is_symlink() and (name in folders or not any(target.is_relative_to(place) for place in allowed)):
                raise WeightsError(f"{folder}: {_shown(path, root)} is a link that leaves the folder: not followed")
            if name not in folders and not target.is_file():
                raise WeightsError(f"{folder}: {_shown(path, root)} is no plain file")
        for name in names:
            if here != root or name != ".gitattributes":
                found[(here / name).relative_to(root).as_posix()] = here / name
    return found


def _check_parts(folder: Path, files: dict[str, Path]) -> None:
    """Refuse foreign kinds of file, broken safetensors and adapters that are not whole or name code."""
    foreign = [name for name in files if PurePosixPath(name).suffix.lower() not in SUFFIXES]
    if foreign:
        pickled = PurePosixPath(foreign[0]).suffix.lower() in _PICKLES
        why = "pickles run code when they are read, so the zoo never does" if pickled else "it would never be read"
        raise WeightsError(
            f"{folder}: {foreign[0]} does not belong in a weights folder ({', '.join(sorted(SUFFIXES))}): {why}"
        )
    for name in files:
        reason = why_unsafe(name)
        if reason:
            raise WeightsError(f"{folder}: {name!r} {reason}")
        part = PurePosixPath(name)
        if part.name in _ADAPTER:
            other = part.with_name(_ADAPTER[1 - _ADAPTER.index(part.name)]).as_posix()
            if other not in files:
                raise WeightsError(f"{folder}: {other} is missing: an adapter is {' and '.join(_ADAPTER)}")
        if part.name == _ADAPTER[0]:
            _check_adapter_config(folder, files, name)
        if part.suffix == ".safetensors":
            _check_safetensors(folder, name, files[name])


def _check_adapter_config(folder: Path, files: dict[str, Path], name: str) -> None:
    try:
        config = json.loads(_read_json_bytes(folder, files, name))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{folder}: {name} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{folder}: {name} is no JSON object")
    for key in _CODE_KEYS:
        if config.get(key) is not None:
            raise WeightsError(f"{folder}: {name} names code to import ({key}): set it to null")
    base = config.get("base_model_name_or_path")
    if isinstance(base, str) and is_absolute(base):
        raise WeightsError(f"{folder}: {name}: base_model_name_or_path is a path of one machine: set it to null")


def _check_safetensors(folder: Path, name: str, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # reads the header and compares it with the file's length
            pass
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{folder}: {name} is no whole safetensors file ({error}): copy or fetch it again"
        ) from error


def _read_json_bytes(folder: Path, files: dict[str, Path], name: str) -> bytes:
    if files[name].stat().st_size > _LARGEST_JSON:
        raise WeightsError(f"{folder}: {name} is larger than {_LARGEST_JSON >> 20} MB: not read")
    return files[name].read_bytes()


@contextlib.contextmanager
def _published(folder: Path, *, replace: bool) -> Iterator[Path]:
    """Give an empty temporary folder beside ``folder``; at the end flush it and rename it into place."""
    target = Path(os.path.realpath(folder))
    _check_target(folder, target, replace=replace)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        _share(temporary)
        _flush(temporary)
        _check_target(folder, target, replace=replace)  # it may have changed in the meantime
        _move(temporary, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # after an exchange it holds the former weights


def _share(folder: Path) -> None:
    """Give each file the rights a new folder has here (the umask): some libraries make files nobody else can read."""
    rights = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(rights)


def _check_target(folder: Path, target: Path, *, replace: bool) -> None:
    """Refuse a target that holds anything but, where ``replace`` allows it, a weights folder."""
    if not target.exists():
        return
    if not target.is_dir():
        raise WeightsError(f"{folder} is a file: give a new folder")
    if not any(target.iterdir()):
        return
    if not replace:
        raise WeightsError(f"{folder} is not empty: give a new folder")
    files = _walk(target)
    if MANIFEST not in files:
        raise WeightsError(f"{folder} is not empty and no weights folder: give a new folder")
    manifest = check_manifest(_read_json_bytes(folder, files, MANIFEST), str(folder), None, PLUGIN_API)
    others = sorted(files.keys() - manifest.files.keys() - {MANIFEST, CARD})
    if others:
        raise WeightsError(f"{folder} holds {others[0]}, which is no part of the weights there: give a new folder")


def _move(temporary: Path, target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        if _exchange(temporary, target):
            return
        # No exchange here (other systems, some network disks): for an instant there is no target. A process killed
        # in that instant leaves the former weights under this name, and reading says so.
        former = temporary.with_suffix(".old")
        target.rename(former)
        temporary.rename(target)
        shutil.rmtree(former, ignore_errors=True)
        return
    if target.exists():
        target.rmdir()
    temporary.rename(target)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step (Linux: renameat2 with RENAME_EXCHANGE); False where that cannot be done."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    result: int = renameat2(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(exchange))
    return result == 0


def _flush(folder: Path) -> None:
    for directory, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(directory) / name)
        _sync(Path(directory))


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _peek(folder: Path) -> tuple[int, int] | None:
    """Which manifest is there now."""
    try:
        status = (folder / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _shown(path: Path, root: Path) -> str:
    return repr(path.relative_to(root).as_posix())


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the operating system says into one line for people."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{error.filename or folder}: {error.strerror or error}") from error

"""Weights folders on the Hugging Face Hub, through huggingface_hub.

``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, tokens, proxies, locks and the cache are huggingface_hub's own business and keep
its behaviour. What it raises becomes one :class:`~ias_zoo.errors.WeightsError` that says what to do next.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ias_zoo.errors import WeightsError
from ias_zoo.hub.folder import CARD, check_manifest, copy_weights, no_manifest, read_weights
from ias_zoo.hub.manifest import MANIFEST, SUFFIXES, TOKEN, Manifest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REPO_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*\Z", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{7,40}\Z")
_LIBRARY = "ias_zoo"
_TEXTS = frozenset({".json", ".md", ".txt"})


def fetch_weights(
    weights: str | os.PathLike[str], *, revision: str | None = None, method: str | None = None
) -> tuple[Path, Manifest, str | None]:
    """Get a weights folder from the disk or the Hub and check it as :func:`~ias_zoo.hub.read_weights` does.

    Parameters
    ----------
    weights:
        A folder; where there is none of that name, a Hub repository ``org/name``.
    revision:
        A branch, tag or commit of the repository; its main branch by default.
    method:
        The method that the weights have to be for.

    Returns
    -------
    The folder (for a repository: the snapshot in huggingface_hub's cache, not to be written to), its manifest, and
    the commit that the revision stood for (None for a folder).

    Raises
    ------
    WeightsError
        With the remedy: no such folder, repository or revision, no permission, no network, nothing cached while
        offline, a broken download, a folder that fails a check.
    """
    folder = _expanded(weights)
    if folder.is_dir():
        if revision is not None:
            raise WeightsError(f"{weights} is a folder and has no revision {revision!r}: leave revision out")
        return folder, read_weights(folder, method=method), None
    repo_id = _repo_id(weights, f"{os.fspath(weights)}: no such folder; a Hub repository is written org/name")
    from huggingface_hub import HfApi

    snapshot = _download(repo_id, revision, [MANIFEST])
    commit = snapshot.name
    where = f"{repo_id} at {commit[:12]}"
    if not (snapshot / MANIFEST).is_file():
        with hub_errors(repo_id, revision, "read"):
            names = HfApi().list_repo_files(repo_id, revision=commit)
        raise WeightsError(no_manifest(where, names))
    check_manifest((snapshot / MANIFEST).read_bytes(), where, method)  # before anything large is fetched
    _download(repo_id, commit, [f"*{suffix}" for suffix in sorted(SUFFIXES)])
    try:
        return snapshot, read_weights(snapshot, method=method), commit
    except WeightsError as error:
        raise WeightsError(
            f"{where}: {error}. Either the repository is at fault (tell its author) or the cached copy is damaged: "
            f"`hf cache rm model/{repo_id}`, then run again"
        ) from error


def pull_weights(repo_id: str, folder: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Copy the weights of a Hub repository to a new folder, checked, whole or not at all.

    Raises
    ------
    WeightsError
        As :func:`fetch_weights`; or when ``folder`` is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise WeightsError(f"{folder} is not empty: give a new folder")
    if _expanded(repo_id).is_dir():
        raise WeightsError(f"{repo_id} is a folder on this machine; pull takes a Hub repository, org/name")
    snapshot, manifest, _ = fetch_weights(repo_id, revision=revision)
    copy_weights(snapshot, manifest, folder)
    return folder


def push_weights(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Check a weights folder and upload it to a Hub repository in one commit.

    The repository is made where there is none. Weights that are in it already are replaced (the old ones stay in its
    history); a repository that holds anything else is left alone.

    Parameters
    ----------
    private:
        Make the repository private. One that exists and is public is refused rather than pushed to.
    revision:
        The branch, made where there is none; the main branch by default.
    message:
        The commit's message.

    Returns
    -------
    The commit's URL.

    Raises
    ------
    WeightsError
        When the folder fails a check or holds a token, or with the remedy: not logged in, no permission, no network,
        somebody else pushing at the same time.
    """
    folder = Path(folder)
    manifest = read_weights(folder)
    repo_id = _repo_id(repo_id, f"{repo_id!r} is no name of a Hub repository: it is written org/name")
    if revision is not None and _COMMIT.match(revision):
        raise WeightsError(f"revision {revision!r} looks like a commit: push takes a branch's name")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    names = [name for name in (*manifest.files, MANIFEST, CARD) if (folder / name).is_file()]
    for name in names:
        if PurePosixPath(name).suffix in _TEXTS and TOKEN.search((folder / name).read_text("utf-8", "replace")):
            raise WeightsError(f"{folder}: {name} holds what looks like a Hub token: take it out, and revoke it")
    with hub_errors(repo_id, revision, "write"):
        api = HfApi(library_name=_LIBRARY, library_version=_version())
        # None leaves the choice to the account: an organisation may make its repositories private by default.
        api.create_repo(repo_id, private=True if private else None, exist_ok=True)
        if revision is not None:
            _examine(api, repo_id, None, private, names)  # before anything is made in it
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        head, stale = _examine(api, repo_id, revision, private, names)
        commit = api.create_commit(
            repo_id,
            operations=[
                *(CommitOperationDelete(path_in_repo=name) for name in stale),
                *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in names),
            ],
            commit_message=message or f"Weights of {manifest.method}",
            revision=revision,
            parent_commit=head,
        )
    return str(commit.commit_url)


def _examine(
    api: HfApi, repo_id: str, revision: str | None, private: bool, names: list[str]
) -> tuple[str | None, list[str]]:
    """Give the commit that the branch stands at and the files of earlier weights that the new ones lack."""
    info = api.model_info(repo_id, revision=revision or "main")
    if private and not info.private:
        raise WeightsError(
            f"{repo_id} exists and is public: make it private in its settings first, or push to another name"
        )
    present = {sibling.rfilename for sibling in info.siblings or []} - {".gitattributes"}
    if present - {CARD} and MANIFEST not in present:
        raise WeightsError(
            f"{repo_id} holds something else ({sorted(present - {CARD})[0]}) and no {MANIFEST}: push to another name"
        )
    stale = {name for name in present if PurePosixPath(name).suffix.lower() in SUFFIXES} - {*names, CARD}
    return info.sha, sorted(stale)


def _download(repo_id: str, revision: str | None, patterns: list[str]) -> Path:
    """Give the snapshot in the cache, named by its commit, with the files of these patterns in it."""
    from huggingface_hub import snapshot_download

    with hub_errors(repo_id, revision, "read"):
        return Path(
            snapshot_download(
                repo_id,
                revision=revision,
                allow_patterns=patterns,
                library_name=_LIBRARY,
                library_version=_version(),
            )
        )


def _expanded(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such user


def _repo_id(name: str | os.PathLike[str], otherwise: str) -> str:
    if isinstance(name, str) and _REPO_ID.match(name) and not name.endswith((".", "-")) and ".." not in name:
        return name
    raise WeightsError(otherwise)


@contextlib.contextmanager
def hub_errors(repo_id: str, revision: str | None, doing: str, *, instead: str = "") -> Iterator[None]:
    """Say in words what the client raises; ``doing`` is ``read`` or ``write``, ``instead`` another way to go."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # its HTTP library's own errors change their names from version to version
        words = _in_words(error, repo_id, revision, doing)
        raise WeightsError(f"{words}; {instead}" if instead else words) from error


def _in_words(error: Exception, repo_id: str, revision: str | None, doing: str) -> str:
    from huggingface_hub import constants, errors

    endpoint = _no_password(constants.ENDPOINT)
    chain = list(_causes(error))
    status = next((code for code in map(_status, chain) if code is not None), None)
    login = "log in with `hf auth login` (or set HF_TOKEN)"

    def is_a(*kinds: type[BaseException]) -> bool:
        return any(isinstance(each, kinds) for each in chain)

    if is_a(errors.GatedRepoError):
        return f"{repo_id} is gated: accept its terms at {endpoint}/{repo_id}, then {login}"
    if is_a(errors.RevisionNotFoundError):
        return f"{repo_id} has no revision {revision or 'main'!r} at {endpoint}: give a branch, tag or commit of it"
    if status == 401 and doing == "write":
        return f"{endpoint} does not know who you are (401): {login} with a token that may write to {repo_id}"
    if status == 403:
        return f"{endpoint} refuses to {doing} {repo_id} (403): {login} with a token that may {doing} it"
    if is_a(errors.RepositoryNotFoundError) or status in (401, 404):
        return f"no repository {repo_id} at {endpoint}, or it is private ({status}): check its name, or {login}"
    if status in (409, 412):
        return f"{repo_id} was changed by somebody else meanwhile ({status}): run again"
    if status is not None:
        remedy = "try again later" if status >= 500 or status == 429 else "what it was sent is not right"
        return f"{endpoint} answered {status} for {repo_id}: {remedy} ({_one_line(error)})"
    if is_a(errors.OfflineModeIsEnabled):
        return (
            f"{repo_id} is not (or not wholly) in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE keeps it from "
            "being fetched: unset HF_HUB_OFFLINE and run once with a network"
        )
    if is_a(errors.LocalEntryNotFoundError) or any("Connect" in type(each).__name__ for each in chain):
        return (
            f"{endpoint} cannot be reached for {repo_id} ({_one_line(chain[-1])}): check the network, the proxy and "
            "HF_ENDPOINT, then run again"
        )
    if is_a(errors.HFValidationError):
        return _one_line(error)
    if doing == "read":
        return f"the download of {repo_id} broke off ({_one_line(error)}): the cache stays whole, run again to go on"
    return f"the upload to {repo_id} broke off ({_one_line(error)}): run again, what has arrived is not sent twice"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _one_line(error: BaseException) -> str:
    return _no_password(f"{type(error).__name__}: {' '.join(str(error).split())}"[:400])


def _no_password(text: str) -> str:
    """Take the user and password out of the URLs in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def _version() -> str:
    import ias_zoo

    return ias_zoo.__version__

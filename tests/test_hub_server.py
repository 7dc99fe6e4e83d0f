"""Weights to and from a Hub on 127.0.0.1: olah serves what is read, pushes become git repositories (hubserver.py)."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ias_zoo.hub import MANIFEST, read_weights, write_weights

_SPEC = importlib.util.spec_from_file_location("hubtools", Path(__file__).with_name("hubtools.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
tools = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tools)
MADE, CARD, TOKEN = tools.MADE, tools.CARD, tools.TOKEN
contents, put, write_parts = tools.contents, tools.put, tools.write_parts
hub, repo, client, weights, pushed = tools.hub, tools.repo, tools.client, tools.weights, tools.pushed


def test_push_then_pull(hub: Any, repo: str, client: Any, weights: Path, tmp_path: Path) -> None:
    url = client.push(weights, repo, ", message='first weights'")
    commit = hub.git(repo, "rev-parse", "main")
    assert url == f"{hub.url}/{repo}/commit/{commit}"
    assert hub.git(repo, "log", "--format=%s").split("\n") == ["first weights", "first"]  # one commit a push
    # Large files went through LFS: git holds their pointers.
    assert hub.git(repo, "show", "main:mask_head.safetensors").startswith("version https://git-lfs")

    got = client(f"pull_weights({repo!r}, 'got/here')")
    assert got == "got/here"
    assert contents(client.home / "got/here") == contents(weights)
    read_weights(client.home / "got/here", method="toy")
    folder, manifest, resolved = client(f"fetch_weights({repo!r}, method='toy')")
    assert resolved == commit
    assert contents(Path(folder)) == contents(weights)
    assert manifest == str(read_weights(weights))

    # Pushed again unchanged: no empty commit. Changed: what is no longer part of it goes, and stays in the history.
    assert client.push(weights, repo) == url
    write_weights(weights, MADE, lambda f: save_file({"w": np.ones(3, np.float32)}, f / "head.safetensors"), CARD)
    client.push(weights, repo)
    assert set(hub.git(repo, "ls-tree", "-r", "--name-only", "main").split()) == {
        ".gitattributes", "README.md", "head.safetensors", MANIFEST,
    }  # fmt: skip
    client(f"pull_weights({repo!r}, 'new')")
    assert contents(client.home / "new") == contents(weights)
    client(f"pull_weights({repo!r}, 'old', revision={commit!r})")
    assert contents(client.home / "old") == contents(client.home / "got/here")


def test_plain_olah(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    """Nothing of ours between the client and the server."""
    folder, _, commit = client(f"fetch_weights({pushed!r})", HF_ENDPOINT=f"http://127.0.0.1:{hub.olah_port}")
    assert contents(Path(folder)) == contents(weights)
    assert commit == hub.git(pushed, "rev-parse", "main")
    assert not hub.log


def test_revisions(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    first = hub.git(pushed, "rev-parse", "main")
    hub.git(pushed, "tag", "v1")
    write_weights(weights, dataclasses.replace(MADE, facts={"steps": 20}), write_parts, CARD)
    client.push(weights, pushed, ", revision='long'")
    assert hub.git(pushed, "rev-parse", "main") == first
    branch = hub.git(pushed, "rev-parse", "long")
    found = client(f"[fetch_weights({pushed!r}, revision=r)[2] for r in (None, 'v1', {first!r}, 'long')]")
    assert found == [first, first, first, branch]
    message = client.error(f"fetch_weights({pushed!r}, revision='nope')")
    assert f"{pushed} has no revision 'nope'" in message
    assert "looks like a commit" in client.error(f"push_weights({str(weights)!r}, {pushed!r}, revision={first!r})")


def test_offline(pushed: str, client: Any, weights: Path) -> None:
    message = client.error(f"fetch_weights({pushed!r})", HF_HUB_OFFLINE="1")
    assert "not (or not wholly) in the cache" in message
    assert "unset HF_HUB_OFFLINE" in message
    folder, _, commit = client(f"fetch_weights({pushed!r})")
    assert client(f"fetch_weights({pushed!r})", HF_HUB_OFFLINE="1") == client(f"fetch_weights({pushed!r})")
    nowhere = "http://127.0.0.1:9"
    assert client(f"fetch_weights({pushed!r})[::2]", HF_ENDPOINT=nowhere) == [folder, commit]  # from the cache
    Path(folder, "mask_head.safetensors").unlink()
    message = client.error(f"fetch_weights({pushed!r})", HF_HUB_OFFLINE="1")
    assert "unset HF_HUB_OFFLINE" in message
    assert client(f"fetch_weights({pushed!r})[2]") == commit  # mended


def test_unreachable(client: Any, weights: Path) -> None:
    for expression in ("fetch_weights('org/toy')", f"push_weights({str(weights)!r}, 'org/toy')"):
        message = client.error(expression, HF_ENDPOINT="http://joe:secret@127.0.0.1:9", HF_TOKEN=TOKEN)
        assert message.startswith("http://127.0.0.1:9 cannot be reached for org/toy")
        assert "HF_ENDPOINT" in message
        assert "secret" not in message
    base = "__import__('ias_zoo.diffusion.fetch', fromlist=['fetch_base']).fetch_base('org/toy', None)"
    assert "--base tiny" in client.error(base, HF_ENDPOINT="http://127.0.0.1:9")


def test_who_may(hub: Any, repo: str, client: Any, weights: Path) -> None:
    folder = str(weights)
    message = client.error(f"push_weights({folder!r}, {repo!r})")
    assert "(401)" in message
    assert "hf auth login" in message
    assert "may write" in message
    assert not hub.repository(repo).exists()
    message = client.error(f"push_weights({folder!r}, 'forbidden/toy')", HF_TOKEN=TOKEN)
    assert "(403)" in message
    assert "hf auth login" in message

    client.push(weights, repo, ", private=True")
    assert repo in hub.private
    message = client.error(f"fetch_weights({repo!r})")
    assert f"no repository {repo}" in message
    assert "it is private (401)" in message
    assert "hf auth login" in message
    client(f"fetch_weights({repo!r})", HF_TOKEN=TOKEN)
    client.push(weights, repo, ", private=True")  # it is private already

    message = client.error("fetch_weights('org/no-such-thing')")
    assert "no repository org/no-such-thing" in message
    assert "check its name" in message


@pytest.mark.parametrize(("status", "words"), [(403, "(403)"), (404, "no repository"), (500, "answered 500")])
def test_what_servers_answer(hub: Any, repo: str, client: Any, status: int, words: str) -> None:
    hub.fault = lambda method, path: f"status {status}" if repo in path else None
    assert words in client.error(f"fetch_weights({repo!r})")


def test_a_public_repository_is_not_pushed_to_as_private(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    before = hub.git(pushed, "rev-parse", "main")
    for branch in (None, "new"):
        expression = f"push_weights({str(weights)!r}, {pushed!r}, private=True, revision={branch!r})"
        assert "is public" in client.error(expression, HF_TOKEN=TOKEN)
    assert hub.git(pushed, "branch", "--format=%(refname:short)") == "main"
    assert hub.git(pushed, "rev-parse", "main") == before


def test_a_card_that_the_hub_refuses(hub: Any, repo: str, client: Any, weights: Path) -> None:
    hub.fault = lambda method, path: "status 400" if path == "/api/validate-yaml" else None
    message = client.error(f"push_weights({str(weights)!r}, {repo!r})", HF_TOKEN=TOKEN)
    assert "Invalid metadata in README.md" in message
    assert "try again later" not in message
    assert "'x' is no name of a Hub repository" in client.error(f"push_weights({str(weights)!r}, 'x')")


def test_other_repositories_are_left_alone(hub: Any, repo: str, client: Any, weights: Path) -> None:
    hub.create(repo)
    put(hub, repo, {"model.safetensors": b"x" * 200, "README.md": b"mine"})
    message = client.error(f"push_weights({str(weights)!r}, {repo!r})", HF_TOKEN=TOKEN)
    assert "holds something else (model.safetensors)" in message
    assert hub.git(repo, "show", "main:README.md") == "mine"


def test_somebody_else_pushes_meanwhile(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    def race(method: str, path: str) -> None:
        if path.endswith("/preupload/main") and hub.git(pushed, "log", "-1", "--format=%s") != "theirs":
            hub.commit(pushed, "main", {"README.md": b"theirs"}, "theirs")

    write_weights(weights, dataclasses.replace(MADE, facts={}), write_parts, CARD)
    hub.fault = race
    message = client.error(f"push_weights({str(weights)!r}, {pushed!r})", HF_TOKEN=TOKEN)
    assert "somebody else" in message
    assert "run again" in message
    assert hub.git(pushed, "show", "main:README.md") == "theirs"
    client.push(weights, pushed)


def test_an_upload_that_breaks_off_commits_nothing(hub: Any, pushed: str, client: Any, weights: Path) -> None:
    write_weights(weights, dataclasses.replace(MADE, facts={}), write_parts, CARD)
    before = hub.git(pushed, "rev-parse", "main")
    hub.fault = lambda method, path: "status 507" if "/commit/" in path else None
    assert "answered 507" in client.error(f"push_weights({str(weights)!r}, {pushed!r})", HF_TOKEN=TOKEN)
    assert hub.git(pushed, "rev-parse", "main") == before


def test_a_token_is_not_published(hub: Any, repo: str, client: Any, weights: Path) -> None:
    write_weights(weights, dataclasses.replace(MADE, facts={"x": "hf_" + "a" * 34}), write_parts, CARD)
    message = client.error(f"push_weights({str(weights)!r}, {repo!r})", HF_TOKEN=TOKEN)
    assert f"{MANIFEST} holds what looks like a Hub token" in message
    assert not hub.repository(repo).exists()


def test_a_bad_folder_is_not_pushed(hub: Any, repo: str, client: Any, weights: Path) -> None:
    (weights / "mask_head.safetensors").unlink()
    assert "mask_head.safetensors is listed" in client.error(
        f"push_weights({str(weights)!r}, {repo!r})", HF_TOKEN=TOKEN
    )
    assert not hub.repository(repo).exists()


def test_a_full_folder_is_not_pulled_into(hub: Any, pushed: str, client: Any) -> None:
    (client.home / "got").mkdir()
    (client.home / "got/mine").write_text("mine")
    assert "got is not empty" in client.error(f"pull_weights({pushed!r}, 'got')")
    assert contents(client.home / "got") == {"mine": b"mine"}
    assert not hub.log  # it is said before anything is fetched
    shutil.rmtree(client.home / "got")
    (client.home / "got").mkdir()
    client(f"pull_weights({pushed!r}, 'got')")
    assert "pull takes a Hub repository" in client.error("pull_weights('got', 'again')")


def test_the_commands(hub: Any, repo: str, client: Any, weights: Path) -> None:
    code = (
        "import sys, typer\nfrom ias_zoo.cli.weights import pull, push\napp = typer.Typer()\n"
        "app.command()(push)\napp.command()(pull)\napp({})"
    )
    done = client.run(code.format(["push", str(weights), repo, "--private", "--message", "hello"]), HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.url}/{repo}/commit/{hub.git(repo, 'rev-parse', 'main')}"
    assert hub.git(repo, "log", "-1", "--format=%s") == "hello"
    assert repo in hub.private
    assert done.stderr == ""  # no progress bars where there is no terminal
    done = client.run(code.format(["pull", repo, "got", "--revision", "main"]), HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert "weights of toy in got" in done.stdout
    assert done.stderr == ""
    assert contents(client.home / "got") == contents(weights)

import subprocess
from pathlib import Path

import pytest

from cluster.provenance import provenance


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


def test_commit_branch_and_changes_are_told(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "one")
    facts = provenance(tmp_path)
    assert len(str(facts["git.commit"])) == 40
    assert (facts["git.branch"], facts["git.dirty"]) == ("main", False)
    (tmp_path / "a").write_text("2")
    assert provenance(tmp_path)["git.dirty"] is True


def test_a_job_without_a_repository_tells_the_submitted_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNRAY_GIT_COMMIT", "abc")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    facts = provenance(tmp_path)
    assert (facts["git.commit"], facts["git.branch"], facts["git.dirty"]) == ("abc", None, None)


def test_git_may_be_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SIGNRAY_GIT_COMMIT", raising=False)
    facts = provenance()
    assert facts["git.commit"] is None
    assert facts["package.ray"]
    assert facts["machine.cores"]
    assert facts["command"]

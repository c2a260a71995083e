"""The command that serves: mistakes end it before anything starts."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT
from models.errors import BundleError, PoseModelError
from serve.run import _parser, main, settings_of
from tests.unit.tiny import save_tiny_bundle


def test_mistakes_are_named_before_ray_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    save_tiny_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match="no such bundle"):
        main(["--bundle", "nowhere"])
    with pytest.raises(LookupError, match=r"there is no registry at .*mlflow\.db"):
        main(["--bundle", "models:/x@champion"])
    with pytest.raises(PoseModelError, match="no such pose model"):
        main(["--bundle", "bundle", "--pose-model", "nowhere.onnx"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConnectionError, match="give another --port"):
            main(["--bundle", "bundle", "--port", str(taken.getsockname()[1])])


def test_paths_are_absolute_because_replicas_run_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_of(_parser().parse_args(["--bundle", "b", "--api-keys", "keys", "--capacity", "3", "--member-timeout", "2.5"]))
    assert (settings.bundle, settings.api_keys_file, settings.capacity, settings.member_timeout_s) == (str(tmp_path / "b"), tmp_path / "keys", 3, 2.5)
    assert settings_of(_parser().parse_args(["--bundle", "models:/b@champion"])).bundle == "models:/b@champion"


def test_the_front_and_what_decodes_load_no_torch() -> None:
    """It costs a second and 200 MB of each process."""
    program = "import sys, serve.app, serve.decode_child; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=REPOSITORY_ROOT)

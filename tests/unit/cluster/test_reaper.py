import subprocess
import sys
from pathlib import Path

from cluster.reaper import start_reaper, users_of

HOLD = "import sys, time; file = open(sys.argv[1], 'w'); print('ready', flush=True); time.sleep(60)"


def test_ends_the_users_of_a_folder_and_no_others(tmp_path: Path) -> None:
    """This process has a file of the folder open, too: as the driver it is spared."""
    ours, others = tmp_path / "ours", tmp_path / "ours2"
    ours.mkdir()
    others.mkdir()
    holders = [subprocess.Popen([sys.executable, "-c", HOLD, str(folder / "log")], stdout=subprocess.PIPE, text=True) for folder in (ours, others)]
    try:
        for holder in holders:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
        with (ours / "driver.log").open("w"):
            assert users_of(ours) == {holders[0].pid}
            start_reaper(ours).communicate()
        assert holders[0].wait(5) == -9
        assert holders[1].poll() is None
        assert not ours.exists()
        assert others.exists()
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()

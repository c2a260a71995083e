"""MLflow's pages in a browser: runs, their plots and comparisons, the registry. `python -m cluster.ui`, or `make ui`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.entry import run_entry_point
from cluster.sender import EMBEDDED_FILE, embedded_uri


def server_command(store: Path, *, port: int, host: str = "127.0.0.1") -> list[str]:
    """Command of a server of the embedded store below a folder. Raises FileNotFoundError where there is none: MLflow would make an empty one."""
    database = store / EMBEDDED_FILE
    if not database.is_file():
        raise FileNotFoundError(f"no runs were tracked in {database} yet: train something (make demo), or name another folder with --store")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", embedded_uri(store)]
    return [*command, "--artifacts-destination", str(store.resolve() / "artifacts"), "--host", host, "--port", str(port), "--workers", "1"]


def server_environment() -> dict[str, str]:
    """Without MLflow's job consumers, eight processes of 230 MB that pages have no use for."""
    return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m cluster.ui", description="Show tracked runs and the model registry in a browser, until ^C.")
    parser.add_argument("--store", type=Path, default=Path("runs"), help="folder of the runs, with their mlflow.db (default: runs)")
    parser.add_argument("--port", type=int, default=5000, help="(default: 5000)")
    parser.add_argument("--host", default="127.0.0.1", help="interface to listen on; whoever reaches it can change everything (default: 127.0.0.1)")
    options = parser.parse_args(arguments)
    server = os.environ.get("MLFLOW_TRACKING_URI", "")
    if server.startswith("http"):
        print(f"MLFLOW_TRACKING_URI is a server, which has its own pages: {server}")
        return
    command = server_command(options.store, port=options.port, host=options.host)
    print(f"http://{options.host}:{options.port} shows the runs of {options.store.resolve()} (^C ends it)", flush=True)
    os.execve(command[0], command, server_environment())


if __name__ == "__main__":
    run_entry_point(main, (OSError,))

"""The MLflow model registry: a folder becomes a version of a named model; an alias names the version in use.

`Tracker.register` goes through the run's spool, so it survives a server that is away; `resolve` asks the registry at once.
"""

from pathlib import Path
from typing import Any

from cluster.spool import Json
from cluster.storage import Place, fetched_folder, is_uri, location

RECORD = "bundle.json"  # of a bundle in a store: names its other files, and is written last
NAMES = ("models:/", "runs:/", "s3:/")  # what begins so is no path
_IDENTITY_TAG = "spool.record"
_TIME_TAG = "spool.time_ns"
_LONGEST_CARD = 5000  # MLflow's limit in characters
_NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def create_version(client: Any, run_id: str, identity: str, content: Json, card: str | None = None) -> int:
    """Create the version that a spooled record asks for, or find the one that an earlier sending made; returns its number.

    card: Markdown that describes the version, and the model as long as no newer version does.
    """
    name = content["name"]
    _ensure_model(client, name)
    version = _find(client, name, run_id, identity)
    description = None if card is None else card if len(card) <= _LONGEST_CARD else f"{card[: _LONGEST_CARD - 1]}…"
    if version is None:
        tags = {**content["tags"], _IDENTITY_TAG: identity, _TIME_TAG: str(content["time_ns"])}
        version = client.create_model_version(
            name, source=f"runs:/{run_id}/{content['folder']}", run_id=run_id, tags=tags, description=description, await_creation_for=0
        )
        if description is not None:
            client.update_registered_model(name, description)
    if content["alias"] and not _newer_holds(client, name, content["alias"], content["time_ns"]):
        client.set_registered_model_alias(name, content["alias"], version.version)
    return int(version.version)


def resolve(uri: str, *, tracking_uri: str, destination: Path | None = None) -> Path:
    """Local folder of `models:/name@alias`, `models:/name/version` or `runs:/id/folder`; any other text is a local path.

    What lies on another host is downloaded below `destination` (default: a new temporary folder); what lies on this one may be
    used where it is. Raises LookupError when the registry has no such model, ConnectionError when it doesn't answer.
    """
    if not uri.startswith(("models:/", "runs:/")):
        return Path(uri)
    from mlflow.exceptions import MlflowException

    from cluster.sender import connect_client

    if destination is not None:
        destination.mkdir(parents=True, exist_ok=True)
    try:
        client = connect_client(tracking_uri)
        run_id, _, folder = _source(client, uri).removeprefix("runs:/").partition("/")
        return Path(client.download_artifacts(run_id, folder, None if destination is None else str(destination)))
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        if error.error_code in _NOT_FOUND:
            raise LookupError(f"{uri} is not in the registry at {tracking_uri} ({reason}); register a bundle, or set the alias.") from error
        raise ConnectionError(f"the registry at {tracking_uri} doesn't answer ({reason}); start it, or give a bundle's folder.") from error


def local_folder(name: str, *, tracking_uri: str | None, store: Path) -> Path:
    """Local folder of what a user named: a folder, a bundle in a store (`s3://BUCKET/PREFIX`: this machine's copy), or a URI as `resolve` takes it.

    tracking_uri: where the registry is (None: MLFLOW_TRACKING_URI, else the embedded one of `store`). Raises as `resolve`, and LookupError
    where the store has no whole bundle, or the embedded registry isn't there: MLflow would make an empty one.
    """
    if is_uri(name):
        return _from_store(name)
    if not name.startswith(("models:/", "runs:/")):
        return Path(name)
    try:
        registry = registry_uri(tracking_uri, store)
    except LookupError as error:
        raise LookupError(f"{name}: {error}") from None
    return resolve(name, tracking_uri=registry)


def _from_store(uri: str) -> Path:
    try:
        place = location(uri)
        assert isinstance(place, Place)
        return fetched_folder(place, last=RECORD)
    except FileNotFoundError as error:
        raise LookupError(str(error)) from None
    except ValueError as error:
        raise LookupError(f"bundle: {error}") from None


def registry_uri(tracking_uri: str | None, store: Path) -> str:
    """Where the registry is: the URI, else MLFLOW_TRACKING_URI, else the embedded one of `store`. Raises LookupError where that one isn't there."""
    from cluster.sender import EMBEDDED_FILE, embedded_uri, resolve_uri

    registry, database = resolve_uri(tracking_uri, store), store / EMBEDDED_FILE
    if registry == embedded_uri(store) and not database.is_file():
        raise LookupError(f"there is no registry at {database}: give --tracking-uri, set MLFLOW_TRACKING_URI, or name a bundle's folder")
    return registry


def alias_holder(name: str, alias: str, *, tracking_uri: str) -> str | None:
    """Number of the version that an alias of a model names; None where there is none. Raises ConnectionError where the registry doesn't answer."""
    from mlflow.exceptions import MlflowException

    from cluster.sender import connect_client

    try:
        return str(connect_client(tracking_uri).get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in _NOT_FOUND:
            return None
        raise ConnectionError(f"the registry at {tracking_uri} doesn't answer ({str(error).splitlines()[0]}); start it and try again.") from error


def set_alias(name: str, alias: str, version: str, *, tracking_uri: str) -> None:
    """Let an alias name a version. Raises LookupError where there is no such version, ConnectionError where the registry doesn't answer."""
    from mlflow.exceptions import MlflowException

    from cluster.sender import connect_client

    try:
        connect_client(tracking_uri).set_registered_model_alias(name, alias, version)
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        if error.error_code in _NOT_FOUND:
            raise LookupError(f"models:/{name}/{version} is not in the registry at {tracking_uri} ({reason}).") from error
        raise ConnectionError(f"the registry at {tracking_uri} doesn't answer ({reason}); start it and try again.") from error


def _source(client: Any, uri: str) -> str:
    """The `runs:/id/folder` that a model's URI stands for. MLflow's own resolver asks the default registry, not the given one."""
    if uri.startswith("runs:/"):
        return uri
    name, at, alias = uri.removeprefix("models:/").partition("@")
    if at:
        return str(client.get_model_version_by_alias(name, alias).source)
    name, _, version = name.rpartition("/")
    return str(client.get_model_version(name, version).source)


def _ensure_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _find(client: Any, name: str, run_id: str, identity: str) -> Any | None:
    versions = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return next((version for version in versions if version.tags.get(_IDENTITY_TAG) == identity), None)


def _newer_holds(client: Any, name: str, alias: str, time_ns: int) -> bool:
    """Whether the alias is on a version that was registered later: what is sent late must not take it back."""
    from mlflow.exceptions import MlflowException

    try:
        holder = client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in _NOT_FOUND:
            raise
        return False
    return int(holder.tags.get(_TIME_TAG) or holder.creation_timestamp * 1_000_000) > time_ns

"""Places in an S3-compatible store, over HTTP: whole files or none, patience, refusals in one line, folders by their last file."""

import json
import pickle
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import lease as leases
from cluster import store_access
from cluster.lease import leased
from cluster.storage import Place, fetched_folder, location, publish_folder, work_folder
from cluster.store_access import StoreError, assume_reachable, scrubbed
from tests.store import KEY, SECRET, Store

MANIFEST = "bundle.json"


def folder_of(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_place_reads_and_writes_like_a_path(store: Store, tmp_path: Path) -> None:
    place = store.bucket / "runs" / "a"
    assert not place.exists()
    (place / "x" / "note.json").write_text("né")
    assert (place / "x" / "note.json").read_text() == "né"
    assert place.is_dir()
    assert not place.is_file()
    assert (place / "x" / "note.json").size() == 3
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 100_000)  # several parts of an upload
    (place / "big").put(big)
    (place / "big").get(tmp_path / "back" / "big")
    assert (tmp_path / "back" / "big").read_bytes() == big.read_bytes()
    assert place.sizes() == {"big": 25_600_000, "x/note.json": 3}
    assert [entry.name for entry in place.iterdir()] == ["big", "x"]
    (place / "big").move(place / "moved")
    assert place.sizes() == {"moved": 25_600_000, "x/note.json": 3}
    place.remove()
    assert not place.exists()
    with pytest.raises(FileNotFoundError):
        (place / "moved").read_bytes()
    (place / "moved").unlink(missing_ok=True)


def test_a_uri_holds_no_secret(store: Store) -> None:
    assert location("s3://bucket/a//b/") == Place("bucket/a/b")
    assert location(Path("s3://bucket/a")) == Place("bucket/a"), "pathlib folds the slashes"
    assert location("data/x") == Path("data/x")
    for uri in (f"s3://{KEY}:{SECRET}@bucket/x", "s3://bucket/x?endpoint_override=http://a", "s3://", "gs://bucket/x"):
        with pytest.raises(ValueError) as caught:
            location(uri)
        assert SECRET not in str(caught.value)
    assert SECRET.encode() not in pickle.dumps(store.bucket)
    assert SECRET not in scrubbed(f"denied to {KEY} with {SECRET}")


@pytest.mark.parametrize("mode", ["refuse", "hang", "cut"])
def test_an_upload_that_is_disturbed_is_whole_in_the_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    monkeypatch.setattr(store_access, "REQUEST_TIMEOUT_S", 0.6)
    store_access._filesystem.cache_clear()
    assert not (store.bucket / "file").exists()  # the store is known from here on
    file = tmp_path / "file"
    file.write_bytes(b"signs" * 400_000)
    with store.relay.disturbed(mode, 1.5):  # type: ignore[arg-type]
        (store.bucket / "file").put(file)
    store_access._filesystem.cache_clear()
    assert (store.bucket / "file").read_bytes() == file.read_bytes()
    told = capsys.readouterr().err.splitlines()
    # Short hangs the client bridges by itself.
    assert [line.split("(")[0].split(" is ")[1].split(" after")[0].strip() for line in told] == ([] if mode == "hang" else ["away", "back"])
    assert SECRET not in "".join(told)


def refusals() -> list[tuple[str, Callable[[Store, pytest.MonkeyPatch], Place], str]]:
    def no_bucket(store: Store, patch: pytest.MonkeyPatch) -> Place:
        return Place("no-such-bucket")

    def wrong_endpoint(store: Store, patch: pytest.MonkeyPatch) -> Place:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        patch.setattr(store_access, "FIRST_CONTACT_S", 0.0)
        return store.bucket

    return [
        ("bucket", no_bucket, "has no bucket 'no-such-bucket': make it there, or mend the name"),
        ("endpoint", wrong_endpoint, "start it, or mend AWS_ENDPOINT_URL=http://127.0.0.1:9"),
    ]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in refusals()], ids=[case[0] for case in refusals()])
def test_what_the_user_can_mend_is_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Store, pytest.MonkeyPatch], Place], message: str
) -> None:
    place = spoil(store, monkeypatch)
    for access in (lambda: (place / "x").write_text("x"), place.sizes):
        with pytest.raises(ConnectionError, match=message) as caught:
            access()  # type: ignore[operator]
        assert "\n" not in str(caught.value)


def ask_for_credentials(store: Store, after: str) -> None:
    """Let the store check credentials from now on; `inf`: no more. It knows nobody."""
    request = urllib.request.Request(f"{store.relay.url}/moto-api/reset-auth", data=after.encode(), method="POST", headers={"Content-Type": "text/plain"})
    urllib.request.urlopen(request).read()


def test_somebody_whom_the_store_does_not_know(store: Store) -> None:
    ask_for_credentials(store, "0")
    try:
        for access, reason in ((lambda: (store.bucket / "x").write_text("x"), "invalid access key id"), ((store.bucket / "x").size, "access denied")):
            with pytest.raises(StoreError, match=rf"x: the store at .* refuses access \({reason}\): AWS_ACCESS_KEY_ID and .* must be of somebody"):
                access()
    finally:
        ask_for_credentials(store, "inf")


@pytest.mark.parametrize("known", [True, False])
def test_access_denied_says_what_to_set(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """Without credentials requests aren't signed, which the store of the tests can't answer; the errors are those that it raised above."""
    (monkeypatch.setenv if known else lambda name, _: monkeypatch.delenv(name, raising=False))("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET}@store:9000")
    for text in ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "AWS Error UNKNOWN (HTTP status 403) during PutObject operation"):

        def denied(text: str = text) -> None:
            raise OSError(text)

        with pytest.raises(ConnectionError) as caught:
            store_access.patiently(denied, "s3://bucket/x")
        assert "s3://bucket/x: the store at http://store:9000 refuses access" in str(caught.value)
        assert ("must be of somebody" if known else "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") in str(caught.value)
        assert SECRET not in str(caught.value)


def test_a_folder_is_there_when_its_last_file_is(store: Store, tmp_path: Path) -> None:
    place = store.bucket / "bundle"
    with pytest.raises(FileNotFoundError):
        fetched_folder(place, last=MANIFEST)
    publish_folder(folder_of(tmp_path / "one", bundle_json="one", weights="1", samples__a="a"), place, last=MANIFEST)
    first = fetched_folder(place, last=MANIFEST)
    assert {path.relative_to(first).as_posix(): path.read_text() for path in first.rglob("*") if path.is_file()} == {
        MANIFEST: "one",
        "weights": "1",
        "samples/a": "a",
    }
    publish_folder(folder_of(tmp_path / "two", bundle_json="two", weights="2"), place, last=MANIFEST)
    assert place.sizes().keys() == {MANIFEST, "weights"}
    second = fetched_folder(place, last=MANIFEST)
    assert (second / "weights").read_text() == "2"
    assert (first / "weights").read_text() == "1", "whoever reads the old one goes on"
    assert fetched_folder(place, last=MANIFEST) == second
    assert str(work_folder(place)) in str(second)


def test_a_reader_never_sees_a_mixture(store: Store, tmp_path: Path) -> None:
    """One writer replaces a folder again and again; what readers get is always of one kind."""
    place, ended = store.bucket / "bundle", threading.Event()
    sources = [folder_of(tmp_path / text, bundle_json=text, a=text, b=text, c=text) for text in ("one", "two", "three")]
    publish_folder(sources[0], place, last=MANIFEST)

    def replace() -> None:
        for turn in range(1, 10):
            publish_folder(sources[turn % 3], place, last=MANIFEST)
        ended.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen = 0
    while not ended.is_set():
        try:
            copy = fetched_folder(place, last=MANIFEST)
        except FileNotFoundError:
            continue
        seen += 1
        assert len({path.read_text() for path in copy.iterdir()}) == 1
    writer.join()
    assert seen


def test_one_writer_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    place = store.bucket / "owner.json"
    monkeypatch.setattr(leases, "RENEWED_S", 0.05)
    with leased(place):
        with pytest.raises(BlockingIOError, match=r"process \d+ on "), leased(place):
            pass
        holder = json.loads(place.read_bytes())
    assert not place.exists()
    place.write_text(json.dumps({**holder, "host": "elsewhere", "time": time.time() - leases.GONE_S - 1}))
    with leased(place):
        pass
    place.write_text(json.dumps({**holder, "host": "elsewhere", "time": time.time() - leases.GONE_S + 0.5}))  # is silent, and waited for
    with leased(place):
        pass
    place.write_text(json.dumps({**holder, "pid": 2**22 + 1}))  # killed on this host
    with leased(place) as lease:
        deadline = time.monotonic() + 10
        while lease.held and time.monotonic() < deadline:
            place.write_text(json.dumps({**holder, "host": "elsewhere"}))  # again, should a renewal have come between
            time.sleep(0.02)
        assert not lease.held
    assert place.exists(), "it is the other's now"


def test_a_store_that_was_there_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_access, "FIRST_CONTACT_S", 0.0)
    monkeypatch.setenv("SIGNRAY_STORE_PATIENCE_S", "0.5")
    assume_reachable()
    store.relay.mode = "refuse"
    began = time.monotonic()
    with pytest.raises(ConnectionError, match="didn't answer for"):
        store.bucket.sizes()
    assert time.monotonic() - began >= 0.5

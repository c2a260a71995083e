"""How an S3-compatible store is reached: endpoint and credentials by the usual environment variables, and patience while it is away.

| variable | meaning |
|---|---|
| AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL | the store, such as http://store:9000; unset: Amazon's |
| AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN | credentials; or AWS_PROFILE, a role: what Amazon's own clients take |
| AWS_REGION, AWS_DEFAULT_REGION | region; a store of one's own needs none |
| AWS_CA_BUNDLE | certificates that an https endpoint is checked with |
| SIGNRAY_STORE_PATIENCE_S | how long a store that was there before is waited for; 900 by default |

Credentials are read by the S3 client itself, in each process: they are in no object of ours, so they can be neither pickled nor printed.
"""

import os
import re
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

PATIENCE_S = 900.0
FIRST_CONTACT_S = 20.0  # of a store that never answered this process: most likely its address is wrong
REQUEST_TIMEOUT_S, CONNECT_TIMEOUT_S = 10.0, 5.0
LONGEST_WAIT_S = 15.0
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_CREDENTIALS = (*SECRETS[:1], "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_DENIED = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN|HTTP status 40[13]\b"
)

T = TypeVar("T")
_met: set[str] = set()  # stores that have answered this process
_away_since: dict[str, float] = {}  # stores that don't answer now


class StoreError(ConnectionError):
    """A store that refuses, has no such bucket or stays away; one line that says what to do."""


class NotWholeError(OSError):
    """What was written isn't what lies there: a reason to write it again."""


def endpoint() -> str:
    """The store's address; "" for Amazon's."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def filesystem(bucket: str, *, patient: bool = False) -> Any:
    """pyarrow's file system of the store.

    patient: for readers that don't come back to us, such as Ray Data's: waits for an absent store by itself, for about a minute.
    """
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return _filesystem(endpoint(), region, os.environ.get("AWS_CA_BUNDLE"), "" if endpoint() or region else bucket, patient)


@lru_cache(maxsize=16)
def _filesystem(address: str, region: str | None, certificates: str | None, bucket: str, patient: bool) -> Any:
    if address:
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")  # else a client without credentials asks an address of Amazon's for some
    from pyarrow import fs

    return fs.S3FileSystem(
        endpoint_override=address or None,
        region=region or ("us-east-1" if address else fs.resolve_s3_region(bucket)),
        tls_ca_file_path=certificates,
        request_timeout=REQUEST_TIMEOUT_S,
        connect_timeout=CONNECT_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=10 if patient else 2),
    )


def assume_reachable() -> None:
    """Wait for the store as for one that has answered: another process of the same work has just spoken with it."""
    _met.add(endpoint())


def patiently(action: Callable[[], T], where: str) -> T:
    """What `action` returns, which is tried again while the store is away, with a message when it goes and when it is back.

    where: URI, for messages. Raises StoreError, one line, where the store refuses, has no such bucket or stays away;
    FileNotFoundError and errors of this machine's disk as they are.
    """
    began, wait = time.monotonic(), 0.25
    while True:
        patience = _patience() if endpoint() in _met else min(FIRST_CONTACT_S, _patience())
        try:
            result = action()
        except FileNotFoundError:
            _met.add(endpoint())
            raise
        except OSError as error:
            if not isinstance(error, NotWholeError) and "AWS Error" not in str(error):
                raise
            _raise_if_refused(error, where)
            spent = time.monotonic() - began
            if spent >= patience:
                raise StoreError(f"{where}: {_name()} didn't answer for {spent:.0f} s ({_reason(error)}): {_advice()}") from None
            if endpoint() not in _away_since:  # of many that wait one tells of it
                _away_since[endpoint()] = began
                _tell(f"storage: {where}: {_name()} is away ({_reason(error)}); trying again for {patience - spent:.0f} s")
            time.sleep(min(wait, max(0.0, patience - spent)))
            wait = min(2 * wait, LONGEST_WAIT_S)
        else:
            _met.add(endpoint())
            since = _away_since.pop(endpoint(), None)
            if since is not None:
                _tell(f"storage: {_name()} is back after {time.monotonic() - since:.0f} s")
            return result


def _patience() -> float:
    return float(os.environ.get("SIGNRAY_STORE_PATIENCE_S") or PATIENCE_S)


def _raise_if_refused(error: OSError, where: str) -> None:
    text = str(error)
    if "NO_SUCH_BUCKET" in text:
        raise no_bucket(where) from None
    if "TOO_SKEWED" in text:
        raise StoreError(f"{where}: this machine's clock is wrong, says {_name()}: set it") from None
    if _DENIED.search(text):
        raise StoreError(f"{where}: {_name()} refuses access ({_reason(error)}): {_credentials_advice()}") from None
    if "HTTP status 301" in text:
        raise StoreError(f"{where}: the bucket lies in another region: set AWS_REGION") from None


def no_bucket(where: str) -> StoreError:
    """The error for a URI whose bucket isn't there."""
    return StoreError(f"{where}: {_name()} has no bucket {where.removeprefix('s3://').partition('/')[0]!r}: make it there, or mend the name")


def _credentials_advice() -> str:
    if any(os.environ.get(name) for name in _CREDENTIALS):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) must be of somebody who may read and write there"
    return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of every node"


def _advice() -> str:
    return f"start it, or mend AWS_ENDPOINT_URL={endpoint()}" if endpoint() else "for a store of your own set AWS_ENDPOINT_URL"


def _name() -> str:
    return f"the store at {without_credentials(endpoint())}" if endpoint() else "Amazon S3"


def _reason(error: OSError) -> str:
    """What went wrong, without the request's id and without secrets."""
    text = " ".join(str(error).split())
    found = re.search(r"AWS Error (\w+)(?: \(HTTP status (\d+)\))?", text)
    detail = re.search(r"curlCode: \d+, ([^;]*)", text)
    words = [found[1].replace("_", " ").lower()] if found else []
    words += [f"HTTP {found[2]}"] if found and found[2] else []
    words += [detail[1].strip()] if detail else []
    return scrubbed(", ".join(words) or text[:120])


def scrubbed(text: str) -> str:
    """`text` without the credentials of this process."""
    for name in SECRETS:
        if os.environ.get(name):
            text = text.replace(os.environ[name], "***")
    return text


def without_credentials(address: str) -> str:
    """A URL without user and password."""
    return re.sub(r"//[^/@]*@", "//", address)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""Corpora: one reader per file, registered here by one line under the name that `--corpus` takes."""

from workloads.corpora.corpus import Reader
from workloads.corpora.csl_daily import read_csl_daily
from workloads.corpora.generated import read_synthetic
from workloads.corpora.manifest import read_manifest
from workloads.corpora.phoenix2014 import read_phoenix2014
from workloads.corpora.phoenix2014t import read_phoenix2014t

CORPORA: dict[str, Reader] = {
    "phoenix2014": read_phoenix2014,
    "phoenix2014t": read_phoenix2014t,
    "csl_daily": read_csl_daily,
    "manifest": read_manifest,
    "synthetic": read_synthetic,
}

"""Corpora: one reader per file, registered here by one line under the name that `--corpus` takes."""

from workloads.corpora.corpus import Reader
from workloads.corpora.csl_daily import read_csl_daily
from workloads.corpora.generated import read_synthetic
from workloads.corpora.manifest import read_manifest
from workloads.corpora.msasl import read_msasl
from workloads.corpora.nmfs_csl import read_nmfs_csl
from workloads.corpora.phoenix2014 import read_phoenix2014
from workloads.corpora.phoenix2014t import read_phoenix2014t
from workloads.corpora.slr500 import read_slr500
from workloads.corpora.wlasl import read_wlasl

CORPORA: dict[str, Reader] = {
    "phoenix2014": read_phoenix2014,
    "phoenix2014t": read_phoenix2014t,
    "csl_daily": read_csl_daily,
    "wlasl": read_wlasl,
    "msasl": read_msasl,
    "slr500": read_slr500,
    "nmfs_csl": read_nmfs_csl,
    "manifest": read_manifest,
    "synthetic": read_synthetic,
}

"""Readers of the data sets in the layouts in which their owners publish them.

One module per data set. A reader takes the root folder and a part, and returns a Listing. To add a
data set: a module here, its line in READERS, and its entry in vocab/datasets.py.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from kdbatch.shard.datasets.hmdb51 import read_hmdb51
from kdbatch.shard.datasets.k400 import read_k400
from kdbatch.shard.datasets.ssv2 import read_ssv2
from kdbatch.shard.datasets.ucf101 import read_ucf101
from kdbatch.shard.sources import Listing

READERS: Mapping[str, Callable[[Path, str], Listing]] = {
    "k400": read_k400,
    "ssv2": read_ssv2,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
}

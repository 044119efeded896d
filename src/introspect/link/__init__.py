"""The link: what the chain says of the policy, crossed with what a probe reads, over rollouts that acted on it.

A readout is `policy` when the probe's score passes a threshold. The threshold is set on development rollouts that did
NOT act on the policy, on scores of probes that were not fitted on their groups, at the stated false-positive rate; the
rate it really has on the test rollouts is given beside it. So nothing of the test part decides what counts as decodable
there, neither of the probe nor of the words that it is set against, which are chosen on the development groups as well.
"""

from .export import check_out, export_rows, write_rows
from .readouts import READOUTS, Readout, read_readouts, write_readouts
from .rows import LinkRows, join
from .section import link_section, with_causal
from .stored import StoredLink, open_link

__all__ = [
    "READOUTS",
    "LinkRows",
    "Readout",
    "StoredLink",
    "check_out",
    "export_rows",
    "join",
    "link_section",
    "open_link",
    "read_readouts",
    "with_causal",
    "write_readouts",
    "write_rows",
]

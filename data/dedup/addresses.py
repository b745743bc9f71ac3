"""Hashes of URLs that are the same for spellings of one address.

Two addresses are the same when they differ in scheme (http, https), a leading ``www.``, the host's case, the default
port, a user name, a fragment, tracking parameters, or a slash at the end. A string without a scheme is compared
unchanged.

Not by ``w3lib.url.canonicalize_url``: it spells an address so that it can be fetched, and keeps scheme, ``www.``, port,
user and tracking parameters, so it finds fewer duplicates; address by address it takes 4 to 6 times as long.

References:
    RFC 3986, section 6: normalisation and comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data.text.batch import from_arrow
from millrace.data.text.batch import hashes as batch_hashes
from millrace.data.text.hashing import mix

_ADDRESS = (
    r"^\s*https?://(?:[^/?#@]*@)?(?:www\.)?(?P<host>[^/?#:]+?)\.?(?P<port>:\d*)?(?P<rest>[/?][^#]*)?(?:#.*)?$"
)
_TRACKING = r"(?i)([?&])(?:utm_[a-z_]+|gclid|fbclid|msclkid|dclid|yclid|mc_cid|mc_eid|igshid)=[^&]*"


def normalised(urls: Any) -> Any:
    """The addresses of an Arrow column of URLs, in the one spelling that is compared."""
    urls = pc.fill_null(urls, "")
    lower = pc.replace_substring_regex(urls, r"^\s*(?i:http)(?i:s)?://", "http://")
    found = pc.extract_regex(lower, _ADDRESS.replace("(?:www", "(?i:www"))
    rest = pc.replace_substring_regex(pc.struct_field(found, "rest"), _TRACKING, r"\1")
    rest = pc.replace_substring_regex(rest, r"([?&])&+", r"\1")
    rest = pc.replace_substring_regex(rest, r"[?&/]+$", "")
    port = pc.replace_substring_regex(pc.struct_field(found, "port"), r"^:(?:80|443)?$", "")
    host = pc.utf8_lower(pc.struct_field(found, "host"))
    return pc.coalesce(pc.binary_join_element_wise(host, port, rest, ""), urls)


def hashes(urls: Any) -> npt.NDArray[np.uint64]:
    """A hash of each address, 0 where there is none.

    Args:
        urls: An Arrow column of strings.

    Returns:
        uint64 [documents]; two different addresses share one with probability 2**-64.
    """
    batch = from_arrow(pc.cast(normalised(urls), pa.large_string()))
    found = np.maximum(mix(batch_hashes(batch)), np.uint64(1))
    return np.where(np.diff(batch.offsets) > 0, found, np.uint64(0))

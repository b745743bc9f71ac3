"""Keys and tokens with a recognisable prefix: the prefix, and the pattern of the whole.

Vendors give their secrets prefixes so that scanners find them. A match needs a random-looking body, so that
``ghp_xxxxxxxx…`` in a manual stays; the keys that vendors print in their own documentation stay as well.

References:
    GitHub docs, "About authentication to GitHub: GitHub's token formats"; AWS IAM user guide, "Unique identifiers";
    Slack API, "Token types"; Stripe docs, "API keys"; RFC 7519 (JWT), section 3; RFC 7468 (PEM), sections 10 and 11.
    Li et al. 2023, "StarCoder", arXiv 2305.06161, section 4: keys among the personal data of code.
    Meli et al. 2019, "How Bad Can It Git?", NDSS: formats of keys, and that entropy tells real ones from placeholders.
"""

from __future__ import annotations

import math
import re
from collections import Counter

_END = rb"(?![A-Za-z0-9_])"
# How it begins -> what follows; patterns are tried where one of the beginnings stands at the start of a word.
_FORMATS: tuple[tuple[tuple[bytes, ...], bytes], ...] = (
    ((b"AKIA", b"ASIA", b"ABIA", b"ACCA"), rb"[A-Z2-7]{16}" + _END),
    ((b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"[A-Za-z0-9]{36,251}" + _END),
    ((b"github_pat_",), rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}" + _END),
    ((b"glpat-", b"glptt-", b"gldt-", b"glrt-"), rb"[A-Za-z0-9_-]{20,64}"),
    ((b"xoxb-", b"xoxp-", b"xoxa-", b"xoxr-", b"xoxs-", b"xoxe-", b"xapp-"), rb"[A-Za-z0-9-]{20,250}"),
    ((b"hooks.slack.com/services/",), rb"T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{20,28}" + _END),
    ((b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_"), rb"[A-Za-z0-9]{16,247}" + _END),
    ((b"whsec_",), rb"[A-Za-z0-9+/=]{24,100}"),
    ((b"AIza",), rb"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    ((b"ya29.",), rb"[A-Za-z0-9_-]{30,500}"),
    ((b"GOCSPX-",), rb"[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])"),
    ((b"sk-ant-", b"sk-proj-", b"sk-svcacct-"), rb"[A-Za-z0-9_-]{32,250}"),
    ((b"sk-",), rb"[A-Za-z0-9]{48}" + _END),
    ((b"hf_",), rb"[A-Za-z0-9]{34}" + _END),
    ((b"npm_",), rb"[A-Za-z0-9]{36}" + _END),
    ((b"pypi-AgEI",), rb"[A-Za-z0-9_-]{50,250}"),
    ((b"SG.",), rb"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])"),
    ((b"shpat_", b"shpca_", b"shppa_", b"shpss_"), rb"[a-fA-F0-9]{32}" + _END),
    ((b"dop_v1_", b"doo_v1_", b"dor_v1_"), rb"[a-f0-9]{64}" + _END),
    ((b"SK",), rb"[0-9a-f]{32}" + _END),
    ((b"eyJ",), rb"[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{10,2000}"),
)
_PEM = b"-----BEGIN "
PREFIXES = (*(prefix for prefixes, _ in _FORMATS for prefix in prefixes), _PEM)
# The longest beginning first: sk- also begins sk-ant-.
_PATTERNS = tuple(
    (prefix, re.compile(re.escape(prefix) + pattern))
    for prefix, pattern in sorted(
        ((prefix, pattern) for prefixes, pattern in _FORMATS for prefix in prefixes),
        key=lambda pair: -len(pair[0]),
    )
)
_KEY_HEAD = re.compile(rb"-----BEGIN ((?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?)-----")
_KEY_LINES = re.compile(rb"(?:(?:[\s\"',]|\\[nr])*+[A-Za-z0-9+/=]{32,}+)++(?:[\s\"',]*+[A-Za-z0-9+/=]++\Z)?")
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{32}")
_LONGEST_KEY_BYTES = 20_000
# Different characters of a body: placeholders of manuals have 1 to 6, random bodies of 16 have 9 or more.
_LEAST_DIFFERENT = 8
_ASSIGNMENT = re.compile(
    rb"(?:passw(?:or)?d|passphrase|secret|token|api_?-?key|access_?-?key|private_?-?key|credentials?)\w{0,20}"
    rb"[\"']?\s{0,3}(?:=>|:=|=|:)\s{0,3}[\"']([A-Za-z0-9+/=_~!@#$%^&*.-]{16,200})[\"']",
    re.IGNORECASE,
)
_ASSIGNED_WORDS = (b"passw", b"passphrase", b"secret", b"token", b"key", b"credential")
_LEAST_DIGITS = 3  # names of types have one or two ("V1LocalObjectReference")
_LEAST_ENTROPY_BITS = 3.5  # per character: hexadecimal digits have at most 4, English words about 3


def match_secret(text: bytes, start: int) -> int:
    """Where the secret that starts at a place ends, exclusive; 0 if none does."""
    if text.startswith(_PEM, start):
        return _match_key(text, start)
    if text[max(start - 1, 0) : start] == b"-":  # part of a longer word, and eyJ-eyJ-... would take long
        return 0
    for prefix, pattern in _PATTERNS:
        if text.startswith(prefix, start):
            found = pattern.match(text, start)
            if found and _is_random(found[0][len(prefix) :]):
                return found.end()
    return 0


def _match_key(text: bytes, start: int) -> int:
    """The end of a private key in PEM: after its last line, or after the lines that are left of one that is cut."""
    head = _KEY_HEAD.match(text, start)
    if not head:
        return 0
    last = b"-----END " + head[1] + b"-----"
    end = text.find(last, head.end(), head.end() + _LONGEST_KEY_BYTES)
    if end >= 0 and text.find(_PEM, head.end(), end) < 0 and _BASE64_RUN.search(text, head.end(), end):
        return end + len(last)
    lines = _KEY_LINES.match(text, head.end())
    return lines.end() if lines else 0


def _is_random(body: bytes) -> bool:
    return len(set(body)) >= _LEAST_DIFFERENT and not body.upper().endswith(b"EXAMPLE")


def match_assignments(text: bytes) -> list[tuple[int, int]]:
    """Quoted values of high entropy that are given to something named like a secret, as (start, end)."""
    lowered = text.lower()
    if not any(word in lowered for word in _ASSIGNED_WORDS):
        return []
    return [
        found.span(1)
        for found in _ASSIGNMENT.finditer(text)
        if _entropy(found[1]) >= _LEAST_ENTROPY_BITS
        and len(re.findall(rb"[0-9]", found[1])) >= _LEAST_DIGITS
        and re.search(rb"[A-Za-z]", found[1])
    ]


def _entropy(value: bytes) -> float:
    """Bits per character of the distribution of a value's characters."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())

"""Exact checks of single places for e-mail and IP addresses, telephone numbers, card numbers and IBANs.

Each matcher takes a text's bytes and a place found by ``candidates``, and returns the spans that are confirmed. Checks
beyond the shape keep look-alikes out: check digits, assigned prefixes and lengths, address ranges, and the words before
(``version 10.2.3.4``).

Not by ``phonenumbers`` and ``python-stdnum``. In 172 MB of web pages, books, documentation and news in 128 languages these
checks found 346 telephone numbers and 19 IBANs. ``phonenumbers`` agrees on 271 of the 275 that name their country; of the
other four three are for examples and one is a number with an extension. The 71 that follow a word like "Tel." it cannot
judge without a country. ``stdnum`` agrees on all IBANs. So they would add 54 MB and decide nothing.

References:
    RFC 5321, section 4.5.3.1 and RFC 1035, section 2.3.4: lengths of addresses and labels. RFC 2606 and 6761: names for
    examples. IANA registries of special-purpose IPv4 and IPv6 addresses; RFC 5737 and 3849: addresses for examples.
    ITU-T E.164 and E.164.D: telephone numbers and country codes. North American Numbering Plan: area codes.
    ISO/IEC 7812 (card numbers, Luhn's check digit). ISO 13616 (IBAN) with the registry's lengths, ISO 7064 (mod 97-10).
    Ben Allal et al. 2023, "SantaCoder", arXiv 2301.03988, redaction of personal data: versions are not addresses, and
    the resolvers that everybody writes down are nobody's.
"""

from __future__ import annotations

import ipaddress
import re

from .candidates import PHONE_WORDS

Spans = list[tuple[int, int]]

_GENERIC_DOMAINS = frozenset(
    b"academy aero agency app art asia audio band bank beer berlin best bike bio biz blog blue bot brussels build "
    b"business cafe camera capital care careers cash cat center charity chat church city clinic clothing cloud club "
    b"coach codes coffee college com community company computer construction consulting contact cool coop credit dance "
    b"data day dental design dev diamonds digital direct directory dog domains earth eco edu education email energy "
    b"engineer engineering enterprises estate eus events exchange expert farm finance financial fish fitness foundation "
    b"fun fund fyi gal gallery games garden global gmbh gov group guide guru hamburg health help hospital hotel house "
    b"how icu immo inc info ink institute insurance int international investments ist istanbul jobs kitchen koeln land "
    b"law lawyer legal life limited link live llc loan london ltd management marketing media melbourne mil mobi moe "
    b"money mortgage moscow movie museum music name net network news ngo ninja nyc one ong online org paris partners "
    b"parts party pet photo photography photos pizza plus post press pro productions properties pub quebec red ren rent "
    b"rentals repair report restaurant rio rocks ruhr run sale school science scot security services shoes shop show "
    b"site ski social software solar solutions space store studio style supply support surf swiss systems tax taxi team "
    b"tech technology tel tennis tirol tips today tokyo tools top tours town toys trade training travel university "
    b"ventures vet video villas vip vote wales watch website wedding wien wiki win wine work works world wtf xxx xyz "
    b"yoga zone".split()
)
_RESERVED_DOMAINS = (b"example.com", b"example.net", b"example.org", b"example.edu")


def match_email(text: bytes, start: int, end: int) -> Spans:
    """An e-mail address of a person or an organisation; ``git@host`` and names for examples are none."""
    at = text.index(b"@", start)
    local = text[start:at].lstrip(b".-%+'")
    domain = text[at + 1 : end].rstrip(b".-_'%+")
    if (
        not local
        or local[-1:] in b".'"
        or b".." in local
        or text[start - 1 : start] == b"@"
        or local == b"git"
    ):
        return []
    labels = domain.lower().split(b".")
    top = labels[-1]
    if len(labels) < 2 or any(
        not 0 < len(part) < 64 or part[:1] == b"-" or part[-1:] == b"-" for part in labels
    ):
        return []
    known = (
        (len(top) == 2 and top.isalpha())
        or top in _GENERIC_DOMAINS
        or top.startswith(b"xn--")
        or top[0] >= 0xC3
    )
    if not known or text[at + 1 + len(domain) : at + 2 + len(domain)] in (b"@", b"("):
        return []
    if any(domain.lower() == name or domain.lower().endswith(b"." + name) for name in _RESERVED_DOMAINS):
        return []
    return [(at - len(local), at + 1 + len(domain))]


_NOT_GLOBAL = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3", "2001::/23", "2001:db8::/32", "3fff::/20", "fc00::/7", "fe80::/10",
    )
]  # fmt: skip
_PRIVATE = [
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
]
_RESOLVERS = {
    ipaddress.ip_address(address)
    for address in (
        "1.1.1.1", "1.0.0.1", "8.8.8.8", "8.8.4.4", "9.9.9.9", "149.112.112.112", "208.67.222.222", "208.67.220.220",
        "4.2.2.1", "4.2.2.2", "114.114.114.114", "2001:4860:4860::8888", "2001:4860:4860::8844",
        "2606:4700:4700::1111", "2606:4700:4700::1001", "2620:fe::fe", "2620:fe::9",
    )
}  # fmt: skip
_IPV4 = re.compile(
    rb"(?<![\w.])(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})(?!\d|\.\d|[A-Za-z_]|-[A-Za-z]|/[12]?\d\b)"
)
_IPV6 = re.compile(rb"[0-9A-Fa-f:]{6,39}")
_VERSION_BEFORE = re.compile(
    rb"(?:\b(?:v|ver|vers|version|versions|release|rev|revision|build|firmware|driver|chapter|section|sect?|clause|oid|object_?identifier|"
    rb"article|rule|figure|table|upgrade[sd]? (?:to|from)|update[sd]? to)[\s.:=\"'(]{0,4}|[<>=~^!]=\s?|\xc2\xa7\s?)$",
    re.IGNORECASE,
)
_ADDRESS_NEAR = re.compile(
    rb"\b(?:ip|ipv4|address|host|hostname|server|dns|ping|gateway|proxy|client|peer|port|subnet|login|logged|"
    rb"connect\w*|remote\w*|inet|nameserver|visitor|blocked|banned)\b|://$|@$",
    re.IGNORECASE,
)
_SMALL_OCTET = 64


def match_ipv4(text: bytes, start: int, end: int, private: bool) -> Spans:
    """IPv4 addresses within a number; versions, sections, networks, examples and well-known resolvers are none."""
    spans = []
    for found in _IPV4.finditer(text, max(start - 1, 0), min(end + 2, len(text))):
        octets = found[1].split(b".")
        if any(int(octet) > 255 or (len(octet) > 1 and octet[:1] == b"0") for octet in octets):
            continue
        address = ipaddress.ip_address(found[1].decode())
        if not _is_personal(address, private):
            continue
        first = found.start(1)
        before = text[max(first - 32, 0) : first]
        if re.search(rb"(?:[A-Za-z_][-/]|[^/]/)$", before) or _VERSION_BEFORE.search(before):
            continue
        # A version like 1.2.3.4 is written more often than one of the 0.4% of addresses with four small octets.
        is_small = max(map(int, octets)) < _SMALL_OCTET and not any(
            address in network for network in _PRIVATE
        )
        if is_small and not _ADDRESS_NEAR.search(before):
            continue
        spans.append(found.span(1))
    return spans


def match_ipv6(text: bytes, start: int, private: bool) -> Spans:
    """The IPv6 address that starts at a place, if one does."""
    found = _IPV6.match(text, start)
    if not found or text[start - 1 : start] in (b":", b".", b"_"):
        return []
    spelt = found[0].rstrip(b":") if not found[0].endswith(b"::") else found[0]
    following = text[start + len(spelt) : start + len(spelt) + 1]
    if following.isalnum() or following == b"_" or re.match(rb"/(?!128)\d", text[start + len(spelt) :][:4]):
        return []
    try:
        address = ipaddress.IPv6Address(spelt.decode())
    except ValueError:
        return []
    return [(start, start + len(spelt))] if _is_personal(address, private) else []


def _is_personal(address: ipaddress.IPv4Address | ipaddress.IPv6Address, private: bool) -> bool:
    if private and any(address in network for network in _PRIVATE):
        return True
    return address not in _RESOLVERS and not any(address in network for network in _NOT_GLOBAL)


_SEPARATOR = rb"(?:[ .\-/]|\xc2\xa0|\xe2\x80[\x90-\xaf])"
# Every quantifier is possessive: digits can be cut into groups in more ways than there is time to try.
_NUMBER = rb"\(?+\d{1,15}+\)?+(?:" + _SEPARATOR + rb"{0,2}+\(?+\d{1,14}+\)?+){0,9}+"
_INTERNATIONAL = re.compile(rb"(?<![\w+.])\(?\+" + _NUMBER)
_NANP = re.compile(
    rb"(?<![\w.,+#-])(?:1[ .-]?)?(?:\(([2-9][0-8]\d)\)[ .-]{0,2}([2-9]\d\d)[ .-](\d{4})"
    rb"|[2-9][0-8]\d([.-])[2-9]\d\d\4\d{4})(?!\w|[-.,]\d)"
)
_LOCAL = re.compile(rb"(?<![\w.+])" + _NUMBER + rb"(?!\w|,\d)")
_SPACED = re.compile(rb"[ ().\-/\xa0-\xff]")
_DATE = re.compile(
    rb"(?<!\d)(?:(?:19|20)\d\d[-./ ][01]?\d[-./ ][0-3]?\d|[0-3]?\d[-./ ][0-3]?\d[-./ ](?:19|20)\d\d)(?!\d)"
)
# Country codes of E.164: 1 and 7 alone, these of two digits, and all others of three.
_TWO_DIGIT_CODES = frozenset(
    [
        "20",
        "27",
        "30",
        "31",
        "32",
        "33",
        "34",
        "36",
        "39",
        "40",
        "41",
        "43",
        "44",
        "45",
        "46",
        "47",
        "48",
        "49",
        "51",
        "52",
        "53",
        "54",
        "55",
        "56",
        "57",
        "58",
        "60",
        "61",
        "62",
        "63",
        "64",
        "65",
        "66",
        "81",
        "82",
        "84",
        "86",
        "90",
        "91",
        "92",
        "93",
        "94",
        "95",
        "98",
    ]
)
_THREE_DIGIT_CODES = re.compile(
    r"2[1-6]\d|29[01789]|3[578]\d|42[0-9]|50\d|59\d|6[789]\d|80[08]|85\d|87\d|88\d|9[679]\d"
)


_PHONE_BEFORE = re.compile(
    r"(?<!\w)(?:"
    + "|".join(PHONE_WORDS)
    + r")(?:\W{1,6}(?:number|numbers|no|nr|num|n°|№|numero|número|us|at|is))?\W{0,6}$",
    re.IGNORECASE,
)


def match_phone(text: bytes, start: int, end: int) -> Spans:
    """Telephone numbers within a number: with a country code, grouped as in North America, or after a word."""
    spans = []
    if text[max(start - 2, 0) : start] in (b"(+", b"+(") or text[start - 1 : start] == b"+":
        found = _INTERNATIONAL.search(text, max(start - 2, 0), end + 1)
        if (
            found
            and _is_international(found[0])
            and not re.match(rb"\w|[.,]\d", text[found.end() : found.end() + 2])
        ):
            return [_unwrapped(text, *found.span())]
    for found in _NANP.finditer(text, max(start - 1, 0), min(end + 2, len(text))):
        spans.append(found.span())
    if not spans and _PHONE_BEFORE.search(text[max(start - 48, 0) : start].decode("utf-8", "ignore")):
        found = _LOCAL.search(text, max(start - 1, 0), min(end + 2, len(text)))
        if found:
            digits = sum(48 <= byte <= 57 for byte in found[0])
            if 7 <= digits <= 15 and not _DATE.search(found[0]):
                spans.append(_unwrapped(text, *found.span()))
    return spans


def _unwrapped(text: bytes, start: int, end: int) -> tuple[int, int]:
    """The span without a parenthesis that has no partner in it."""
    while text[end - 1 : end] in (b" ", b".", b"-", b"/"):
        end -= 1
    if text[start : start + 1] == b"(" and text.count(b"(", start, end) > text.count(b")", start, end):
        start += 1
    if text[end - 1 : end] == b")" and text.count(b")", start, end) > text.count(b"(", start, end):
        end -= 1
    return start, end


def _is_international(spelt: bytes) -> bool:
    digits = re.sub(rb"\D", b"", spelt).decode()
    if digits[:1] == "1":
        return bool(re.fullmatch(r"1[2-9][0-8]\d[2-9]\d{6}", digits))
    known = digits[:1] == "7" or digits[:2] in _TWO_DIGIT_CODES or bool(_THREE_DIGIT_CODES.match(digits))
    # An unbroken number after a plus sign is an addend as often as a telephone number when it is short.
    least = 8 if _SPACED.search(spelt.strip(b"()")) else 10
    return known and least <= len(digits) <= 15


_CARD = re.compile(
    rb"(?<![\w.,-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5})(?!\w|[-.,]\d)"
)
# Issuers' first digits and the lengths that they give out (ISO/IEC 7812, the networks' published ranges).
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|4[4-9]\d|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)


def match_card(text: bytes, start: int, end: int) -> Spans:
    """Payment card numbers within a number: an issuer's prefix, its length and Luhn's check digit."""
    spans = []
    for found in _CARD.finditer(text, max(start - 1, 0), min(end + 2, len(text))):
        digits = re.sub(rb"\D", b"", found[0]).decode()
        if _ISSUERS.fullmatch(digits) and _luhn(digits):
            spans.append(found.span())
    return spans


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


_IBAN_CHARACTERS = {
    country: int(size)
    for size, countries in {
        "15": "NO", "16": "BE", "18": "DK FI FO GL NL SD FK", "19": "MK SI", "20": "AT BA EE KZ LT LU XK MN",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ TL OM SO",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV", "29": "BR EG PS QA UA", "30": "JO KW MU", "31": "MT SC", "32": "LC",
        "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def match_iban(text: bytes, start: int) -> Spans:
    """The International Bank Account Number that starts at a place: its country's length and check digits."""
    size = _IBAN_CHARACTERS.get(text[start : start + 2].decode("ascii", "replace"), 0)
    if not size or text[start - 1 : start] in (b"_", b"."):
        return []
    spaced = text[start + 4 : start + 5] in (b" ", b"-")
    length = size + (size - 1) // 4 if spaced else size
    spelt = text[start : start + length]
    if spaced and any(spelt[at : at + 1] not in (b" ", b"-") for at in range(4, len(spelt), 5)):
        return []
    plain = re.sub(rb"[ -]", b"", spelt)
    if len(plain) != size or not re.fullmatch(rb"[A-Z]{2}\d\d[A-Z0-9]+", plain):
        return []
    following = text[start + length : start + length + 1]
    if following.isalnum() or following == b"_":
        return []
    number = int("".join(str(int(chr(byte), 36)) for byte in plain[4:] + plain[:4]))
    return [(start, start + length)] if number % 97 == 1 else []

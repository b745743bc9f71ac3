"""Texts with personal data and with what only looks like it; no complete key stands here."""

from __future__ import annotations

import random
import string

from millrace.data.filters.pii import rules as pii
from millrace.data.text.batch import TextBatch, from_texts


def texts_of(batch: TextBatch) -> list[str]:
    """A batch's texts."""
    return [batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes().decode() for i in range(len(batch))]


def edited(text: str, **settings: object) -> str:
    """A text as the rule leaves it."""
    return texts_of(pii.edit(from_texts([text]), **settings).batch)[0]  # type: ignore[arg-type]


def random_body(characters: str, size: int) -> str:
    """Random characters, always the same of one size."""
    return "".join(random.Random(size).choices(characters, k=size))


LETTERS = string.ascii_letters + string.digits


SECRETS = {
    "AWS": "AKIA" + random_body(string.ascii_uppercase + "234567", 16),
    "GitHub": "ghp_" + random_body(LETTERS, 36),
    "GitHub, fine-grained": "github_pat_" + random_body(LETTERS, 22) + "_" + random_body(LETTERS, 59),
    "GitLab": "glpat-" + random_body(LETTERS, 20),
    "Slack": "xoxb-" + random_body(string.digits, 12) + "-" + random_body(LETTERS, 24),
    "Slack hook": "https://hooks.slack.com/services/T" + "0A1B2C3D/B4E5F6G7H/" + random_body(LETTERS, 24),
    "Stripe": "sk_live_" + random_body(LETTERS, 24),
    "Google": "AIza" + random_body(LETTERS, 35),
    "OpenAI": "sk-proj-" + random_body(LETTERS, 48),
    "Hugging Face": "hf_" + random_body(LETTERS, 34),
    "npm": "npm_" + random_body(LETTERS, 36),
    "JWT": "eyJ"
    + random_body(LETTERS, 33)
    + ".eyJ"
    + random_body(LETTERS, 40)
    + "."
    + random_body(LETTERS, 43),
}


PEM = "-----BEGIN RSA PRIVATE KEY-----\n{}\n{}\n-----END RSA PRIVATE KEY-----"


PEM = PEM.format(random_body(LETTERS, 64), random_body(LETTERS, 60))


FOUND = [
    # e-mail
    ("write to jane.doe+news@mail.acme.co.uk.", "write to <EMAIL>."),
    ("<info@firma.de>, mailto:x_1@a-b.io?subject=hi", "<<EMAIL>>, mailto:<EMAIL>?subject=hi"),
    ("jürgen@bücher.de 联系abc@qq.com谢谢", "<EMAIL> 联系<EMAIL>谢谢"),
    ("ssh://joe@host.company.com:22/", "ssh://<EMAIL>:22/"),
    # IP addresses
    ("from 93.184.216.34, port 80", "from <IP>, port 80"),
    ("http://93.184.216.34:8080/x", "http://<IP>:8080/x"),
    ("server 5.6.7.8 is down", "server <IP> is down"),
    ("93.184.216.34-93.184.216.99.", "<IP>-<IP>."),
    ("inet6 2a00:1450:4001:81b::200e/128 up", "inet6 <IP>/128 up"),
    ("connected to [2a00:1450:4001:81b::200e]:443", "connected to [<IP>]:443"),
    # telephone numbers
    ("Tel. +49 30 25 81 72 65, Berlin", "Tel. <PHONE>, Berlin"),
    ("call +1 (212) 736-5000 now", "call <PHONE> now"),
    ("(212) 736-5000 or 212-736-5001 or 212.736.5002", "<PHONE> or <PHONE> or <PHONE>"),
    ("Phone: 736-5000; fax no. 020 7946 0958", "Phone: <PHONE>; fax no. <PHONE>"),
    ("Téléphone : 01 42 68 53 00", "Téléphone : <PHONE>"),
    ("whatsapp (+56 2) 2707 7777!", "whatsapp <PHONE>!"),
    ("tel:+14155550123", "tel:<PHONE>"),
    ("2024-01-15 (212) 736-5000", "2024-01-15 <PHONE>"),
    # card and account numbers
    ("card 4111 1111 1111 1111, exp", "card <CARD>, exp"),
    ("5500005555555559 3782-822463-10005", "<CARD> <CARD>"),
    ("IBAN DE89 3704 0044 0532 0130 00, BIC", "IBAN <IBAN>, BIC"),
    ("to GB29NWBK60161331926819.", "to <IBAN>."),
    ("NO93 8601 1117 947", "<IBAN>"),
    # several, and in each other
    ("a@b.org 93.184.216.34\n(212) 736-5000", "<EMAIL> <IP>\n<PHONE>"),
]


LEFT = [
    # e-mail look-alikes
    "@decorator.name def f(): icon@2x.png lodash@4.17.21 A@B.T x@view.reshape(2)",
    "git@github.com:owner/repo.git someone@example.com a@b foo@bar..com @handle me@localhost",
    "user@host.invalid user@server.local",
    # versions, sections, networks, names for examples, resolvers
    "version 93.184.216.34 v2.15.0.1 release 10.20.30.40 pkg==91.92.93.94 numpy-1.2.3.4 1.2.3.4-beta",
    "Section 4.1.2.3 says 1.2.3.4 and 1.10.0.0; Chrome/114.0.5735.90 OID 1.3.6.1.4.1.311",
    "ObjectIdentifier('1.3.101.110') id_at = (2, 5, 4, 41) # 2.5.4.41",
    "127.0.0.1 0.0.0.0 10.1.2.3 172.16.9.9 192.168.1.1 169.254.1.1 224.0.0.251 255.255.255.0",
    "192.0.2.44 198.51.100.7 203.0.113.9 8.8.8.8 1.1.1.1 93.184.216.0/24 300.1.1.1 093.184.216.34 1.2.3.4.5.6",
    "std::vector x[::2] 12:30:45 00:1a:2b:3c:4d:5e 2001:db8::1 ::1 fe80::1 2a00:1450::/32 2001:4860:4860::8888 2024: 3:16",
    # numbers
    "2024-01-15 12:30:45, 1990-2000, 15.01.2024, 1,234,567,890 and 3.14159265358979",
    "1234567 12345678 1234567890 order 12345678 ISBN 978-3-16-148410-0 id 20240115123045",
    "x = y +1234567 @@ -100,7 +1234567890,6 @@ a+4930258172 (1) 2345678",
    "100 000 000 200 000 000 300 000 000\n1 2 3 4 5 6 7 8 9 10 11 12 13",
    "call 2024-01-15; 0.4111111111111111; abc4111111111111111; 4111111111111112; 1111 1111 1111 1117",
    "212 736 5000 items, 123-456-7890, 212-136-5000, 555-1234",
    # IBAN look-alikes
    "DE89370400440532013001 XX89370400440532013000 AB12 CD34 GB29NWBK6016133192681X DE89 3704",
    # keys of manuals
    "AKIAIOSFODNN7EXAMPLE ghp_" + "x" * 36 + " sk-fading-circle-animation-of-the-loading-page-x",
    "AKIA short AIzaSy eyJhbGciOiJIUzI1NiJ9 hf_transfer npm_config_registry sk_live_ SG.1 xoxb-",
    "-----BEGIN PRIVATE KEY-----\nMII...\n-----END PRIVATE KEY-----",
    "-----BEGIN PUBLIC KEY-----\n"
    + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA" * 2
    + "\n-----END PUBLIC KEY-----",
    "----------------------------------------------------------",
]

"""Keys and tokens: found whole, and neither in manuals nor by name alone."""

from __future__ import annotations

import pytest
from tests.data.filters.pii.examples import PEM, SECRETS, edited


@pytest.mark.parametrize("name", SECRETS)
def test_keys_and_tokens_are_replaced_whole(name: str) -> None:
    secret = SECRETS[name]
    spelt = "https://<SECRET>" if secret.startswith("https://") else "<SECRET>"
    assert edited(f'KEY = "{secret}"\n') == f'KEY = "{spelt}"\n'
    assert edited(f"token={secret} next") == f"token={spelt} next"


def test_private_keys_go_with_their_lines_even_when_they_are_cut() -> None:
    assert edited(f"key:\n{PEM}\nend") == "key:\n<SECRET>\nend"
    assert edited("a\n" + PEM[:120]) == "a\n<SECRET>"
    assert edited('"' + PEM.replace("\n", "\\n") + '"') == '"<SECRET>"'


def test_assigned_secrets_are_found_on_request() -> None:
    text = 'PASSWORD = "Xk3!9fQz7Lp2Wv8T"\nsecret_ref: "V1LocalObjectReferenceList" token = "not-a-secret-token-at-all"'
    assert edited(text) == text
    assert edited(text, assigned_secrets=True) == text.replace("Xk3!9fQz7Lp2Wv8T", "<SECRET>")

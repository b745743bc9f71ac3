"""The rule ``pii``: takes personal data out of a text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millrace.components.contract import ComponentError
from millrace.components.filter.rule import Count, Outcome, Rows, Rule

PiiKind = Literal["secret", "email", "iban", "card", "ip", "phone"]


class Pii(Rule):
    """Replaces e-mail and IP addresses, telephone, card and account numbers, keys and tokens."""

    rule: Literal["pii"]
    kinds: tuple[PiiKind, ...] = Field(
        default=("secret", "email", "iban", "card", "ip", "phone"),
        description="Kinds of personal data to look for.",
    )
    replacements: dict[PiiKind, str] = Field(
        default={}, description="Kind -> replacement text; others get <EMAIL>, <IP> and so on."
    )
    private_addresses: bool = Field(
        default=False, description="Replace IP addresses of private networks as well."
    )
    assigned_secrets: bool = Field(
        default=False, description="Also replace quoted random-looking values of names like password; slower."
    )
    max_found: Count | None = Field(
        default=None,
        description="Drop texts with more places than this, as lists of addresses are; null: no bound.",
    )

    def apply(self, rows: Rows) -> Outcome:
        """Replaces personal data; ``found`` is the number of places."""
        import numpy as np

        from millrace.data.filters.pii import rules as pii

        chosen: dict[str, str] = {str(kind): text for kind, text in self.replacements.items()}
        try:
            edited = pii.edit(
                rows.batch,
                kinds=self.kinds,
                replacements={**pii.REPLACEMENTS, **chosen},
                private_addresses=self.private_addresses,
                assigned_secrets=self.assigned_secrets,
            )
        except ValueError as error:
            raise ComponentError(f"the rule pii: {error}") from None
        found = np.zeros(len(rows.batch))
        for count in edited.counts.values():
            found += count
        return Outcome({"found": found}, edited)

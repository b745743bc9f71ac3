"""``filter``: rules that drop or mend documents, by source."""

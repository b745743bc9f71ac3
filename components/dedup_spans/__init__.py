"""``dedup_spans``: repeated lines, paragraphs, sentences and long substrings are cut."""

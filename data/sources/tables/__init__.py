"""From rows and columns to records, for every format that has them."""

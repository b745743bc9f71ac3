"""How stages write reports: JSON, Markdown and HTML, each made in one way."""

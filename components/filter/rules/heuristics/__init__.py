"""Rules of published data sets for prose, web pages and code, a file for each."""

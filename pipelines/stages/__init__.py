"""One stage: its request, its process, its hosts, its summary, its replay."""

"""Sources: files, git, datasets and installed packages, read into records."""

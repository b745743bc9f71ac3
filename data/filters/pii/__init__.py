"""Personal data and secrets in texts: candidates, exact checks, replacement."""

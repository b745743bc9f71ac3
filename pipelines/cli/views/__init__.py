"""How the command line shows plans, runs and traces: in a terminal, and as event files."""

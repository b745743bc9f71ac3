"""What runs, in which order and where: spec, plan, store, engines, traces, server, command line."""

"""Spec, plan, store, engines, traces, server and command line: which stages run, in which order and where."""

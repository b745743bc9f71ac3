"""Engines: a plan on this machine or on Kubeflow Pipelines, and the stage that a container runs."""

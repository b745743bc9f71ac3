"""The plan: which stages run and why; the identity of stages and of their code."""

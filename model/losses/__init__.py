"""Losses: next token, distillation, policy gradient, and the cross entropy below them."""

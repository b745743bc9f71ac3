"""Counting the arithmetic of a traced program: what ``ModelConfig.flops_per_token`` is held against.

XLA's own cost analysis counts the body of a loop once, whatever the number of its passes, so a scanned model seems to
cost one layer. The traced program says how often each loop runs.
"""

from __future__ import annotations

import math
from typing import Any


def of_products(program: Any) -> int:
    """Floating-point operations of all matrix products in a jaxpr, loops counted as often as they run.

    Args:
        program: A ``jax.core.Jaxpr``; what it calls is counted too.

    Returns:
        Two for each multiplication and the addition that follows it.
    """
    total = 0
    for equation in program.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            inner = math.prod(shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        if equation.primitive.name == "ragged_dot_general":
            # Every row of the left operand meets one group's matrix.
            numbers = equation.params["ragged_dot_dimension_numbers"]
            ((_, contracted), _) = numbers.dot_dimension_numbers
            left, right = (operand.aval.shape for operand in equation.invars[:2])
            out = {*range(len(right))} - {*contracted, *numbers.rhs_group_dimensions}
            total += 2 * math.prod(left) * math.prod(right[axis] for axis in out)
        passes = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            inner_program = getattr(value, "jaxpr", value)
            if hasattr(inner_program, "eqns"):
                total += passes * of_products(inner_program)
    return total

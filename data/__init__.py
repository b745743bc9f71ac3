"""Documents and tokens: libraries of plain functions over arrays, and the compiled kernels behind them."""

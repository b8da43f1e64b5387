"""Risk reports and backtests of portfolios in files: the mathematics of `plimsoll.risk`, without a stream around it.

`files`, `prices` and `positions` read, and refuse what cannot be meant, naming the place. `risk_report` and
`backtest_report` compute, and give plain dicts whose keys are a contract. `tables` shows those to people, and
`streamed` says what the same files become in the stream. Every number comes from the functions that the engine and the
API use.
"""

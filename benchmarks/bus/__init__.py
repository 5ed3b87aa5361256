"""Measure the bus beside other file queues, all in the same run: `python -m benchmarks.bus`."""

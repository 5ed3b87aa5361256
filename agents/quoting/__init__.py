"""Say before a run what it will cost: what it will ask, at which rates, and what a pilot of it measured."""

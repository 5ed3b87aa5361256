"""Cut facts from sources, ask a model for pairs, and mix both, for generate; imports `exam`, `asking`, the runtime."""

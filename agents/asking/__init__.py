"""Word what steps ask of models, and check what comes back: pure functions, no calls; imports the runtime alone."""

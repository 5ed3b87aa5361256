"""Screen examples, set the exam apart and look for leaks, for filter; imports nothing upward."""

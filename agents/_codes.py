"""Exit codes, everywhere. A death by signal is a retry."""

DONE = 0
FAILED = 1  # crash.json says how; may be retried
USAGE = 2
BUSY = 75  # another holds the claim
WAITING = 76  # for an input
GAVE_UP = 100  # a person must look
INTERRUPTED = 130  # Ctrl-C

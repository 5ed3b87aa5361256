"""Screen examples, have them judged, set the exam apart, look for leaks: for filter; imports `asking`, the runtime."""

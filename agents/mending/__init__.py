"""Mend what changed under a training script: its old calls and imports, bound to the libraries that are installed."""

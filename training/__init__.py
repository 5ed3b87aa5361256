"""Flags in, files out: the embedded base, fine-tuning and answers; the only room where torch is imported."""

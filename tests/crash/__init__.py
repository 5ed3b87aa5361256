"""The bus under everything that may happen to it. `make crash` runs all parts and prints what each one tried."""

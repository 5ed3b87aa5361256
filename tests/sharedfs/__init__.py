"""The bus on file systems that two machines share. `make sharedfs` mounts real ones twice and prints what held."""

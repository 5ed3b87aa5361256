"""What a model needs of a GPU, by arithmetic from its config.json alone: no torch, no network, milliseconds."""

"""Walls around what others wrote: commands and MCP servers run apart, code that a model wrote runs closed."""

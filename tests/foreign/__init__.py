"""Programs that others wrote, tried with ours: MCP servers with our client, their client with bin/mcp."""

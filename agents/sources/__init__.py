"""Read what the goal names (modules, pages, files) as Markdown, for research and collect; imports the runtime alone."""

"""Write what a round found for people, as Markdown and as HTML, for report; imports the runtime alone."""

"""Cut facts from sources and put questions to them, for generate; imports exam.near and nothing upward."""

"""Watches what stock operators do in a task's own process. Nothing here may fail a task, or send a request or a statement of its own."""

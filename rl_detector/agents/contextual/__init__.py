"""Parts of the agent that serves a family of problems."""

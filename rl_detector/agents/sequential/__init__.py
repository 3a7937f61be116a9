"""Parts of the agent that builds designs component by component."""

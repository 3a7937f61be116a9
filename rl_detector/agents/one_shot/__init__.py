"""Parts of the policy gradient for one-shot design, beside its critic."""

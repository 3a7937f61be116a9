"""The critic of the policy gradient: what it learns from all evaluations."""

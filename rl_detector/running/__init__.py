"""What a person starts: launching, progress on the terminal, Weights & Biases, trusted programs."""

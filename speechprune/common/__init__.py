"""What every room uses and what knows nothing of speech: files, names, signals, errors, tensors."""

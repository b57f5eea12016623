"""What a prefill costs: FLOP and bytes from a configuration alone, and seconds and memory on this machine."""

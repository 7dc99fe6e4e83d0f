"""What diffusion methods share: opening a base in parts, new tokens, taps on attention and features, sampling."""

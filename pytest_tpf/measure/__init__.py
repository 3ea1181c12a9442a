"""Energy between two instants: the sampler, its traces, windows and rounds."""

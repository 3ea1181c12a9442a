"""Does the gate cry wolf, and does it hear one? Recorded noise, and the gate's decisions on it."""

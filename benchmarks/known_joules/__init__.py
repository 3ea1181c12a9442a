"""Known joules: a conformance suite for tools that say how much energy a GPU used (see README.md in this folder)."""

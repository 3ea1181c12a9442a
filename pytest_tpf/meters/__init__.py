"""Where joules come from: one file a meter."""

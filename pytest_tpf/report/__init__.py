"""Records in, reports out: JSON, schema, terminal."""

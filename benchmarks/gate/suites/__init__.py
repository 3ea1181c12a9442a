"""The suites whose noise is recorded."""

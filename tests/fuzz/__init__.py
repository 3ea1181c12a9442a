"""Whatever the bytes, the readers answer in their own words: ``python -m tests.fuzz`` looks for bytes that show otherwise."""

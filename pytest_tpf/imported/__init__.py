"""Other tools' benchmark results as rows of a report. A module a tool says what its fields mean; nothing here measures."""

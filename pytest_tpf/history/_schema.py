"""The tables as queries see them; ``_migrations`` makes them, and a test holds the two together.

A *series* is a test on one kind of hardware on one branch. Its newest rows are what a run is mostly compared with, so each row has the
number of its series and its time, and one index answers. Columns are what is searched for; everything else, and every text in full, is in
``head`` (the report without its tests) and ``content`` (the row).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

METADATA = MetaData()

VERSIONS = Table(
    "tpf_schema",
    METADATA,
    Column("version", Integer, primary_key=True),
    Column("applied_at", Text, nullable=False),
    Column("program", Text, nullable=False),
)

RUN = Table(
    "tpf_run",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("report_id", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),  # created_at in microseconds since 1970, for reports write it in several ways
    Column("created_at", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("name", Text),
    Column("branch", Text),
    Column("commit", Text),
    Column("dirty", Integer),  # 0, 1 or unknown
    Column("ci_run_id", Text),
    Column("tests", Integer, nullable=False),
    Column("head", LargeBinary, nullable=False),
)

SERIES = Table(
    "tpf_series",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("key", Text, nullable=False),
    Column("branch", Text, nullable=False),  # "" where there is none
    Column("fingerprint", Text, nullable=False),
)

TEST = Table(
    "tpf_test",
    METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("run_id", BigInteger, nullable=False),
    Column("series_id", BigInteger, nullable=False),
    Column("place", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False),  # the run's
    Column("outcome", Text, nullable=False),
    Column("first_attempt", Integer, nullable=False),
    Column("energy_valid", Integer, nullable=False),
    Column("is_reference", Integer, nullable=False),  # a first attempt that passed: others may be compared with it
    Column("content", LargeBinary, nullable=False),
)

LABEL = Table(
    "tpf_label",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("run_id", BigInteger, primary_key=True),
)

"""The ``tpf`` console script: one small file a verb."""

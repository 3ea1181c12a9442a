"""``tpf.load``: a list of requests sent by so many at a time, or by a schedule. Pure schedules; threads and tasks that keep them."""

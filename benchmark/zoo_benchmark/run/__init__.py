"""The running of the benchmark's cells, each in a process of its own.

`trial_spec` says what is to be done, `trial` and `timing` do it, `scoring` scores, `process` gives
each a process, and `executor` places cells on a machine or `ray_executor` on a cluster.
"""

"""A cluster: the pieces of a plan spread over workers that Ray starts, each with a model of its own.

This process plans, commits and does pieces itself; the others do pieces. A piece is known by its index in a plan that
every worker makes anew from the spec, and the plans' digests are compared, so what is sent is a number. What is large
is written by the worker that made it, into the run's own folder, under a name that is no part's; this process puts it
in place. So there is one writer, as ever, and a worker that dies, or that was only thought to be dead, leaves nothing
that counts. Ray is imported when a cluster is asked for, and this package imports nothing by itself: a worker sets its
environment first.

Known trade-off: what is not pieces (the self-test, forced answers, the base model's replay, the analysis) is done by
this process, with one worker's share of its machine's GPUs.
"""

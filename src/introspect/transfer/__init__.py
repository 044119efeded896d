"""Transfer: what is fitted on one kind of rollout, run or organism, tested on another, with directions beside it.

`recorded` reads a finished run, `kinds` says what its rollouts, or several runs, are set apart by, `common_split` deals
groups so that no probe is tested on what it was fitted on, `carried` fits and carries, `cosines` has the nulls of
directions. `matrix` puts them together.
"""

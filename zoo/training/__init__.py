"""Training within a budget.

`budget` reads budgets and counts costs, `feed` yields batches until one is spent, `loop` is the
shared training loop, `checkpoint` keeps a training that is under way, and `record` says how one
went.
"""

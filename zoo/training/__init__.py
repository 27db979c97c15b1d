"""Training within a budget.

`budget` reads budgets, `flops` counts operations, `feed` yields batches until one is spent,
`variety` and `varied_input` vary the images, `loop` is the shared training loop, `rate_search`
finds a learning rate, `prior` counts colours, `checkpoint` keeps a training that is under way, and
`session` holds them together for `fit`, and says how it went.
"""

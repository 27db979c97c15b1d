"""The results of a run: its folder and the tables made of it.

`run_folder` reads the folder; `leaderboard`, `statistics`, `at`, `compare`, `references` and
`external` make tables of it, whose columns are in `columns`.
"""

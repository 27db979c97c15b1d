"""The results of a run: its folder and the tables made of it.

`run_folder` reads and writes the folder; `leaderboard`, `statistics`, `learning_curve`, `at`,
`compare`, `references` and `external` make tables of it; `redraw` writes all of them anew.
"""

"""A run: its loop, its directory, its checkpoints, their export and scores.

loop.py               one training: build, resume, fit
schedule.py           train, train and score, or score beside a training
run_dir.py            the files of a run
checkpoints.py        checkpoints, written whole or not at all
checkpoint_export.py  a checkpoint as a module
callbacks.py          saving, signals, scalars, sample grids, progress
warm_start.py         weights of a module as a start
dry_run.py            sizes and two steps on fake data
events.py             reads TensorBoard's events
summary.py            the scores of a run as text
"""

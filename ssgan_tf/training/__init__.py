"""A run: its loop, its directory, its checkpoints, their export and scores.

schedule.py           train; train, then score; score beside a process that trains
loop.py               builds the GAN, resumes, trains
run_dir.py            the files of a run
checkpoints.py        checkpoints, written whole or not at all
checkpoint_export.py  a checkpoint as a module
callbacks.py          saving, signals, scalars, sample grids, progress
warm_start.py         starts from the weights of a module
dry_run.py            sizes, and two steps on fake data
events.py             reads TensorBoard's events
summary.py            the scores of a run as text
"""

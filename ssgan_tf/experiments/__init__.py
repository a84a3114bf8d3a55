"""The paper's tables and figures: their runs, and our measurements beside its numbers.

paper.py       the paper's numbers
recipes.py     Tables 1 to 4 and Figures 2 to 4 as jobs
sweeps.py      a grid of gin values as jobs
jobs.py        runs jobs as processes, skips finished ones
runner.py      a study: its jobs, then its report
results.py     the measurements of its runs as one table
plots.py       its plot
report.py      its report in Markdown
probe.py       Tables 3 and 4: a linear classifier on each block of D
forgetting.py  Figure 3: a classifier whose task changes
"""

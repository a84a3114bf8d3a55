"""One HTML page about runs.

report.py       collects the contents of the page
report.html.j2  the page: HTML, style and script
figures.py      its plots
"""

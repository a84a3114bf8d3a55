"""One HTML page about runs.

report.py   collects what the page shows
page.py     the page's HTML
figures.py  its plots
"""

"""One file per `ssgan` command, called like it.

main.py           the `ssgan` program; how every command starts and fails
flags.py          flags that several commands share
doctor_checks.py  the checks of `ssgan doctor`
"""

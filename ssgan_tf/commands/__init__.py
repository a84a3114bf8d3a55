"""One file per `ssgan` command, called like it.

main.py           finds the command; how every command starts and fails
flags.py          flags that several commands share
doctor_checks.py  the checks of `ssgan doctor`
doctor_child.py   what they ask a process of its own
"""

"""A scripted OpenAI-compatible server: a real process on loopback that answers, errs and hangs up as a script says.

    python -m tests.scripted SCRIPT.json          prints its port, then serves until SIGTERM

`script.py` tells what a script may say, `fixture.py` starts and stops one and reads its log.
"""

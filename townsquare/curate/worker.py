"""A process that judges parts of the posts for `runners`, until its input ends."""

from __future__ import annotations

import json
import os
import signal
import sys

from townsquare.curate import alone, runners


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started this process, and it ends us
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while True:
        try:
            question = runners.receive(sys.stdin.buffer)
        except EOFError:
            return
        runners.send(answers, alone.answer(question, settings))


if __name__ == "__main__":
    main()

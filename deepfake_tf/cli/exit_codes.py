"""What a command's end says to a script."""

EXIT_OK = 0
EXIT_STOP = 1  # `audit` alone: done, and what it found speaks against training
EXIT_USAGE = 2  # bad usage, or input that the command cannot start from
EXIT_SOME_FAILED = 3  # done, but some images have no score
EXIT_INTERRUPTED = 130  # by Ctrl-C, as of a shell

"""`python -m deepfake_tf.cli`."""

import sys

from deepfake_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())

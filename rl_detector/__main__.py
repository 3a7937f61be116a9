"""`python -m rl_detector` is `rl-detector`."""

from rl_detector.cli import main

if __name__ == "__main__":
    main()
